"""What agents ask beside the turn: models, counted tokens."""

import re
from typing import Any

from tests.support.provider.shape import counted
from tests.support.provider.wire import Request

MODEL = "drill-model"
_CREATED = 1_700_000_000


def beside(request: Request) -> tuple[str, dict[str, Any]] | None:
    """The kind of request and its answer, or None when it is none of these."""
    path = request.path
    if path.endswith("/messages/count_tokens"):
        return "tokens", {"input_tokens": counted(request)}
    if path.endswith(":countTokens"):
        return "tokens", {"totalTokens": counted(request)}
    if request.method == "GET" and re.search(r"/models(/[^/]+)?$", path):
        return "models", _models(request)
    return None


def _models(request: Request) -> dict[str, Any]:
    one = _model(request)
    if not request.path.endswith("/models"):
        return one
    if _is_gemini(request):
        return {"models": [one]}
    if "anthropic-version" in request.headers:
        return {"data": [one], "has_more": False, "first_id": MODEL, "last_id": MODEL}
    return {"object": "list", "data": [one]}


def _model(request: Request) -> dict[str, Any]:
    if _is_gemini(request):
        limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
        methods = ["generateContent", "countTokens"]
        return {"name": f"models/{MODEL}", "displayName": MODEL, "supportedGenerationMethods": methods, **limits}
    if "anthropic-version" in request.headers:
        return {"type": "model", "id": MODEL, "display_name": MODEL, "created_at": "2024-01-01T00:00:00Z"}
    return {"id": MODEL, "object": "model", "created": _CREATED, "owned_by": "drill"}


def _is_gemini(request: Request) -> bool:
    return "/v1beta/" in request.path or "x-goog-api-key" in request.headers
