"""What agents ask beside the turn: models, counted tokens."""

import re
from collections.abc import Sequence
from typing import Any

from tests.support.provider.shape import counted
from tests.support.provider.wire import Request

MODEL = "drill-model"
_CREATED = 1_700_000_000


def beside(request: Request, models: Sequence[str] | None = None) -> tuple[str, dict[str, Any] | None] | None:
    """The kind of request and its answer, or None when it is none of these.

    Without `models` there is one, and any name is one of it; else a name that is not among them has no answer.
    """
    path = request.path
    if path.endswith(("/messages/count_tokens", "/models/count-tokens:rawPredict")):
        return "tokens", {"input_tokens": counted(request)}
    if path.endswith(":countTokens"):
        return "tokens", {"totalTokens": counted(request)}
    if request.method == "GET" and re.search(r"/models(/[^/]+)?$", path):
        return "models", _models(request, models)
    return None


def _models(request: Request, models: Sequence[str] | None) -> dict[str, Any] | None:
    name = request.path.rpartition("/")[2]
    # OpenRouter has a list at `/models/user`.
    if name not in ("models", "user"):
        return _model(request, MODEL) if models is None else _model(request, name) if name in models else None
    every = [_model(request, name) for name in models or (MODEL,)]
    if _is_gemini(request):
        return {"models": every}
    if "anthropic-version" in request.headers:
        return {"data": every, "has_more": False, "first_id": every[0]["id"], "last_id": every[-1]["id"]}
    return {"object": "list", "data": every}


def _model(request: Request, name: str) -> dict[str, Any]:
    if _is_gemini(request):
        limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
        methods = ["generateContent", "countTokens"]
        return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods, **limits}
    if "anthropic-version" in request.headers:
        return {"type": "model", "id": name, "display_name": name, "created_at": "2024-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "drill"}


def _is_gemini(request: Request) -> bool:
    return "/v1beta/" in request.path or "x-goog-api-key" in request.headers
