"""Who knows what of a session: how many of its turns each runtime has in its own memory, and what it must be told.

A runtime that answered a turn knows it and, by what it was handed, all before it. One that opens a session of its own
anew knows nothing. What a backend has missed is read from the log, once, in a thread, and only by a turn that needs it.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec
from msgspec import Raw, Struct, field

from acp_broker.broker.slash import slash_command
from acp_broker.core.handoff import Handoff, Missed, compose
from acp_broker.core.history import Exchange
from acp_broker.core.names import BackendId, TurnId
from acp_broker.errors import StoreError
from acp_broker.store import conversation
from acp_broker.store.conversation import Conversation
from acp_broker.store.past import Kept
from acp_broker.store.reading import read_records
from acp_broker.store.told import told
from acp_broker.wire import jsonrpc

if TYPE_CHECKING:
    from acp_broker.broker.attempt import Attempt
    from acp_broker.broker.runner import Turn
    from acp_broker.broker.session import Session
    from acp_broker.broker.standby import Standby


class Knows(Struct):
    """What one runtime remembers: the first `turns` turns of the session; of later ones the prompts it was given."""

    turns: int = 0
    prompts: set[TurnId] = field(default_factory=set)

    def forget(self) -> None:
        self.turns = 0
        self.prompts.clear()


class Memory:
    """One per session. `turns` are all that were accepted in it, the running one last."""

    def __init__(self, session: "Session") -> None:
        self.turns: list[TurnId] = []
        # What the log says of runtimes' memories in an earlier life of this session.
        self.kept: dict[BackendId, Kept] = {}
        self._session = session
        # For backends without a memory: what was read for the turn before, and what for the running one.
        self._conversation: Conversation | None = None
        self._past: tuple[TurnId, int, Sequence[Exchange]] | None = None
        # How much of the past the running turn was asked for.
        self._limit_bytes = 0

    def doze(self) -> None:
        """Keep nothing that can be read again."""
        self._conversation = self._past = None

    def restore(self, standby: "Standby") -> None:
        """What its runtime remembers from an earlier life of this session, if it is the same runtime still."""
        kept = self.kept.get(standby.runtime.candidate.backend)
        if kept is not None and kept.fingerprint == standby.runtime.fingerprint:
            standby.runtime_session = kept.runtime_session
            standby.knows = Knows(kept.turns, set(kept.prompts))

    def is_behind(self, standby: "Standby") -> bool:
        """Whether its runtime has missed turns before the running one; one without a memory asks for its `past`."""
        if standby.knows.turns >= len(self.turns) - 1:
            return False
        return standby.backend is None or not standby.backend.about.has_no_memory

    def served(self, attempt: "Attempt") -> None:
        """The running turn is over, and this attempt's runtime has seen it; one that never got the prompt has not."""
        if not attempt.is_submitted:
            return
        attempt.standby.knows.turns = len(self.turns)
        attempt.standby.knows.prompts.clear()
        if self._limit_bytes:
            asyncio.get_running_loop().call_soon(self._read_ahead, self._limit_bytes)
            self._limit_bytes = 0

    def _read_ahead(self, limit_bytes: int) -> None:
        """While the user reads the answer: the next turn need not wait for it."""
        known, path = self._known(limit_bytes), self._session.log.path
        if self._session.turn is None and conversation.is_quick(path, known):
            with suppress(StoreError):  # whoever needs it tells why there is none
                _, self._conversation = conversation.read(path, known, frozenset(self.turns))

    def _known(self, limit_bytes: int) -> Conversation:
        known = self._conversation
        return known if known is not None and known.limit_bytes == limit_bytes else Conversation(limit_bytes)

    async def prompt(self, turn: "Turn", attempt: "Attempt") -> Raw:
        """The turn's prompt with what this attempt's runtime has missed: before it, or behind a slash command."""
        handoff = await self._handoff(attempt.standby)
        if handoff is None:
            return turn.prompt
        attempt.handoff = handoff
        blocks = msgspec.json.decode(turn.prompt, type=list[Raw])
        earlier = _block(handoff)
        is_command = slash_command(turn.prompt) is not None
        return jsonrpc.encode([*blocks, earlier] if is_command else [earlier, *blocks])

    async def past(self, limit_bytes: int) -> Sequence[Exchange]:
        """TurnRequest.past of the running turn. A log that cannot be read has none; the broker's own says so."""
        self._limit_bytes = limit_bytes
        *before, turn = self.turns
        if not before or not limit_bytes:
            return ()
        if self._past is not None and self._past[:2] == (turn, limit_bytes):
            # Another backend has failed it.
            return self._past[2]
        known, earlier = self._known(limit_bytes), frozenset(before)
        past = known.past(earlier, before[-1])
        if past is None:
            past = await self._read(known, earlier)
        if past is not None:
            self._past = (turn, limit_bytes, past)
        return past or ()

    async def _read(self, known: Conversation, earlier: frozenset[TurnId]) -> tuple[Exchange, ...] | None:
        path = self._session.log.path
        read = partial(conversation.read, path, known, earlier)
        try:
            if conversation.is_quick(path, known):
                past, self._conversation = read()
            else:
                past, self._conversation = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        except StoreError as error:
            self._session.trace("past_not_read", session=self._session.id, turns=len(earlier), why=str(error))
            return None
        return past

    async def _handoff(self, standby: "Standby") -> Handoff | None:
        knows = standby.knows
        missed = set(self.turns[knows.turns : -1])
        try:
            return await anyio.to_thread.run_sync(
                partial(_composed, self._session, missed, set(knows.prompts)), abandon_on_cancel=True
            )
        except StoreError as error:  # an answer without it is better than none; the log of the broker says so
            standby.trace("not_handed_over", turns=len(missed), why=str(error))
            return None


def _composed(session: "Session", missed: set[TurnId], prompts: set[TurnId]) -> Handoff | None:
    said = told(read_records(session.log.path))
    return compose([Missed(one, one.turn in prompts) for one in said if one.turn in missed])


def _block(handoff: Handoff) -> Raw:
    """ACP v1, content: an embedded resource; an agent that takes none is given its text."""
    resource = {"uri": "acp-broker:earlier-turns", "mimeType": "text/plain", "text": handoff.text}
    return jsonrpc.encode({"type": "resource", "resource": resource, "annotations": {"audience": ["assistant"]}})
