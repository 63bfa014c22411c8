"""A session's past turns out of its log: what was read once is not read again. Blocks: use a thread."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from msgspec import Struct

from acp_broker.core.history import Exchange, newest
from acp_broker.core.names import TurnId
from acp_broker.store.reading import numbered_records
from acp_broker.store.records import Record
from acp_broker.store.told import exchanges

# Some fifty short turns; it is read in a millisecond.
_QUICK_BYTES = 32 * 1024


class Conversation(Struct, frozen=True):
    """The turns that began before offset `upto` of the log, as far as they fit into `limit_bytes`."""

    limit_bytes: int
    turns: tuple[Exchange, ...] = ()
    upto: int = 0


def is_quick(path: Path, known: Conversation) -> bool:
    """Whether so little is new that a thread would take longer to start than to read it."""
    try:
        return path.stat().st_size - known.upto <= _QUICK_BYTES
    except OSError:
        return False


def read(path: Path, known: Conversation, wanted: AbstractSet[TurnId]) -> tuple[tuple[Exchange, ...], Conversation]:
    """Those of the `wanted` turns that fit, and what is to be known the next time. Raises StoreError.

    The last turn in the log is read again then: it may be running.
    """
    begun = known.upto

    def records() -> Iterator[Record]:
        nonlocal begun
        for at, record in numbered_records(path, known.upto):
            if record.record == "accepted" and at is not None:
                begun = at
            yield record

    turns = [*known.turns, *exchanges(records())]
    past = newest([one for one in turns if one.said.turn in wanted], known.limit_bytes)
    return past, Conversation(known.limit_bytes, newest(turns[:-1], known.limit_bytes), begun)
