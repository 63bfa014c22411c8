"""Work that may hang for ever, in a thread that nobody has to wait for: neither its caller nor the process's exit.

For a keyring that asks a dead service, and a file on a disk that does not answer. Such a thread cannot be ended; so
there is a bound on how many are left hanging.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from acp_broker.errors import BrokerError, Unresolved

T = TypeVar("T")

# Each holds a stack; so many that hang will not be helped by one more.
MOST = 16
_running: set[threading.Thread] = set()


async def aside(work: Callable[[], T]) -> T:
    """What `work` returns; cancelled, it is left behind.

    Raises what it raises on purpose. Of anything else only the name of its class is told, in an Unresolved: its text
    was written by others, who may quote a secret.
    """
    if len(_running) >= MOST:
        raise Unresolved(f"{MOST} earlier look-ups have not come back; what they ask hangs", is_late=True)
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if outcome.done():  # given up meanwhile
            return
        if error is None:
            outcome.set_result(value)  # type: ignore[arg-type]  # there is an error, or else a T
        elif isinstance(error, BrokerError):
            outcome.set_exception(error)
        else:
            outcome.set_exception(Unresolved(f"it failed with {type(error).__name__}"))

    def run() -> None:
        value, fault = None, None
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - handed to who waits
            fault = error
        _running.discard(thread)
        with suppress(RuntimeError):  # the loop has ended; nobody waits
            loop.call_soon_threadsafe(settle, value, fault)

    thread = threading.Thread(target=run, name="secret", daemon=True)
    _running.add(thread)
    thread.start()
    return await outcome
