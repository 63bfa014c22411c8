"""What one provider API is to the server: how it asks, and how it answers."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from tests.support.provider.faults import Fault
from tests.support.provider.wire import Request

# What the model reasons in `think-reset`, and before its words where reasoning is configured.
THOUGHTS = ("Weighing ", "the ", "question ", "slowly.")


class Tool(Struct, frozen=True):
    """A tool that the agent offers, with the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any]


class Ask(Struct, frozen=True):
    """What was asked for. `tokens` is its length; `is_answered`: the last thing in it is the result of a tool."""

    model: str
    is_stream: bool
    tokens: int
    tools: tuple[Tool, ...] = ()
    is_answered: bool = False
    wants_usage: bool = True


class Call(Struct, frozen=True):
    """A tool that the model calls."""

    name: str
    arguments: dict[str, Any]


class Answer(Struct, frozen=True):
    """What the model says, a token each, and after it calls."""

    words: tuple[str, ...] = ()
    thoughts: tuple[str, ...] = ()
    call: Call | None = None

    @property
    def text(self) -> str:
        return "".join(self.words)


class Reel(Struct, frozen=True):
    """A streamed answer in the pieces between which it can be cut, in order.

    `error` may come instead of the rest, and `error_first` instead of all.
    """

    opening: bytes
    thoughts: Sequence[bytes]
    words: Sequence[bytes]
    ending: bytes
    error: bytes
    error_first: bytes


class Shape(Protocol):
    """One API. Pure: what it gives is sent by others."""

    @property
    def name(self) -> str: ...

    def ask(self, request: Request) -> Ask | None:
        """What this request asks the model, or None when it is not one of this API's."""

    def reel(self, ask: Ask, answer: Answer) -> Reel: ...

    def whole(self, ask: Ask, answer: Answer) -> dict[str, Any]:
        """The answer to one that did not ask for a stream."""

    def failure(self, fault: Fault) -> object:
        """The body of an answer with the fault's status."""

    def headers(self) -> dict[str, str]: ...


def event(data: dict[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    line = b"" if name is None else b"event: %b\n" % name.encode()
    return line + b"data: %b\n\n" % msgspec.json.encode(data)


def counted(request: Request) -> int:
    """The tokens of a request, as providers count them: about one for four characters."""
    return max(1, len(request.body) // 4)


def said(request: Request) -> dict[str, Any]:
    """The JSON object of a request; {} when it is none."""
    try:
        body = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}
