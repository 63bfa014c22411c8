"""Time, passed in: one Clock for deadlines, timers and time stamps, so that tests own it."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None:
        """Forget the callback; cancelling twice, or after it ran, does nothing."""


class Clock(Protocol):
    def now(self) -> float:
        """Seconds, monotonic, of no particular origin: for deadlines and durations."""

    def wall(self) -> float:
        """Seconds since the epoch: for records that people or other processes read. May jump."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` on the event loop once `now() >= when`."""

    async def sleep(self, seconds: float) -> None:
        """Wait; returns late rather than early."""


class SystemClock:
    """The machine's clocks; timers live on the running asyncio loop, whose time() is time.monotonic()."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
