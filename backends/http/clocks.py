"""The clocks of one attempt: one limit at a time, on all that happens within the block."""

from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CancelScope

from acp_broker.clock import Clock, Timer
from acp_broker.core.failures import Failure
from acp_broker.errors import BackendFailure


class Watch:
    """`arm` replaces the limit before. `failure` is that of the limit that has passed, if it had one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer: Timer | None = None
        self._scope = CancelScope()
        self.failure: Failure | None = None

    def arm(self, seconds: float, failure: Failure | None) -> None:
        """After so many seconds end the block: with this failure, or (None) as `call_off` does."""
        self.disarm()
        self._timer = self._clock.call_at(self._clock.now() + seconds, lambda: self._ring(failure))

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def call_off(self) -> None:
        """End the block at once."""
        self._scope.cancel()

    def _ring(self, failure: Failure | None) -> None:
        self._timer = None
        self.failure = failure
        self._scope.cancel()

    @contextmanager
    def block(self) -> Iterator[None]:
        """Raises BackendFailure where a limit has passed that has one; what is called off just ends."""
        try:
            with self._scope:
                yield
        finally:
            self.disarm()
        if self._scope.cancelled_caught and self.failure is not None:
            raise BackendFailure(self.failure)
