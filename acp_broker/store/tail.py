"""What a log has shown lately, in memory for readers that keep up; one that falls further behind reads the file."""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from acp_broker.store import records


class Entry(Struct, gc=False):
    """Frames that ended at position `end`; `to`: as `records.frames` says whom for."""

    start: int
    end: int
    to: int | None
    frames: bytes


# The tail of every log that remembers nothing: an empty deque of its own would cost each of them 760 bytes.
_NOTHING: deque[Entry] = deque()


class Tail:
    """`since`: from this position on all that is shown is in here; what shows nothing needs no entry."""

    def __init__(self) -> None:
        self.since = 0
        self.bytes = 0
        self._entries = _NOTHING

    def add(self, entries: Iterable[Entry]) -> None:
        """What was shown now, in order."""
        if self._entries is _NOTHING:
            self._entries = deque()
        for entry in entries:
            self._entries.append(entry)
            self.bytes += len(entry.frames)

    def read(self, position: int, reader: int) -> bytes:
        """The frames for frontend `reader` from `position` on, which is not before `since`."""
        fresh: list[bytes] = []
        for entry in reversed(self._entries):
            if entry.end <= position:
                break
            if entry.to is None or records.is_for(entry.to, reader):
                fresh.append(entry.frames)
        if len(fresh) == 1:
            return fresh[0]
        fresh.reverse()
        return b"".join(fresh)

    def trim(self, most_bytes: int, written_to: int) -> None:
        """Keep so much, the newest. What is behind `written_to` can be read nowhere else: all of it is kept."""
        entries = self._entries
        while self.bytes > most_bytes and len(entries) > 1 and entries[0].end <= written_to:
            oldest = entries.popleft()
            self.bytes -= len(oldest.frames)
            self.since = oldest.end

    def forget(self, since: int) -> None:
        """Keep nothing of what was shown before this position."""
        self._entries, self.bytes, self.since = _NOTHING, 0, since
