"""What an attempt said before its commit point: kept in order, within bounds, shown or dropped as a whole."""

from collections.abc import Sequence
from itertools import takewhile
from typing import TypeGuard

from msgspec import Raw, Struct

from acp_broker.core import visible
from acp_broker.wire.acp import Update

# Notes are small, and words are held for a second or so: a runtime that fills this is not well.
HELD_BYTES = 1024 * 1024
# Each of these replaces the one before it, so the latest alone is worth keeping when there are many.
_REPLACED = visible.NOTES - {"user_message_chunk"}


class Told(Struct, frozen=True):
    """An extension notification of an agent, as it came."""

    method: str
    params: dict[str, Raw] | None


Item = Update | Told


class Held:
    """Past HELD_BYTES the older of notes that replace one another are left out, then the oldest of all."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, items: Sequence[Item]) -> None:
        self._items.extend(items)
        self._bytes += sum(_size(item) for item in items)
        if self._bytes > HELD_BYTES:
            self._thin_out()

    def take(self) -> list[Item]:
        """Everything held, in order; nothing is held afterwards."""
        held, self._items, self._bytes = self._items, [], 0
        return held

    def _thin_out(self) -> None:
        kept: list[Item] = []
        seen: set[str] = set()
        for item in reversed(self._items):
            if _is_update(item) and item.kind in _REPLACED:
                if item.kind in seen:
                    continue
                seen.add(item.kind)
            kept.append(item)
        kept.reverse()
        self._bytes = sum(_size(item) for item in kept)
        while self._bytes > HELD_BYTES and len(kept) > 1:
            self._bytes -= _size(kept.pop(0))
        self._items = kept


def first_updates(items: Sequence[Item]) -> tuple[list[Update], Sequence[Item]]:
    """The updates up to the first extension notification, and what follows from there."""
    updates = [item for item in takewhile(_is_update, items) if _is_update(item)]
    return updates, items[len(updates) :]


def _is_update(item: Item) -> TypeGuard[Update]:
    return isinstance(item, Update)


def _size(item: Item) -> int:
    return sum(memoryview(value).nbytes for value in (item.params or {}).values())
