"""Secrets by reference: each is looked up once for all who want it at a time, and kept in memory alone for a while.

Where it is looked up is a Source; what it may cost is bounded here. No secret is part of a repr, a log or an error.
"""

import asyncio
from functools import partial
from typing import Protocol, Self

import anyio
from anyio import CapacityLimiter
from msgspec import Struct

from acp_broker.clock import Clock
from acp_broker.errors import Unresolved

# How long what a program or a keyring said is believed: agents come and go, and each would ask anew.
KEPT_S = 300.0


class Source(Protocol):
    """Where secrets are kept. Equal sources are one: a Source is immutable and can be hashed."""

    @property
    def limit_s(self) -> float:
        """How long a look-up may take."""

    @property
    def kept_s(self) -> float:
        """How long its answer may be kept; 0: not at all."""

    async def look_up(self, name: str) -> str:
        """The secret of this name. Raises Unresolved; may hang, and is cancelled then."""


class _Kept(Struct, frozen=True):
    value: str
    until: float

    def __repr__(self) -> str:
        return "_Kept(...)"


_Key = tuple[Source, str]


class Secrets:
    """One per broker process. `most_at_once` bounds the look-ups that one source has at a time."""

    def __init__(self, clock: Clock, most_at_once: int = 4) -> None:
        self._clock = clock
        self._most_at_once = most_at_once
        self._kept: dict[_Key, _Kept] = {}
        self._under_way: dict[_Key, asyncio.Task[str]] = {}
        # Those of `_under_way`, and those that were under way when everything was forgotten.
        self._tasks: set[asyncio.Task[str]] = set()
        self._turns: dict[Source, CapacityLimiter] = {}
        # Counts `forget`: what was asked before it is not kept.
        self._age = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is under way, and all that it has started."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def resolve(self, source: Source, name: str) -> str:
        """The secret. Raises Unresolved, `is_late` where the source's limit has passed.

        Cancelled, it leaves the look-up to the others that wait for it, or to its limit: what comes then is kept.
        """
        key = source, name
        kept = self._kept.get(key)
        if kept is not None and self._clock.now() < kept.until:
            return kept.value
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._look_up(source, name, self._age))
            self._tasks.add(task)
            task.add_done_callback(partial(self._over, key))
        # Not `shield`: that one passes the task's cancellation on as if it were ours.
        await asyncio.wait([task])
        if task.cancelled():
            raise Unresolved("the broker is ending", is_late=True)
        return task.result()

    def distrust(self, source: Source, name: str) -> None:
        """Look this one up anew the next time: it was refused."""
        self._kept.pop((source, name), None)

    def forget(self) -> None:
        """Look everything up anew from now on."""
        self._age += 1
        self._kept.clear()
        self._under_way.clear()

    async def _look_up(self, source: Source, name: str, age: int) -> str:
        async with self._turn(source):
            with anyio.move_on_after(source.limit_s):
                value = await source.look_up(name)
                if "\0" in value:
                    raise Unresolved("it holds a NUL, which no variable can")
                if not value:
                    raise Unresolved("it is empty")
                if source.kept_s and age == self._age:
                    self._kept[source, name] = _Kept(value, self._clock.now() + source.kept_s)
                return value
        raise Unresolved(f"no answer within {source.limit_s:g} s", is_late=True)

    def _turn(self, source: Source) -> CapacityLimiter:
        if source not in self._turns:
            self._turns[source] = CapacityLimiter(self._most_at_once)
        return self._turns[source]

    def _over(self, key: _Key, task: asyncio.Task[str]) -> None:
        self._tasks.discard(task)
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled():
            task.exception()  # nobody may be left who waits for it
