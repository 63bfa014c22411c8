"""A turn's own time: it stands still while a frontend owes an answer, and so do the turn's limits."""

from collections.abc import Callable

from acp_broker.clock import Clock, Timer


class Stopwatch:
    """Seconds since the turn was accepted, less the time spent waiting for people; one timer at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._zero = clock.now()
        self._stopped_at: float | None = None
        self._owed = 0
        # At the earliest of what was armed since it was set: a later limit finds it set, and it sets itself again.
        self._timer: Timer | None = None
        self._rings_at = 0.0
        self._armed: tuple[float, Callable[[], None]] | None = None

    def now(self) -> float:
        # To the microsecond, as the log keeps it: what is played again from the log must see the same time.
        return round((self._clock.now() if self._stopped_at is None else self._stopped_at) - self._zero, 6)

    def arm(self, at: float, callback: Callable[[], None]) -> None:
        """Call back once `now() >= at`; replaces what was armed."""
        self._armed = (at, callback)
        if self._stopped_at is None and (self._timer is None or at < self._rings_at):
            self._set(at)

    def disarm(self) -> None:
        """Call nobody back."""
        self._armed = None

    def stop(self) -> None:
        """The turn is over: disarm, and leave nothing with the clock."""
        self._armed = None
        self._unset()

    def owe(self) -> None:
        """A frontend owes one more answer: time stands still."""
        self._owed += 1
        if self._owed == 1:
            self._stopped_at = self._clock.now()
            self._unset()

    def settle(self) -> None:
        """One answer came, or is no longer wanted; with the last one time goes on."""
        self._owed -= 1
        if self._owed == 0 and self._stopped_at is not None:
            self._zero += self._clock.now() - self._stopped_at
            self._stopped_at = None
            if self._armed is not None:
                self._set(self._armed[0])

    def _set(self, at: float) -> None:
        self._unset()
        self._rings_at = at
        self._timer = self._clock.call_at(self._zero + at, self._ring)

    def _unset(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._armed is None:
            return
        at, callback = self._armed
        if at > self._rings_at:
            self._set(at)
            return
        self._armed = None
        callback()
