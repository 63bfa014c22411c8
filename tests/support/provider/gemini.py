"""Gemini: `POST /v1beta/models/NAME:generateContent`, and `:streamGenerateContent?alt=sse`."""

import re
from typing import Any

from tests.support.provider.faults import Fault
from tests.support.provider.shape import Answer, Ask, Call, Reel, Tool, counted, event, said
from tests.support.provider.wire import Request

PATH = re.compile(r".*/models/([^/:]+):(generateContent|streamGenerateContent)")
_ERRORS = {
    400: ("INVALID_ARGUMENT", "Please ensure that function call turn comes immediately after a user turn."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token."),
    402: ("FAILED_PRECONDITION", "Please enable billing on your project in Google AI Studio."),
    403: ("PERMISSION_DENIED", "Permission denied on resource project drill."),
    404: ("NOT_FOUND", "models/drill-model is not found for API version v1beta"),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}
_REFUSALS = {
    "too-long": (
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "quota": ("RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
}
_QUOTA = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "15"}],
}
_OTHER_ERROR = ("UNAVAILABLE", "The service is currently unavailable.")


class Gemini:
    name = "gemini"

    def ask(self, request: Request) -> Ask | None:
        match = PATH.fullmatch(request.path)
        if request.method != "POST" or match is None:
            return None
        body = said(request)
        functions = (each for one in body.get("tools") or () for each in one.get("functionDeclarations") or ())
        tools = tuple(Tool(one["name"], _schema(one)) for one in functions)
        parts = (body.get("contents") or [{}])[-1].get("parts") or ()
        is_answered = any("functionResponse" in part for part in parts)
        return Ask(match[1], match[2] == "streamGenerateContent", counted(request), tools, is_answered)

    def reel(self, ask: Ask, answer: Answer) -> Reel:
        words = [event(_chunk(ask, [{"text": word}])) for word in answer.words]
        if answer.call:
            words.append(event(_chunk(ask, [_call(answer.call)])))
        last = _chunk(ask, [{"text": ""}] if answer.words or answer.call else [], len(answer.words))
        last["candidates"][0]["finishReason"] = "STOP"
        error = event(self.failure(Fault("503", 503)))
        return Reel(
            event(_chunk(ask, [])),
            [event(_chunk(ask, [{"text": thought, "thought": True}])) for thought in answer.thoughts],
            words,
            event(last),
            error,
            error,
        )

    def whole(self, ask: Ask, answer: Answer) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        if answer.thoughts:
            parts.append({"text": "".join(answer.thoughts), "thought": True})
        if answer.words:
            parts.append({"text": answer.text})
        if answer.call:
            parts.append(_call(answer.call))
        whole = _chunk(ask, parts, len(answer.words))
        whole["candidates"][0]["finishReason"] = "STOP"
        return whole

    def failure(self, fault: Fault) -> dict[str, Any]:
        if fault.name == "filtered":
            return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}}
        status, message = _REFUSALS.get(fault.name) or _ERRORS.get(fault.status, _OTHER_ERROR)
        error: dict[str, Any] = {"code": fault.status, "message": message, "status": status}
        if fault.status == 429 and fault.name != "quota":
            error["details"] = [_QUOTA]
        if fault.retry_after is not None:
            delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{fault.retry_after}s"}
            error["details"] = [*error.get("details", ()), delay]
        return {"error": error}

    def headers(self) -> dict[str, str]:
        return {"server-timing": "gfet4t7; dur=1"}


def _chunk(ask: Ask, parts: list[dict[str, Any]], said: int = 0) -> dict[str, Any]:
    content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    usage = {"promptTokenCount": ask.tokens, "candidatesTokenCount": said, "totalTokenCount": ask.tokens + said}
    return {
        "candidates": [{"content": content, "index": 0}],
        "usageMetadata": usage,
        "modelVersion": ask.model,
        "responseId": "drill",
    }


def _call(call: Call) -> dict[str, Any]:
    return {"functionCall": {"name": call.name, "args": call.arguments}}


def _schema(function: dict[str, Any]) -> dict[str, Any]:
    return function.get("parametersJsonSchema") or function.get("parameters") or {}
