"""Names of hosts are looked up each in a thread of its own, and nobody waits for one that is not wanted any more.

The operating system's lookup cannot be broken off, and takes half a minute where no name server answers. asyncio has a
handful of threads for it: with those busy nobody else's name is found, and the process does not end before they do.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def apart() -> None:
    """From now on, in this event loop."""
    asyncio.get_running_loop().set_default_executor(_Apart())


class _Apart(ThreadPoolExecutor):
    """asyncio takes nothing but a ThreadPoolExecutor; of this one no thread is ever started."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                found = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is whoever waits for it that is told
                future.set_exception(error)
            else:
                future.set_result(found)

        Thread(target=work, name="lookup", daemon=True).start()
        return future
