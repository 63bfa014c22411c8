"""A stopwatch over the phases of an attempt, each with its own limit."""

from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CancelScope

from acp_broker.broker.whom import Nobody
from acp_broker.clock import Clock, Timer
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Phase
from acp_broker.core.turnrules import Limits

_DOES = {
    "leasing": "its credential was not there",
    "starting": "it did not answer initialize",
    "opening": "it did not open a session",
    "submitted": "it did not answer",
    "retrying": "it asks its provider again and again, and did not answer",
}


class Watch(Nobody):
    """A `contract.Client` that is told the phases; one that takes too long ends what runs in `running`."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self.failure: Failure | None = None
        self._clock = clock
        self._limits = limits
        self._began: list[tuple[Phase, float]] = []
        self._over_at = 0.0
        self._timer: Timer | None = None
        self._scope: CancelScope

    @contextmanager
    def running(self, phase: Phase) -> Iterator[None]:
        """What runs in it has so long as its phases allow; `failure` says which one was too long."""
        with CancelScope() as self._scope:
            self.reached(phase)
            try:
                yield
            finally:
                self._over_at = self._clock.now()
                self._disarm()

    def reached(self, phase: Phase) -> None:
        self._began.append((phase, self._clock.now()))
        self._disarm()
        limit_s: float | None = getattr(self._limits, "first_output" if phase == "submitted" else phase)
        if limit_s is not None:
            self._timer = self._clock.call_at(self._clock.now() + limit_s, lambda: self._too_long(phase, limit_s))

    def lasted(self, phase: Phase) -> float | None:
        """Seconds, to the phase behind it or to the end; None: it was not reached."""
        ends = [*(at for _, at in self._began[1:]), self._over_at]
        return next((end - at for (one, at), end in zip(self._began, ends, strict=True) if one == phase), None)

    def let_run(self) -> None:
        """No limit holds from here on."""
        self._disarm()

    def _too_long(self, phase: Phase, limit_s: float) -> None:
        text = f"{_DOES[phase]} within {limit_s:g} s"
        self.failure = Failure(FailureKind.SILENT, text, seen_at=phase)
        self._scope.cancel()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
