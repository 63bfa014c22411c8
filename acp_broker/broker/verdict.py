"""How an attempt ended, as the machine is told: a good end may be a failure that was dressed as an answer."""

from typing import TYPE_CHECKING

from acp_broker.broker import story
from acp_broker.contract import Finished as BackendFinished
from acp_broker.core.failures import Failure
from acp_broker.core.turnwords import Committed, Doubting, Event, Failed, Finished, Spoke, State, Trying

if TYPE_CHECKING:
    from acp_broker.broker.attempt import Attempt
    from acp_broker.broker.session import Session


def verdict(
    session: "Session", state: State, attempt: "Attempt", outcome: BackendFinished | Failure | None
) -> tuple[Event, ...]:
    """The events that the end of its task is: it finished, failed, or (None) was cancelled by us."""
    match outcome:
        case None:
            return () if attempt.is_stopping else (Finished(attempt.number, "cancelled"),)
        case Failure():
            return (Failed(attempt.number, attempt.standby.hushed(outcome)),)
        case BackendFinished():
            attempt.finished = outcome
            if isinstance(state, Trying | Doubting):
                return _of_nothing_shown(session, attempt, outcome)
            if isinstance(state, Committed) and attempt.weighing.is_trusted and outcome.stop_reason == "end_turn":
                _learn(session, attempt, outcome)
            return (Finished(attempt.number, outcome.stop_reason),)


def _of_nothing_shown(session: "Session", attempt: "Attempt", outcome: BackendFinished) -> tuple[Event, ...]:
    weighing = attempt.weighing
    habit = session.broker.learnt.reports_usage(attempt.standby.runtime)
    failure = weighing.judged(outcome, reports_usage=habit)
    if failure is not None:
        return (Failed(attempt.number, attempt.standby.hushed(failure)),)
    finished = Finished(attempt.number, outcome.stop_reason)
    # A warning that nothing followed was no adapter's: it is the answer.
    return (Spoke(attempt.number), finished) if weighing.has_warned else (finished,)


def _learn(session: "Session", attempt: "Attempt", outcome: BackendFinished) -> None:
    """Whether its good answers carry `usage`."""
    learnt = session.broker.learnt
    if learnt.used(attempt.standby.runtime, is_present=story.has_usage(outcome.answer)):
        session.broker.tasks.start_soon(learnt.save)
