"""One timer that is set and put off all the time, and hardly ever rings: both cost a few assignments."""

from collections.abc import Callable

from acp_broker.clock import Clock, Timer


class Alarm:
    """Calls back once, at the time that it was set to last.

    Put off, or set to a later time, it leaves its timer with the clock, which finds nothing to do, or where to go on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = 0.0
        self._callback: Callable[[], None] | None = None
        # Rings no later than `_at`.
        self._timer: Timer | None = None
        self._rings_at = 0.0

    def set(self, at: float, callback: Callable[[], None]) -> None:
        """Call back once the clock shows `at`, instead of whatever it was set to before."""
        self._at, self._callback = at, callback
        if self._timer is None or at < self._rings_at:
            self._wind(at)

    def put_off(self) -> None:
        """Call nobody back, and keep nobody in memory."""
        self._callback = None

    def stop(self) -> None:
        """Put off, and leave nothing with the clock."""
        self._callback = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        self._timer = self._clock.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        callback = self._callback
        if callback is None:
            return
        if self._at > self._rings_at:
            self._wind(self._at)
            return
        self._callback = None
        callback()
