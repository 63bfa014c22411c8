"""A turn's own time: it stands still while a frontend owes an answer, and so do the turn's limits."""

from collections.abc import Callable

from acp_broker.broker.alarm import Alarm
from acp_broker.clock import Clock


class Stopwatch:
    """Seconds since the turn was accepted, less the time spent waiting for people; one timer at a time, by `alarm`."""

    def __init__(self, clock: Clock, alarm: Alarm) -> None:
        self._clock = clock
        self._alarm = alarm
        self._zero = clock.now()
        self._stopped_at: float | None = None
        self._owed = 0
        self._armed: tuple[float, Callable[[], None]] | None = None

    def now(self) -> float:
        # To the microsecond, as the log keeps it: what is played again from the log must see the same time.
        seconds = (self._clock.now() if self._stopped_at is None else self._stopped_at) - self._zero
        return round(seconds * 1_000_000) / 1_000_000  # half the price of round(seconds, 6)

    def arm(self, at: float, callback: Callable[[], None]) -> None:
        """Call back once `now() >= at`; replaces what was armed."""
        self._armed = (at, callback)
        if self._stopped_at is None:
            self._alarm.set(self._zero + at, self._ring)

    def disarm(self) -> None:
        """Call nobody back."""
        self._armed = None
        self._alarm.put_off()

    def owe(self) -> None:
        """A frontend owes one more answer: time stands still."""
        self._owed += 1
        if self._owed == 1:
            self._stopped_at = self._clock.now()
            self._alarm.put_off()

    def settle(self) -> None:
        """One answer came, or is no longer wanted; with the last one time goes on."""
        self._owed -= 1
        if self._owed == 0 and self._stopped_at is not None:
            self._zero += self._clock.now() - self._stopped_at
            self._stopped_at = None
            if self._armed is not None:
                self.arm(*self._armed)

    def _ring(self) -> None:
        if self._armed is not None:
            callback = self._armed[1]
            self._armed = None
            callback()
