"""The stream of Messages: deltas of text and of thinking, usage, the stop reason; `message_stop` behind all."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from acp_broker.core import http_failures
from acp_broker.core.failures import FailureKind
from acp_broker.core.names import StopReason
from acp_broker.errors import BackendFailure
from backends.http.events import ended_as, event_of
from backends.http.speaking import Piece
from backends.http.sse import Event
from backends.http.usage import Usage, count


class _Details(Struct):
    """Of a refusal."""

    category: str | None = None
    explanation: str | None = None


class _Content(Struct):
    """A block, or a delta of one; of signatures and of tools' input nothing is said."""

    text: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None
    stop_details: _Details | None = None


class _Message(Struct):
    content: list[_Content] | None = None
    stop_reason: str | None = None
    stop_details: _Details | None = None
    usage: object = None


class _Event(_Message):
    """Any event; and the whole message, where its server does not stream."""

    type: str = ""
    message: _Message | None = None
    content_block: _Content | None = None
    delta: _Content | None = None
    error: dict[str, object] | str | None = None


_decode = msgspec.json.Decoder(_Event).decode

# Any other stop reason is a good end: "end_turn", "stop_sequence", and what others than Anthropic write.
_STOPS: Mapping[str, StopReason] = {
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}
# Stop reasons that are failures; before the first word and behind words alike.
FAILED: Mapping[str, tuple[FailureKind, str]] = {
    "tool_use": (FailureKind.GARBLED, "it called a tool, and has none"),
    "pause_turn": (FailureKind.GARBLED, "it waits for a tool, and has none"),
}


class MessageDecoder:
    """turn.Decoder of one answer, streamed or whole."""

    def __init__(self) -> None:
        self.stop: StopReason | None = None
        self.usage: Usage | None = None
        self.is_over = False
        self.code: str | None = None
        self.why: str | None = None
        self._used: dict[str, object] = {}

    def pieces(self, event: Event) -> Iterator[Piece]:
        if self.is_over:
            return
        told = None if event.name == "error" else event_of(event.data, _decode)
        if told is None or told.error is not None:
            raise BackendFailure(http_failures.from_event(event.data))
        match told.type:
            case "message_start":
                yield from self._message(told.message or _Message())
            case "content_block_start":
                yield from _said([told.content_block or _Content()])
            case "content_block_delta":
                yield from _said([told.delta or _Content()])
            case "message_delta":
                self._ending(told.delta or _Content(), told.usage)
            case "message_stop":
                self._end()
            case "message":
                yield from self._message(told)
                self._end()
            case _:
                """A ping, the end of a block, or what is newer than this."""

    def _message(self, message: _Message) -> Iterator[Piece]:
        yield from _said(message.content or ())
        self._ending(message, message.usage)

    def _ending(self, told: _Content | _Message, usage: object) -> None:
        if isinstance(usage, dict):
            # The beginning tells some of it, the end all, or what is new.
            self._used |= {name: value for name, value in usage.items() if value is not None}
            self.usage = _sum(self._used)
        reason, details = told.stop_reason, told.stop_details or _Details()
        self.why = details.explanation or details.category or self.why
        if reason is not None and reason in FAILED:
            raise ended_as(reason, FAILED[reason])
        self.code = reason or self.code

    def _end(self) -> None:
        self.is_over = True
        if self.code is not None:
            self.stop = _STOPS.get(self.code, "end_turn")


def _said(content: Iterable[_Content]) -> Iterator[Piece]:
    for one in content:
        if one.thinking:
            yield Piece(one.thinking, is_thought=True)
        if one.text:
            yield Piece(one.text)


def _sum(used: object) -> Usage:
    """What was read from the cache, or written to it, is no part of `input_tokens`."""
    into, out = count(used, "input_tokens") or 0, count(used, "output_tokens") or 0
    read, written = count(used, "cache_read_input_tokens"), count(used, "cache_creation_input_tokens")
    return Usage(into + out + (read or 0) + (written or 0), into, out, None, read, written)
