"""OpenAI Chat Completions: `POST /v1/chat/completions`, and any other path that ends so."""

from typing import Any

from msgspec.json import encode

from tests.support.provider import openai
from tests.support.provider.faults import Fault
from tests.support.provider.shape import Answer, Ask, Call, Reel, Tool, counted, event, said
from tests.support.provider.wire import Request

_DONE = b"data: [DONE]\n\n"
_CREATED = 1_700_000_000


class Chat:
    name = "chat"

    def ask(self, request: Request) -> Ask | None:
        if request.method != "POST" or not request.path.endswith("/chat/completions"):
            return None
        body = said(request)
        functions = (one["function"] for one in body.get("tools") or () if "function" in one)
        tools = tuple(Tool(one["name"], one.get("parameters") or {}) for one in functions)
        last = (body.get("messages") or [{}])[-1]
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        is_answered = last.get("role") == "tool"
        return Ask(str(body.get("model")), bool(body.get("stream")), counted(request), tools, is_answered, wants_usage)

    def reel(self, ask: Ask, answer: Answer) -> Reel:
        words = [_chunk(ask, {"content": word}) for word in answer.words]
        if answer.call:
            words.append(_chunk(ask, {"tool_calls": [{"index": 0, **_call(answer.call)}]}))
        usage = b""
        if ask.wants_usage:
            usage = event({**_frame(ask, "chat.completion.chunk"), "choices": [], "usage": _usage(ask, answer)})
        error = event(openai.failure(Fault("500", 500)))
        return Reel(
            _chunk(ask, {"role": "assistant", "content": ""}),
            [_chunk(ask, {"reasoning_content": thought}) for thought in answer.thoughts],
            words,
            _chunk(ask, {}, _reason(answer)) + usage + _DONE,
            error,
            error,
        )

    def whole(self, ask: Ask, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.thoughts:
            message["reasoning_content"] = "".join(answer.thoughts)
        if answer.call:
            message["tool_calls"] = [_call(answer.call)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(answer)}
        return {**_frame(ask, "chat.completion"), "choices": [choice], "usage": _usage(ask, answer)}

    def failure(self, fault: Fault) -> dict[str, Any]:
        return openai.failure(fault)

    def headers(self) -> dict[str, str]:
        return openai.headers()


def _chunk(ask: Ask, delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    data = {**_frame(ask, "chat.completion.chunk"), "choices": [choice]}
    return event({**data, "usage": None} if ask.wants_usage else data)


def _frame(ask: Ask, kind: str) -> dict[str, Any]:
    frame = {"id": "chatcmpl-drill", "object": kind, "created": _CREATED, "model": ask.model}
    return {**frame, "system_fingerprint": "fp_drill"}


def _call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": encode(call.arguments).decode()}
    return {"id": "call_drill", "type": "function", "function": function}


def _reason(answer: Answer) -> str:
    return "tool_calls" if answer.call else "stop"


def _usage(ask: Ask, answer: Answer) -> dict[str, int]:
    said = len(answer.words)
    return {"prompt_tokens": ask.tokens, "completion_tokens": said, "total_tokens": ask.tokens + said}
