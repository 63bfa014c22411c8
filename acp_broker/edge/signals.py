"""Signals of a process that ends in its own time: handed to the event loop, and without effect once that is over."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def caught(on_signal: Callable[[signal.Signals], None], *numbers: signal.Signals) -> Iterator[None]:
    """Call `on_signal` on the running loop for each of these; behind it they are ignored, for the process is to end.

    With asyncio's own handlers a signal in the last milliseconds would kill it, and its exit status would be a lie.
    """
    loop = asyncio.get_running_loop()

    def handle(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(on_signal, signal.Signals(number))

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
