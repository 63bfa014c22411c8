"""What an attempt's words are to the machine: notes, a retry of the agent's own, something to doubt, or output.

The patterns that tell a failure are loaded when they are first needed, best while an agent starts (`load`): they would
make `initialize` wait 15 ms.
"""

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from msgspec import Raw

from acp_broker.broker import story
from acp_broker.core import visible
from acp_broker.core.failures import Failure
from acp_broker.core.habits import Habits
from acp_broker.core.names import StopReason
from acp_broker.core.turnwords import Doubted, Event, Noted, Reached, Spoke
from acp_broker.wire.acp import Update, text_of

_Question: TypeAlias = Callable[[str, Habits], bool]


@cache
def _doubts() -> tuple[_Question, _Question, _Question]:
    # An import that was done costs as much as all that it is for.
    from acp_broker.core.doubt import is_aside, is_retry_notice, looks_like_failure  # noqa: PLC0415 - see above

    return is_aside, is_retry_notice, looks_like_failure


async def load() -> None:
    """Load what turns alone need."""
    _doubts()


def weighed(attempt: int, update: Update, habits: Habits) -> tuple[Event, ...]:
    """The events that one update before the commit point is; the update belongs to the last of them."""
    text = text_of(update) if update.kind in visible.CHUNKS else None
    if visible.voice(update.kind, text) is visible.Voice.NOTE:
        return (Noted(attempt),)
    if text is not None:
        is_aside, is_retry_notice, looks_like_failure = _doubts()
        if habits.asides and is_aside(text, habits):
            return (Noted(attempt),)
        if update.kind == "agent_message_chunk":
            if is_retry_notice(text, habits):
                return Reached(attempt, "retrying"), Noted(attempt)
            if looks_like_failure(text, habits):
                return (Doubted(attempt),)
    return (Spoke(attempt),)


def judged(words: str, stop_reason: StopReason, answer: Raw, habits: Habits) -> Failure | None:
    """Whether the held words, and the answer behind them, are a failure dressed as an answer."""
    from acp_broker.core.doubt import judge  # noqa: PLC0415 - see `load`

    return judge(words, stop_reason, story.has_usage(answer), habits)
