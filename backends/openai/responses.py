"""The stream of Responses: deltas of text and of reasoning among the lives of items; the response itself behind all."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec.json import encode

from acp_broker.core import http_failures
from acp_broker.core.failures import FailureKind
from acp_broker.core.names import StopReason
from acp_broker.errors import BackendFailure
from backends.http.events import ended_as, event_of
from backends.http.speaking import Piece
from backends.http.sse import Event
from backends.http.usage import Usage
from backends.openai.events import Item, Response, Text, decode, used

# By `incomplete_details.reason`, else by the status; what is not here, or a failure, is no end of an answer.
_STOPS: Mapping[str, StopReason] = {
    "completed": "end_turn",
    "max_output_tokens": "max_tokens",
    "content_filter": "refusal",
}
# Items that wait for somebody who is not there; what a provider's own tools do is its business.
FAILED: Mapping[str, tuple[FailureKind, str]] = {
    "function_call": (FailureKind.GARBLED, "it called a function, and has none"),
    "custom_tool_call": (FailureKind.GARBLED, "it called a tool, and has none"),
    "computer_call": (FailureKind.GARBLED, "it asked for a computer, and has none"),
    "local_shell_call": (FailureKind.GARBLED, "it asked for a shell, and has none"),
    "apply_patch_call": (FailureKind.GARBLED, "it changed a file, and has none"),
    "mcp_approval_request": (FailureKind.GARBLED, "it asked for a permission that nobody gives"),
}
_OTHER = (FailureKind.SERVER_ERROR, "its provider failed")
# Statuses that an event's own name does not overrule.
_UNFINISHED = frozenset({"incomplete", "failed", "cancelled"})


class ResponseDecoder:
    """turn.Decoder of one answer, streamed or whole."""

    def __init__(self) -> None:
        self.stop: StopReason | None = None
        self.code: str | None = None
        self.why: str | None = None
        self.usage: Usage | None = None
        self.is_over = False
        self._has_refused = False
        # Of words (False) and of thoughts (True): which there were, and which begin anew.
        self._spoken: set[bool] = set()
        self._anew: set[bool] = set()

    def pieces(self, event: Event) -> Iterator[Piece]:
        if event.data.startswith(b"[DONE]"):
            self.is_over = True
            return
        told = None if event.name == "error" else event_of(event.data, decode)
        if told is None or told.type == "error":
            raise BackendFailure(http_failures.from_event(event.data))
        match told.type:
            case "response.output_text.delta" | "response.refusal.delta":
                self._has_refused = self._has_refused or told.type == "response.refusal.delta"
                yield from self._piece(told.delta)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield from self._piece(told.delta, is_thought=True)
            case "response.reasoning_summary_part.added":
                self._begin(is_thought=True)
            case "response.output_item.added" | "response.output_item.done":
                self._check(told.item or Item())
                self._begin(is_thought=told.item is not None and told.item.type == "reasoning")
            case "response.completed" | "response.incomplete" | "response.failed":
                yield from self._end(told.response or told, told.type.rpartition(".")[2])
            case "":
                yield from self._end(told, "")
            case _:
                """Of its life, or a tool's; the end of what was said in deltas; what is newer than this."""

    def _end(self, response: Response, named: str) -> Iterator[Piece]:
        if response.error is not None:
            raise BackendFailure(http_failures.from_event(encode(response.error)))
        if isinstance(response.usage, dict):
            self.usage = used(response.usage)
        output, has_said = response.output or [], bool(self._spoken)
        for item in output:
            self._check(item)
            if not has_said:
                yield from self._whole(item)
        status = response.status if response.status in _UNFINISHED or not named else named
        incomplete = response.incomplete_details
        self._stopped((incomplete and incomplete.reason) or status or "an event without a type")

    def _stopped(self, reason: str) -> None:
        if reason not in _STOPS:
            raise ended_as(reason, FAILED.get(reason, _OTHER))
        self.stop = "refusal" if self._has_refused else _STOPS[reason]
        self.code, self.is_over = reason, True

    def _whole(self, item: Item) -> Iterator[Piece]:
        is_thought = item.type == "reasoning"
        content = item.content if isinstance(item.content, list) else ()
        self._begin(is_thought=is_thought)
        if is_thought:
            for part in (*(item.summary or ()), *content):
                self._begin(is_thought=True)
                yield from self._piece(part.text, is_thought=True)
        elif item.type == "message":
            self._has_refused = self._has_refused or any(part.refusal for part in content)
            yield from self._piece("".join(_texts(content)))

    def _begin(self, *, is_thought: bool) -> None:
        """What comes next of its kind is another text."""
        if is_thought in self._spoken:
            self._anew.add(is_thought)

    def _piece(self, text: object, *, is_thought: bool = False) -> Iterator[Piece]:
        if not isinstance(text, str) or not text:
            return
        between = "\n\n" if is_thought in self._anew else ""
        self._anew.discard(is_thought)
        self._spoken.add(is_thought)
        yield Piece(between + text, is_thought)

    @staticmethod
    def _check(item: Item) -> None:
        if item.type in FAILED:
            raise ended_as(item.type, FAILED[item.type])


def _texts(content: Iterable[Text]) -> Iterator[str]:
    return (part.text or part.refusal or "" for part in content)
