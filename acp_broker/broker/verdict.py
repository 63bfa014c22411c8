"""How an attempt ended, as the machine is told: a good end may be a failure that was dressed as an answer."""

from typing import TYPE_CHECKING

from acp_broker.broker.slash import slash_command
from acp_broker.broker.testimony import witnessed
from acp_broker.contract import Finished as BackendFinished
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.turnwords import Committed, Doubting, Event, Failed, Finished, Spoke, Trying

if TYPE_CHECKING:
    from acp_broker.broker.attempt import Attempt
    from acp_broker.broker.runner import Turn

# gemini, whose provider's stream ends or errs in the middle: words, a good end, and a count of zero tokens.
_BROKEN_OFF = Failure(
    FailureKind.SERVER_ERROR,
    "ended its answer saying that it used no tokens: its provider has broken off",
    seen_at="submitted",
)
# goose, in the same places: no usage, or that of the turn before, which is the last that it knows.
_WITHOUT_USAGE = Failure(
    FailureKind.SERVER_ERROR,
    "ended its answer without saying what it used: its provider has broken off",
    seen_at="submitted",
)


def verdict(turn: "Turn", attempt: "Attempt", outcome: BackendFinished | Failure | None) -> tuple[Event, ...]:
    """The events that the end of its task is: it finished, failed, or (None) was cancelled by us."""
    match outcome:
        case None:
            return () if attempt.is_stopping else (Finished(attempt.number, "cancelled"),)
        case Failure():
            return (Failed(attempt.number, attempt.standby.hushed(outcome)),)
        case BackendFinished():
            attempt.finished = outcome
            if isinstance(turn.state, Trying | Doubting):
                return _of_nothing_shown(turn, attempt, outcome)
            failure = _behind_words(turn, attempt, outcome) if isinstance(turn.state, Committed) else None
            return (
                Finished(attempt.number, outcome.stop_reason) if failure is None else Failed(attempt.number, failure),
            )


def _of_nothing_shown(turn: "Turn", attempt: "Attempt", outcome: BackendFinished) -> tuple[Event, ...]:
    weighing, said = attempt.weighing, witnessed(outcome.answer)
    failure = weighing.judged(outcome.stop_reason, said, reports_usage=_reports_usage(turn, attempt))
    if failure is not None:
        return (Failed(attempt.number, attempt.standby.hushed(failure)),)
    finished = Finished(attempt.number, outcome.stop_reason)
    return (Spoke(attempt.number), finished) if weighing.is_answered_by_notes(said) else (finished,)


def _behind_words(turn: "Turn", attempt: "Attempt", outcome: BackendFinished) -> Failure | None:
    """The failure that ended an answer of which something was shown, or None for a whole one."""
    habit, said = _reports_usage(turn, attempt), witnessed(outcome.answer)
    words = attempt.latest.words()
    notice = words and attempt.weighing.judged_last(words, said, reports_usage=habit)
    if notice:
        return notice
    # A command, known or not, may be answered without a model.
    if outcome.stop_reason != "end_turn" or slash_command(turn.prompt) is not None:
        return None
    before, attempt.standby.usage = attempt.standby.usage, said.usage
    is_old = attempt.weighing.habits.renews_usage and attempt.standby.usage in (b"", before)
    if attempt.weighing.is_trusted:
        # Said a second time it is no witness: a model that reports none would be called broken off for ever.
        _learn(turn, attempt, is_present=said.has_usage and not is_old)
    if habit and said.says_unused:
        return _BROKEN_OFF
    return _WITHOUT_USAGE if habit and is_old else None


def _reports_usage(turn: "Turn", attempt: "Attempt") -> bool | None:
    return turn.session.broker.learnt.reports_usage(attempt.standby.runtime)


def _learn(turn: "Turn", attempt: "Attempt", *, is_present: bool) -> None:
    """Whether its good answers carry `usage`."""
    broker = turn.session.broker
    if broker.learnt.used(attempt.standby.runtime, is_present=is_present):
        broker.tasks.start_soon(broker.learnt.save)
