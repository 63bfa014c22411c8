"""A log that a flood cannot fill: a few lines of each event per minute, then one that counts the rest."""

from collections.abc import Callable

from acp_broker.clock import Clock, Timer

WINDOW_S = 60.0
MOST_LINES = 20


class SparingLog:
    """At most MOST_LINES of an event in WINDOW_S; what was left out is counted when they are over."""

    def __init__(self, log: Callable[..., None], clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._seen: dict[str, int] = {}
        self._timer: Timer | None = None

    def __call__(self, event: str, **fields: str | float | bool | None) -> None:
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now() + WINDOW_S, self.flush)
        seen = self._seen[event] = self._seen.get(event, 0) + 1
        if seen <= MOST_LINES:
            self._log(event, **fields)

    def flush(self) -> None:
        """Tell what was left out, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        seen, self._seen = self._seen, {}
        for event, count in seen.items():
            if count > MOST_LINES:
                self._log("more_of_it", what=event, count=count - MOST_LINES)
