"""Anthropic Messages: `POST /v1/messages`."""

from typing import Any

from msgspec.json import encode

from tests.support.provider.faults import Fault
from tests.support.provider.shape import Answer, Ask, Reel, Tool, counted, event, said
from tests.support.provider.wire import Request

_ERRORS = {
    400: ("invalid_request_error", "messages: text content blocks must be non-empty"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource"),
    404: ("not_found_error", "model: drill-model"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit of 50 requests per minute"),
    529: ("overloaded_error", "Overloaded"),
}
_REFUSALS = {
    "too-long": ("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "filtered": ("invalid_request_error", "Output blocked by content filtering policy"),
    "quota": ("rate_limit_error", "This organization has reached its spend limit."),
}
_OTHER_ERROR = ("api_error", "Internal server error")


class Anthropic:
    name = "anthropic"

    def ask(self, request: Request) -> Ask | None:
        if request.method != "POST" or not request.path.endswith("/messages"):
            return None
        body = said(request)
        return asked(request, body, str(body.get("model")), is_stream=bool(body.get("stream")))

    def reel(self, ask: Ask, answer: Answer) -> Reel:
        block, thoughts, words = 0, [], []
        if answer.thoughts:
            thoughts = _text_block(block, "thinking", "thinking", answer.thoughts)
            block += 1
        if answer.words:
            words = _text_block(block, "text", "text", answer.words)
            block += 1
        if answer.call:
            words.append(_call_block(block, answer))
        message = {**_message(ask, answer), "content": [], "stop_reason": None, "usage": _usage(ask, 1)}
        delta = {"stop_reason": _reason(answer), "stop_sequence": None}
        error = _event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        return Reel(
            _event({"type": "message_start", "message": message}) + _event({"type": "ping"}),
            thoughts,
            words,
            _event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": len(answer.words)}})
            + _event({"type": "message_stop"}),
            error,
            error,
        )

    def whole(self, ask: Ask, answer: Answer) -> dict[str, Any]:
        return _message(ask, answer)

    def failure(self, fault: Fault) -> dict[str, Any]:
        kind, message = _REFUSALS.get(fault.name) or _ERRORS.get(fault.status, _OTHER_ERROR)
        more = {"details": {"error_code": "enforced_spend_limit_reached"}} if fault.name == "quota" else {}
        return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_drill"}

    def headers(self) -> dict[str, str]:
        return {"request-id": "req_drill", "anthropic-organization-id": "org-drill"}


def asked(request: Request, body: dict[str, Any], model: str, *, is_stream: bool) -> Ask:
    """What a body of Messages asks for."""
    tools = tuple(Tool(one["name"], one.get("input_schema", {})) for one in body.get("tools") or ())
    return Ask(model, is_stream, counted(request), tools, _is_answered(body))


def _message(ask: Ask, answer: Answer) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if answer.thoughts:
        content.append({"type": "thinking", "thinking": "".join(answer.thoughts), "signature": "c2lnbmVk"})
    if answer.words:
        content.append({"type": "text", "text": answer.text})
    if answer.call:
        content.append(_call(answer, answer.call.arguments))
    return {
        "id": "msg_drill",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": _reason(answer),
        "stop_sequence": None,
        "usage": _usage(ask, len(answer.words)),
    }


def _text_block(index: int, kind: str, field: str, tokens: tuple[str, ...]) -> list[bytes]:
    empty = {"type": kind, field: ""} | ({"signature": ""} if kind == "thinking" else {})
    deltas = [_delta(index, {"type": f"{kind}_delta", field: token}) for token in tokens]
    deltas[0] = _event({"type": "content_block_start", "index": index, "content_block": empty}) + deltas[0]
    if kind == "thinking":
        deltas[-1] += _delta(index, {"type": "signature_delta", "signature": "c2lnbmVk"})
    deltas[-1] += _event({"type": "content_block_stop", "index": index})
    return deltas


def _call_block(index: int, answer: Answer) -> bytes:
    call = answer.call
    assert call is not None
    start = {"type": "content_block_start", "index": index, "content_block": _call(answer, {})}
    delta = {"type": "input_json_delta", "partial_json": encode(call.arguments).decode()}
    return _event(start) + _delta(index, delta) + _event({"type": "content_block_stop", "index": index})


def _call(answer: Answer, arguments: dict[str, Any]) -> dict[str, Any]:
    assert answer.call is not None
    return {"type": "tool_use", "id": "toolu_drill", "name": answer.call.name, "input": arguments}


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _event({"type": "content_block_delta", "index": index, "delta": delta})


def _event(data: dict[str, Any]) -> bytes:
    return event(data, data["type"])


def _reason(answer: Answer) -> str:
    return "tool_use" if answer.call else "end_turn"


def _usage(ask: Ask, output: int) -> dict[str, int]:
    cache = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": ask.tokens, **cache, "output_tokens": output}


def _is_answered(body: dict[str, Any]) -> bool:
    content = (body.get("messages") or [{}])[-1].get("content")
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)
