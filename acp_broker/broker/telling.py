"""What one turn has to tell: who was tried, how each failed, how long it took. It becomes the reply's `_meta`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from acp_broker.broker.story import Handed, Passed, Story, Tried
from acp_broker.core.handoff import Handoff
from acp_broker.core.names import Candidate, TurnId
from acp_broker.core.turnrules import Miss
from acp_broker.core.turnwords import Cancelled, Next, Refusal, Stopping

if TYPE_CHECKING:
    from acp_broker.broker.attempt import Attempt


class Telling:
    """Fed with the machine's states; `misses` are those that it has counted so far."""

    def __init__(self, turn: TurnId, passed: Sequence[Passed]) -> None:
        self.misses: tuple[Miss, ...] = ()
        self.passed = tuple(passed)
        self._turn = turn
        self._tried: list[Tried] = []

    def count(self, state: Stopping, attempt: "Attempt", now: float) -> Miss | None:
        """The miss that this state has counted and no state before it, or None. In no other state is one counted."""
        misses = _misses(state)
        if misses is None or len(misses) == len(self.misses):
            return None
        self.misses = misses
        miss = misses[-1]
        self._tried.append(
            Tried(miss.candidate.backend, miss.failure.kind.value, miss.failure.text, _ms(attempt.began_at, now))
        )
        return miss

    def story(self, attempt: "Attempt | None", now: float, *, unpersisted: str | None) -> Story:
        """The whole of it; `attempt` is the last one, which may have answered, been cancelled, or failed."""
        tried = list(self._tried)
        if attempt is not None and any(miss.attempt == attempt.number for miss in self.misses):
            attempt = None
        if attempt is not None:
            tried.append(Tried(attempt.candidate.backend, ms=_ms(attempt.began_at, now)))
        serving = attempt if attempt is not None and attempt.finished is not None else None
        return Story(
            turn=self._turn,
            backend=serving.candidate.backend if serving is not None else None,
            model=serving.candidate.model if serving is not None else None,
            attempts=tuple(tried),
            skipped=self.passed,
            adapted=serving.finished.adapted if serving is not None and serving.finished is not None else (),
            handoff=_handed(serving.handoff) if serving is not None else None,
            unpersisted=unpersisted,
        )


def follower(state: Stopping) -> Candidate | None:
    """Who is started once the attempt has stopped, or None."""
    return state.then.candidate if isinstance(state.then, Next) else None


def _handed(handoff: Handoff | None) -> Handed | None:
    return Handed(handoff.turns, handoff.left_out) if handoff is not None else None


def _ms(began_at: float, now: float) -> int:
    return round((now - began_at) * 1000)


def _misses(state: Stopping) -> tuple[Miss, ...] | None:
    match state.then:
        case Next(run=run):
            return run.misses
        case Refusal(misses=misses):
            return misses
        case Cancelled():
            return None
