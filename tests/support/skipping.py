"""A clock on which every sleep is over at once, and takes as long as was asked."""

from collections.abc import Awaitable, Callable

from tests.support.clock import FakeClock


async def _nothing() -> None:
    pass


class SkippingClock(FakeClock):
    """`slept` is what was slept; `meanwhile` happens in each sleep."""

    def __init__(self, meanwhile: Callable[[], Awaitable[None]] = _nothing) -> None:
        super().__init__()
        self.slept: list[float] = []
        self.meanwhile = meanwhile

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += seconds
        await self.meanwhile()
