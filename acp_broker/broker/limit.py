"""A limit on waiting that goes by the broker's own clock."""

from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CancelScope

from acp_broker.clock import Clock


@contextmanager
def within(clock: Clock, seconds: float) -> Iterator[CancelScope]:
    """Cancel what is inside once so many seconds have passed; `cancelled_caught` says that it was."""
    with CancelScope() as scope:
        timer = clock.call_at(clock.now() + seconds, scope.cancel)
        try:
            yield scope
        finally:
            timer.cancel()
