"""Time that only a test moves: a `Clock` that stands still until `advance`.

Nothing here waits for real time. `settled` lets everything that can go on go on: a room full of tasks is at rest once
the event loop has nothing ready to run.
"""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush

from anyio import to_thread
from msgspec import Struct

# More rounds than any turn of a test takes: what runs on for so long runs for ever.
MOST_ROUNDS = 100_000
# A Monday morning: `wall` looks nothing like `now`, so that one taken for the other is seen.
WALL_AT_ZERO = 1_700_000_000.0


class FakeTimer(Struct, eq=False):
    when: float
    callback: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeClock:
    """Satisfies `acp_broker.clock.Clock`. `now` begins at 1000 seconds."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._serial = 0
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return WALL_AT_ZERO + self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(when, callback)
        self._serial += 1
        heappush(self._timers, (when, self._serial, timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        timer = self.call_at(self._now + seconds, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    @property
    def armed(self) -> list[float]:
        """In how many seconds each timer rings that still may."""
        return sorted(when - self._now for when, _, timer in self._timers if not timer.is_cancelled)

    async def advance(self, seconds: float) -> None:
        """Let so much time pass: each timer rings at its own moment, and all that it sets going comes to rest."""
        await settled()
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heappop(self._timers)
            if not timer.is_cancelled:
                self._now = max(self._now, when)
                timer.callback()
                await settled()
        self._now = end


async def settled() -> None:
    """Return once nothing in this event loop can go on by itself, what it waits for in threads included."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # the loop's own list is the exact answer
    limiter = to_thread.current_default_thread_limiter()
    for _ in range(MOST_ROUNDS):
        await asyncio.sleep(0)
        if not ready and not limiter.borrowed_tokens:
            return
    raise AssertionError("it never comes to rest")
