"""Work that may hang for ever, in a thread that nobody has to wait for: neither its caller nor the process's exit.

For a keyring that asks a dead service, and a file on a disk that does not answer. Such a thread cannot be ended; so
there is a bound on how many are left hanging at one place, and what hangs there keeps nobody from another.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TypeVar

from acp_broker.errors import BrokerError, Unresolved

T = TypeVar("T")

# Each holds a stack; so many that hang at one place will not be helped by one more.
MOST = 16
_running: dict[threading.Thread, Hashable] = {}


async def aside(work: Callable[[], T], place: Hashable) -> T:
    """What `work` returns; cancelled, it is left behind. `place` is what may hang: a file, a keyring.

    Raises what it raises on purpose. Of anything else only the name of its class is told, in an Unresolved: its text
    was written by others, who may quote a secret.
    """
    if list(_running.values()).count(place) >= MOST:
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
        del _running[thread]
        with suppress(RuntimeError):  # the loop has ended; nobody waits
            loop.call_soon_threadsafe(settle, value, fault)

    thread = threading.Thread(target=run, name="secret", daemon=True)
    _running[thread] = place
    thread.start()
    return await outcome
