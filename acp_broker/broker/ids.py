"""Message and tool-call ids that are unique in a session, across agents and their restarts.

An id is kept as the runtime chose it unless another runtime (or an earlier life of the same one) has used it in this
session; then it is rewritten, the same way wherever it occurs. A chunk without a message id gets one, shared by the
chunks of the same kind that follow it (ACP v1, prompt-turn, "Message IDs").
"""

import secrets
from collections.abc import Iterable

import msgspec
from msgspec import Raw

from acp_broker.core import visible
from acp_broker.core.names import SessionId
from acp_broker.wire.acp import Update

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode

# An echo of the prompt comes in chunks, too.
CHUNKS = visible.CHUNKS | {"user_message_chunk"}
# What ends a run of chunks: the next chunk without an id begins a new message.
BREAKS = frozenset({"tool_call", "plan"})

# The life of what we made ourselves: runtimes' lives are counted from 1.
_NOBODY = 0


class Ids:
    """The ids of one session. `life` numbers a runtime's life: one process, or one opening of it."""

    def __init__(self, session: SessionId) -> None:
        self._session = Raw(_encode(session))
        # Random, so that ids made after a restart meet none that were made before it.
        self._prefix = f"m{secrets.token_hex(4)}-"
        self._made = 0
        # Which life used an id first, and what it is for the others.
        self._owners: dict[str, int] = {}
        self._rewritten: dict[tuple[int, str], str] = {}
        self._run: tuple[int, str] | None = None
        self._run_member = b""

    def taken(self, ids: Iterable[str]) -> None:
        """These are used already, by runtimes that are no more."""
        for one in ids:
            self._owners.setdefault(one, _NOBODY)

    def unique(self, life: int, raw: str) -> str:
        """The session's id for a runtime's `raw` id."""
        if self._owners.setdefault(raw, life) == life:
            return raw
        known = self._rewritten.get((life, raw))
        if known is None:
            known = self._rewritten[(life, raw)] = self.fresh()
            self._owners[known] = _NOBODY
        return known

    def fresh(self) -> str:
        """An id that nobody in this session has used."""
        self._made += 1
        return f"{self._prefix}{self._made}"

    def new_message(self) -> None:
        """A new attempt begins: its chunks without an id belong to no message before them."""
        self._run = None

    def voiced(self, update: Update, life: int) -> bytes:
        """The update's params as this session shows them: our session id, unique ids. The update is spent."""
        params, kind = update.params, update.kind
        params["sessionId"] = self._session
        if update.message_id is not None:
            unique = self.unique(life, update.message_id)
            if unique is not update.message_id and unique != update.message_id:
                _rewrite(params, "messageId", unique)
        elif kind in CHUNKS:
            self._give_id(params, life, kind)
        elif kind in BREAKS:
            self._run = None
        if update.tool_call_id is not None:
            unique = self.unique(life, update.tool_call_id)
            if unique != update.tool_call_id:
                _rewrite(params, "toolCallId", unique)
        return _encode(params)

    def _give_id(self, params: dict[str, Raw], life: int, kind: str) -> None:
        if self._run != (life, kind):
            self._run = (life, kind)
            self._run_member = b'{"messageId":"%b",' % self.fresh().encode()
        body = bytes(params["update"])
        if b'"messageId"' in body:
            # A null id, or the word inside the text: take the careful way.
            _rewrite(params, "messageId", self._run_member[14:-2].decode())
            return
        params["update"] = Raw(self._run_member + body.lstrip()[1:])


def _rewrite(params: dict[str, Raw], member: str, value: str) -> None:
    body = _members(params["update"])
    body[member] = Raw(_encode(value))
    params["update"] = Raw(_encode(body))
