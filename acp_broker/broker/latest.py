"""What a turn showed last after its commit point, and whether it begins the same answer over and over.

Nothing is read of the words of an answer that simply goes on: of each message, `COMPARED` characters.
"""

from collections.abc import Callable, Sequence
from functools import cache

from acp_broker.core import visible
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.repeats import Beginnings
from acp_broker.wire.acp import Update, text_of

# Tokens come faster; whoever asks a provider again waits longer (0.5 s at the least: docs/matrix.md).
PAUSE_S = 0.5

REPEATED = Failure(
    FailureKind.SERVER_ERROR, "began the same answer again and again: its provider breaks off", seen_at="submitted"
)


class Latest:
    """Of one attempt."""

    def __init__(self) -> None:
        self._shown: Sequence[Update] = ()
        self._at = 0.0
        self._message: str | None = None
        self._has_retried = False
        self._beginnings = Beginnings()

    def retried(self) -> None:
        """It said, without a word to anybody, that it asks its provider again."""
        self._has_retried = True

    def heard(self, updates: Sequence[Update], now: float) -> bool:
        """What one read brought, something visible in it; whether the same answer has begun once too often."""
        is_new = self._has_retried or now - self._at >= PAUSE_S
        self._shown, self._at = updates, now
        is_same = updates[-1].message_id == self._message and updates[-1].kind in visible.CHUNKS
        if self._beginnings.is_settled and not is_new and is_same:
            return False
        if is_new:
            self._beginnings.next(is_retry=self._has_retried)
            self._has_retried = False
        return any(map(self._is_once_too_often, updates))

    def words(self) -> str | None:
        """The text of what was shown last, if that was a message."""
        last = next((update for update in reversed(self._shown) if update.kind not in visible.NOTES), None)
        return text_of(last) if last is not None and last.kind == "agent_message_chunk" else None

    def forget(self) -> None:
        """The attempt is over: a read may hold megabytes."""
        self._shown = ()

    def _is_once_too_often(self, update: Update) -> bool:
        text = text_of(update) if update.kind in visible.CHUNKS else None
        if text is None:
            if update.kind not in visible.NOTES:
                self._beginnings.something_else()
            return False
        if update.message_id != self._message:
            self._message = update.message_id
            self._beginnings.next()
        if _retry_notices()(text):
            self._beginnings.next(is_retry=True)
            return False
        return self._beginnings.says(text)


@cache
def _retry_notices() -> Callable[[str], bool]:
    # Loaded with all other patterns, while the agent starts; an import that was done costs as much as the look.
    from acp_broker.core.retrying import is_retry_notice  # noqa: PLC0415

    return is_retry_notice
