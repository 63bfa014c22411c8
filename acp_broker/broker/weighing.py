"""What an attempt's words are to the machine: notes, a retry of the agent's own, something to doubt, or output.

The patterns that tell a failure are loaded when they are first needed, best while an agent starts (`load`): they would
make `initialize` wait 40 ms.
"""

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from acp_broker.broker.testimony import Testimony
from acp_broker.core import visible
from acp_broker.core.failures import Failure
from acp_broker.core.habits import UNKNOWN
from acp_broker.core.names import StopReason
from acp_broker.core.turnwords import Doubted, Event, Noted, Reached, Spoke
from acp_broker.core.weight import Weight
from acp_broker.wire.acp import Update, text_of

if TYPE_CHECKING:
    from acp_broker.core.scale import Scale

_THOUGHT = "agent_thought_chunk"


async def load() -> None:
    """Load what turns alone need."""
    from acp_broker.core import scale  # noqa: F401, PLC0415 - see above


class _Note(Struct):
    meta: Raw = msgspec.field(name="_meta", default=Raw(b"null"))


_note = msgspec.json.Decoder(_Note).decode


class Weighing:
    """What one attempt says, until its turn is committed. `habits` are its agent's."""

    def __init__(self) -> None:
        self.habits = UNKNOWN
        # Whether it committed its turn by output that nobody could doubt.
        self.is_trusted = False
        self._scale: Scale | None = None

    def events(self, attempt: int, update: Update, *, is_doubting: bool) -> tuple[Event, ...]:
        """The events that one update is; the update belongs to the last of them."""
        if update.kind in visible.CHUNKS:
            text = text_of(update)
            if text is not None:
                return self._of_text(attempt, text, is_thought=update.kind == _THOUGHT, is_doubting=is_doubting)
        elif update.kind in visible.NOTES:
            return _retrying(attempt) if _notes_retry(update) else (Noted(attempt),)
        self.is_trusted = not is_doubting
        return (Spoke(attempt),)

    def _of_text(self, attempt: int, text: str, *, is_thought: bool, is_doubting: bool) -> tuple[Event, ...]:
        if not text or text.isspace():
            return (Noted(attempt),)
        match (self._scale or self._load()).weigh(text, is_thought=is_thought, is_doubting=is_doubting):
            case Weight.PLAIN:
                self.is_trusted = not is_doubting
                return (Spoke(attempt),)
            case Weight.DOUBTFUL:
                return (Doubted(attempt),)
            case Weight.RETRYING:
                return _retrying(attempt)
            case Weight.WARNING | Weight.ASIDE:
                return (Noted(attempt),)

    def judged(self, stop_reason: StopReason, said: Testimony, *, reports_usage: bool | None) -> Failure | None:
        """The failure that its turn is, of which nothing was shown, or None. `reports_usage`: that is its habit."""
        return (self._scale or self._load()).judge(stop_reason, self._usage(said, reports_usage=reports_usage))

    def judged_last(self, words: str, said: Testimony, *, reports_usage: bool | None) -> Failure | None:
        """The failure that a message is behind all others, by itself; or None."""
        from acp_broker.core.doubt import judge_last  # noqa: PLC0415 - see above

        return judge_last(words, self._usage(said, reports_usage=reports_usage), self.habits)

    def _usage(self, said: Testimony, *, reports_usage: bool | None) -> bool | None:
        """As `doubt.judge` wants it."""
        if said.has_usage and not said.says_failed:
            return True
        own = self.habits.reports_usage
        if own is None or (own and reports_usage is False):
            # What was seen of it here counts more than what is known of others: its model may report none.
            own = reports_usage
        return False if said.says_failed or own else None

    def is_answered_by_notes(self, said: Testimony) -> bool:
        """Whether what was held as an adapter's warning, or as a retry's notice, is a short answer: nothing followed.

        Behind a retry's notice there is nothing either when the agent gave up: then no model has spoken.
        """
        if self._scale is None:
            return False
        has_usage = said.has_usage and not self.habits.renews_usage
        return self._scale.has_warned or (self._scale.has_retried and has_usage)

    def _load(self) -> "Scale":
        from acp_broker.core.scale import Scale  # noqa: PLC0415 - see above

        self._scale = Scale(self.habits)
        return self._scale


def tells_retry(method: str, params: dict[str, Raw] | None) -> bool:
    """Whether a notification of an agent's own says that it tries its provider again."""
    from acp_broker.core.retrying import is_retry_method, says_retry  # noqa: PLC0415 - see above

    raw = msgspec.json.encode(params)
    return is_retry_method(method) or (_mentions(raw) and says_retry(msgspec.json.decode(raw)))


def _retrying(attempt: int) -> tuple[Event, ...]:
    return Reached(attempt, "retrying"), Noted(attempt)


def _notes_retry(update: Update) -> bool:
    """Whether the `_meta` of a note says so. Nearly none does: its bytes are searched before they are decoded."""
    raw = bytes(update.params["update"])
    if not _mentions(raw):
        return False
    from acp_broker.core.retrying import says_retry  # noqa: PLC0415 - see above

    try:
        return says_retry(msgspec.json.decode(_note(raw).meta))
    except msgspec.DecodeError:
        return False


def _mentions(raw: bytes) -> bool:
    return b"etry" in raw or b"econnecting" in raw
