"""The stream of `streamGenerateContent`: parts, usage, the finish reason that makes it whole; there is no `[DONE]`."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from acp_broker.core import http_failures
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import StopReason
from acp_broker.errors import BackendFailure
from backends.http.events import ended_as, event_of
from backends.http.speaking import Piece
from backends.http.sse import Event
from backends.http.usage import Usage, count


class _Part(Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: dict[str, object] | None = None


class _Content(Struct):
    parts: list[_Part] | None = None


class _Candidate(Struct, rename="camel"):
    index: object = 0
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None


class _PromptFeedback(Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Chunk(Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _PromptFeedback | None = None
    usage_metadata: object = None
    error: dict[str, object] | str | None = None


_decode = msgspec.json.Decoder(_Chunk).decode

# A filter's.
FILTERED = frozenset({"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"})
_STOPS: Mapping[str, StopReason] = {
    "STOP": "end_turn",
    "MAX_TOKENS": "max_tokens",
    **dict.fromkeys(FILTERED, "refusal"),
}
# Finish reasons that are failures; before the first word and behind words alike. So is any other.
FAILED: Mapping[str, tuple[FailureKind, str]] = {
    "MALFORMED_FUNCTION_CALL": (FailureKind.GARBLED, "it called a tool, and has none"),
    "UNEXPECTED_TOOL_CALL": (FailureKind.GARBLED, "it called a tool, and has none"),
    "TOO_MANY_TOOL_CALLS": (FailureKind.GARBLED, "it called tools, and has none"),
    "MALFORMED_RESPONSE": (FailureKind.GARBLED, "its answer made no sense"),
    "MISSING_THOUGHT_SIGNATURE": (FailureKind.SERVER_ERROR, "its provider failed"),
}
_OTHER = (FailureKind.SERVER_ERROR, "and says no more")


class GeminiDecoder:
    """turn.Decoder of one answer, streamed or whole."""

    def __init__(self) -> None:
        self.stop: StopReason | None = None
        self.usage: Usage | None = None
        self.is_over = False
        self.code: str | None = None
        self.why: str | None = None

    def pieces(self, event: Event) -> Iterator[Piece]:
        chunk = event_of(event.data, _decode)
        if chunk.error is not None:
            raise BackendFailure(http_failures.from_event(event.data))
        if isinstance(chunk.usage_metadata, dict):
            self.usage = _usage(chunk.usage_metadata)
        feedback = chunk.prompt_feedback
        if feedback is not None and feedback.block_reason:
            self.stop, self.code, self.is_over = "refusal", feedback.block_reason, True
            self.why = feedback.block_reason_message
        for candidate in chunk.candidates or ():
            if candidate.index:  # another answer to the same prompt
                continue
            for part in (candidate.content and candidate.content.parts) or ():
                yield from self._said(part)
            reason = candidate.finish_reason
            # Some say in every chunk that there is no reason yet.
            if reason and reason != "FINISH_REASON_UNSPECIFIED":
                self.stop, self.code, self.why = _stopped(reason), reason, candidate.finish_message
                self.is_over = chunk.usage_metadata is not None

    def _said(self, part: _Part) -> Iterator[Piece]:
        if part.function_call is not None:
            text = "called a tool, and has none"
            raise BackendFailure(Failure(FailureKind.GARBLED, text, "functionCall", seen_at="submitted"))
        if part.text:
            yield Piece(part.text, bool(part.thought))


def _stopped(reason: str) -> StopReason:
    if reason in _STOPS:
        return _STOPS[reason]
    raise ended_as(reason, FAILED.get(reason, _OTHER))


def _usage(told: object) -> Usage:
    """The answer's tokens are told without those of the thoughts."""
    asked, thoughts = count(told, "promptTokenCount") or 0, count(told, "thoughtsTokenCount")
    output = (count(told, "candidatesTokenCount") or 0) + (thoughts or 0)
    cached = count(told, "cachedContentTokenCount")
    return Usage(count(told, "totalTokenCount") or asked + output, asked, output, thoughts, cached)
