"""What an attempt said before its commit point: kept in order, within bounds, shown or dropped as a whole."""

from collections.abc import Sequence

from acp_broker.wire.acp import Update, text_of

# Peers hold 200 events or 256 KiB before the first content; notes are small, and words are held for 250 ms at most.
HELD_BYTES = 1024 * 1024
# Each of these replaces the one before it, so the latest alone is worth keeping when there are many.
_REPLACED = frozenset(
    {
        "usage_update",
        "available_commands_update",
        "current_mode_update",
        "config_option_update",
        "session_info_update",
    }
)


class Held:
    """Past HELD_BYTES the older of notes that replace one another are left out, then the oldest of all."""

    def __init__(self) -> None:
        self._updates: list[Update] = []
        self._bytes = 0

    def add(self, updates: Sequence[Update]) -> None:
        self._updates.extend(updates)
        self._bytes += sum(_size(update) for update in updates)
        if self._bytes > HELD_BYTES:
            self._thin_out()

    def take(self) -> list[Update]:
        """Everything held, in order; nothing is held afterwards."""
        held, self._updates, self._bytes = self._updates, [], 0
        return held

    def text(self) -> str:
        """The words among it."""
        words = [text_of(update) for update in self._updates if update.kind == "agent_message_chunk"]
        return "".join(word for word in words if word)

    def _thin_out(self) -> None:
        kept: list[Update] = []
        seen: set[str] = set()
        for update in reversed(self._updates):
            if update.kind in _REPLACED and update.kind in seen:
                continue
            seen.add(update.kind)
            kept.append(update)
        kept.reverse()
        self._bytes = sum(_size(update) for update in kept)
        while self._bytes > HELD_BYTES and len(kept) > 1:
            self._bytes -= _size(kept.pop(0))
        self._updates = kept


def _size(update: Update) -> int:
    return sum(memoryview(value).nbytes for value in update.params.values())
