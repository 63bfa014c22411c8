"""What a model said in one read, as updates: one for each stretch of words or of thoughts, with its message's id."""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import uuid4

import msgspec
from msgspec import Raw

from acp_broker.wire.acp import Update

_encode = msgspec.json.encode


class Piece(NamedTuple):
    """A piece of the answer, or of the reasoning before it; never empty."""

    text: str
    is_thought: bool = False


class Voice:
    """One per attempt: its words are one message, its thoughts another. `has_spoken`: more than blanks."""

    def __init__(self) -> None:
        self.has_spoken = False
        self._words = _Message("agent_message_chunk")
        self._thoughts = _Message("agent_thought_chunk")

    def updates(self, pieces: Iterable[Piece]) -> list[Update]:
        stretches: list[tuple[bool, list[str]]] = []
        for text, is_thought in pieces:
            if stretches and stretches[-1][0] is is_thought:
                stretches[-1][1].append(text)
            else:
                stretches.append((is_thought, [text]))
        return [self._update("".join(texts), is_thought=is_thought) for is_thought, texts in stretches]

    def _update(self, text: str, *, is_thought: bool) -> Update:
        if not self.has_spoken and not text.isspace():
            self.has_spoken = True
        return (self._thoughts if is_thought else self._words).chunk(text)


class _Message:
    """Named when it begins: most attempts have no thoughts, and those that fail no words."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._id = ""
        self._head = b""

    def chunk(self, text: str) -> Update:
        if not self._id:
            self._id = str(uuid4())
            head = f'{{"sessionUpdate":"{self._kind}","messageId":"{self._id}","content":{{"type":"text","text":'
            self._head = head.encode()
        return Update(self._kind, {"update": Raw(self._head + _encode(text) + b"}}")}, self._id)
