"""The stream of Chat Completions: deltas, usage, the finish reason, errors among them; `[DONE]` behind all."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from acp_broker.core import http_failures
from acp_broker.core.failures import FailureKind
from acp_broker.core.names import StopReason
from acp_broker.errors import BackendFailure
from backends.http.events import ended_as, event_of
from backends.http.speaking import Piece
from backends.http.sse import Event
from backends.http.usage import Usage, cost, count


class _Part(Struct):
    """A piece of words or of `thinking`: Mistral's reasoning models answer in lists."""

    text: str | None = None
    thinking: "list[_Part] | str | None" = None


class _Delta(Struct):
    """`reasoning_content`: DeepSeek, llama.cpp, vLLM, LM Studio; `reasoning`: OpenRouter, Ollama, newer vLLM."""

    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Choice(Struct):
    index: object = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    error: dict[str, object] | str | None = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    usage: object = None
    error: dict[str, object] | str | None = None


_decode = msgspec.json.Decoder(_Chunk).decode

# Any other finish reason is a good end under a name of the server's own ("eos", "stop_sequence").
_STOPS: Mapping[str, StopReason] = {
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "max_tokens",  # Mistral: its context is full
    "content_filter": "refusal",
}
# Finish reasons that are failures; before the first word and behind words alike.
FAILED: Mapping[str, tuple[FailureKind, str]] = {
    "error": (FailureKind.SERVER_ERROR, "its provider failed"),  # OpenRouter
    "abort": (FailureKind.SERVER_ERROR, "its server gave the answer up"),  # vLLM
    "insufficient_system_resource": (FailureKind.OVERLOADED, "it has no room"),  # DeepSeek
    "tool_calls": (FailureKind.GARBLED, "it called a tool, and has none"),
    "function_call": (FailureKind.GARBLED, "it called a function, and has none"),
}


class ChatDecoder:
    """turn.Decoder of one answer, streamed or whole."""

    def __init__(self) -> None:
        self.stop: StopReason | None = None
        self.code: str | None = None
        self.why: str | None = None
        self.usage: Usage | None = None
        self.is_over = False
        self._has_refused = False

    def pieces(self, event: Event) -> Iterator[Piece]:
        if event.data.startswith(b"[DONE]"):
            self.is_over = True
            return
        # LM Studio names the event.
        chunk = None if event.name == "error" else event_of(event.data, _decode)
        if chunk is None or chunk.error:
            raise BackendFailure(http_failures.from_event(event.data))
        if isinstance(chunk.usage, dict):
            self.usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index:  # another answer to the same prompt
                continue
            if choice.error:
                raise BackendFailure(http_failures.from_event(msgspec.json.encode(choice.error)))
            if (said := choice.delta or choice.message) is not None:
                yield from self._said(said)
            if choice.finish_reason:
                self._end(choice.finish_reason)

    def _said(self, delta: _Delta) -> Iterator[Piece]:
        if thought := delta.reasoning_content or delta.reasoning:
            yield Piece(thought, is_thought=True)
        yield from _content(delta.content)
        if delta.refusal:
            self._has_refused = True
            yield Piece(delta.refusal)

    def _end(self, reason: str) -> None:
        if reason in FAILED:
            raise ended_as(reason, FAILED[reason])
        self.stop = "refusal" if self._has_refused else _STOPS.get(reason, "end_turn")
        self.code = reason


def _content(content: str | list[_Part] | None, *, is_thought: bool = False) -> Iterator[Piece]:
    for part in [_Part(content)] if isinstance(content, str) else content or ():
        if part.thinking:
            yield from _content(part.thinking, is_thought=True)
        if part.text:
            yield Piece(part.text, is_thought)


def _usage(told: object) -> Usage:
    asked, answered = count(told, "prompt_tokens") or 0, count(told, "completion_tokens") or 0
    return Usage(
        count(told, "total_tokens") or asked + answered,
        asked,
        answered,
        count(told, "completion_tokens_details", "reasoning_tokens"),
        count(told, "prompt_tokens_details", "cached_tokens"),
        cost=cost(told),
    )
