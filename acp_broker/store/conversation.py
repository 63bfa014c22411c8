"""A session's past turns out of its log: read from its end, no more than is needed, and once. Blocks: use a thread."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from msgspec import Struct

from acp_broker.core.history import Exchange, newest
from acp_broker.core.names import TurnId
from acp_broker.store.reading import last_records, numbered_records
from acp_broker.store.records import Record
from acp_broker.store.told import exchanges

# Some fifty short turns; it is read in a millisecond.
_QUICK_BYTES = 32 * 1024
# What is read of a log's end, for each byte that may be told (or for these few), and how many times more each time that
# it was not enough: what tools brought is in the log, too.
_LEAST, _FIRST, _MORE = 1_024, 4, 8


class Conversation(Struct, frozen=True):
    """The turns that began before offset `upto` of the log, as far as they fit into `limit_bytes`; and the next one, if
    the log has its answer."""

    limit_bytes: int
    turns: tuple[Exchange, ...] = ()
    upto: int = 0
    last: Exchange | None = None

    def past(self, wanted: AbstractSet[TurnId], last: TurnId) -> tuple[Exchange, ...] | None:
        """Those of the `wanted` turns that fit, where `last` is the last of them and known; None: read the log."""
        if self.last is None or self.last.said.turn != last:
            return None
        return newest(_told([*self.turns, self.last], wanted), self.limit_bytes)


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
    turns: list[Exchange] = []
    past: tuple[Exchange, ...] = ()
    begun = 0
    for start in [known.upto] if known.upto else _starts(path, known.limit_bytes):
        new, begun = _read(path, start)
        turns = [*known.turns, *new]
        told = _told(turns, wanted)
        past = newest(told, known.limit_bytes)
        if len(past) < len(told):  # those before would not fit, either
            break
    last = turns[-1] if turns and turns[-1].said.end != "interrupted" else None
    return past, Conversation(known.limit_bytes, newest(turns[:-1], known.limit_bytes), begun, last)


def _told(turns: list[Exchange], wanted: AbstractSet[TurnId]) -> list[Exchange]:
    return [one for one in turns if one.said.turn in wanted and one.said.is_told]


def _starts(path: Path, limit_bytes: int) -> Iterator[int]:
    """From where to read, until it is enough."""
    back = max(limit_bytes, _LEAST) * _FIRST
    while start := last_records(path, back):
        yield start
        back *= _MORE
    yield 0


def _read(path: Path, start: int) -> tuple[list[Exchange], int]:
    """The turns that begin behind this offset, and where the last of them does."""
    begun = start

    def records() -> Iterator[Record]:
        nonlocal begun
        for at, record in numbered_records(path, start):
            if record.record == "accepted" and at is not None:
                begun = at
            yield record

    return list(exchanges(records())), begun
