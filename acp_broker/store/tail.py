"""What a log has shown lately, in memory for readers that keep up; one that falls further behind reads the file."""

from collections import deque

from msgspec import Struct


class Entry(Struct, gc=False):
    """Frames that ended at position `end`; `to`: as `records.frames` says whom for."""

    start: int
    end: int
    to: int | None
    frames: bytes


# The tail of every log that remembers nothing: an empty deque of its own would cost each of them 760 bytes.
NOTHING: deque[Entry] = deque()


class Tail:
    """`since`: from this position on all that is shown is in here; what shows nothing needs no entry.

    The log itself adds to it and reads it, for every word: a call more each would be felt.
    """

    def __init__(self) -> None:
        self.since = 0
        self.bytes = 0
        self.entries = NOTHING

    def trim(self, most_bytes: int, written_to: int) -> None:
        """Keep so much, the newest. What is behind `written_to` can be read nowhere else: all of it is kept."""
        entries = self.entries
        while self.bytes > most_bytes and len(entries) > 1 and entries[0].end <= written_to:
            oldest = entries.popleft()
            self.bytes -= len(oldest.frames)
            self.since = oldest.end

    def forget(self, since: int) -> None:
        """Keep nothing of what was shown before this position."""
        self.entries, self.bytes, self.since = NOTHING, 0, since
