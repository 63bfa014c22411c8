"""What a chunk seems to be, before its turn is committed."""

from enum import Enum


class Weight(Enum):
    # Output: nearly all.
    PLAIN = "plain"
    # It may be a failure: it is held for a second at most.
    DOUBTFUL = "doubtful"
    # The agent tries its provider again: a note, and evidence.
    RETRYING = "retrying"
    # A line that warns, an adapter's or all of an answer: a note, until the turn's end tells.
    WARNING = "warning"
    # The adapter's own for certain: a note.
    ASIDE = "aside"
