"""How long a peer may take nothing of what it is sent."""

from collections.abc import Callable

from acp_broker.clock import Clock, Timer
from acp_broker.edge.peers import PeerLimits
from acp_broker.edge.throttle import Progress


class Patience:
    """With one peer. `taken` counts the bytes that it took so far; `cut_off` is told for how many seconds it took none.

    It `is_on` from `begin` until `end`, while something waits to be taken.
    """

    def __init__(
        self,
        limits: Callable[[], PeerLimits],
        clock: Clock,
        taken: Callable[[], int],
        cut_off: Callable[[float], None],
    ) -> None:
        self.is_on = False
        self._limits = limits
        self._clock = clock
        self._taken = taken
        self._cut_off = cut_off
        self._timer: Timer | None = None

    def begin(self) -> None:
        self.is_on = True
        self._look_again(Progress(self._taken(), self._clock.now()))

    def end(self) -> None:
        self.is_on = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self, progress: Progress) -> None:
        after_s = self._limits().stalled_s / 4
        self._timer = self._clock.call_at(self._clock.now() + after_s, lambda: self._look(progress))

    def _look(self, progress: Progress) -> None:
        idle_s = progress.idle_s(self._taken(), self._clock.now())
        if idle_s < self._limits().stalled_s:
            self._look_again(progress)
        else:
            self._cut_off(idle_s)
