"""Vertex AI: `POST /v1/projects/P/locations/L/publishers/PUBLISHER/models/NAME:METHOD`.

What Google's own front refuses (who asks, which model, how often) is an array with one error in it, from both
publishers; what Claude itself refuses is written as Anthropic writes it.
"""

import re
from typing import Any

import msgspec
from msgspec.structs import replace

from tests.support.provider.anthropic import Anthropic, asked
from tests.support.provider.faults import Fault
from tests.support.provider.gemini import Gemini
from tests.support.provider.shape import Answer, Ask, Reel, said
from tests.support.provider.wire import Request

# Of Anthropic's client up to 1.17, and from 2.0 on.
VERSIONS = ("vertex-2023-10-16", "2026-10-21")
_SCOPE = r"(?:/[^/]+)*?/v1(?:beta1)?(?:/projects/[^/]+/locations/[^/]+)?"
_CLAUDE = re.compile(_SCOPE + r"/publishers/anthropic/models/([^/:]+):(rawPredict|streamRawPredict)")
_GOOGLES = re.compile(_SCOPE + r"/publishers/google/models/[^/:]+:\w+")

_QUOTA = (
    "Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with base model: drill. "
    "Please submit a quota increase request. https://cloud.google.com/vertex-ai/docs/generative-ai/quotas-genai."
)
_ERRORS = {
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token."),
    402: ("FAILED_PRECONDITION", "This API method requires billing to be enabled."),
    403: ("PERMISSION_DENIED", "Permission 'aiplatform.endpoints.predict' denied on resource (or it may not exist)."),
    404: ("NOT_FOUND", "Publisher Model `projects/drill` was not found or your project does not have access to it."),
    429: ("RESOURCE_EXHAUSTED", _QUOTA),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}
_OF_CLAUDE = frozenset({400, 500, 529})


class AnthropicVertex(Anthropic):
    name = "anthropic-vertex"

    def ask(self, request: Request) -> Ask | None:
        match = _CLAUDE.fullmatch(request.path)
        body = said(request)
        # Vertex refuses either with a 400.
        if (
            request.method != "POST"
            or match is None
            or "model" in body
            or body.get("anthropic_version") not in VERSIONS
        ):
            return None
        return asked(request, body, match[1], is_stream=match[2] == "streamRawPredict")

    def failure(self, fault: Fault) -> object:
        if fault.status in _OF_CLAUDE:
            return {**super().failure(fault), "request_id": "req_vrtx_drill"}
        return [_error(fault)]

    def headers(self) -> dict[str, str]:
        return {"server-timing": "gfet4t7; dur=1"}


class GeminiVertex(Gemini):
    name = "gemini-vertex"

    def ask(self, request: Request) -> Ask | None:
        return super().ask(request) if _GOOGLES.fullmatch(request.path) else None

    def reel(self, ask: Ask, answer: Answer) -> Reel:
        # No event: the array stands between them as it is, on several lines.
        error = msgspec.json.format(msgspec.json.encode(self.failure(Fault("503", 503)))) + b"\n"
        return replace(super().reel(ask, answer), error=error, error_first=error)

    def failure(self, fault: Fault) -> object:
        return [_error(fault) if fault.status in _ERRORS else super().failure(fault)]


def _error(fault: Fault) -> dict[str, Any]:
    """Of Google's front. No header and, unless it is told, no detail says how long to wait."""
    status, message = _ERRORS.get(fault.status, ("INTERNAL", "Internal error encountered."))
    error: dict[str, Any] = {"code": fault.status, "message": message, "status": status}
    if fault.retry_after is not None:
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{fault.retry_after}s"}
        error["details"] = [delay]
    return {"error": error}
