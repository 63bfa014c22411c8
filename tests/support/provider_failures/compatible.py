"""Those who offer Chat Completions beside OpenAI: OpenRouter (its "Errors and Debugging"), Azure."""

from tests.support.provider_failures.case import Case, Provider, data, status, stream
from tests.support.provider_failures.openai import BEGUN, WORDS

_KEPT_ALIVE = b": OPENROUTER PROCESSING\n\n"


def _router(number: int, message: str, metadata: object = None, **headers: str) -> bytes:
    told = {"code": number, "message": message, **({} if metadata is None else {"metadata": metadata})}
    return status(number, {"error": told, "user_id": "user_x"}, x_generation_id="gen-1", **headers)


def _failing(code: int, message: str) -> bytes:
    """OpenRouter's error once it has answered with 200."""
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": None}
    return data({"id": "gen-1", "error": {"code": code, "message": message}, "choices": [choice]})


_FLAGGED = {
    "reasons": ["violence"],
    "flagged_input": "how do I ...",
    "provider_name": "OpenAI",
    "model_slug": "openai/gpt-5",
}
_UPSTREAM = {
    "raw": "qwen/qwen3-coder:free is temporarily rate-limited upstream. Please retry shortly.",
    "provider_name": "Chutes",
}

OPENROUTER = Provider(
    "OpenRouter",
    {"kind": "openai", "preset": "openrouter", "model": "qwen/qwen3-coder"},
    (
        Case("400, the request is malformed", "bad_request", _router(400, "Input required: specify messages")),
        Case(
            "400, too long",
            "context_overflow",
            _router(400, "This endpoint's maximum context length is 32768 tokens. However, you requested about 90000."),
        ),
        Case("401, key unknown", "auth_rejected", _router(401, "User not found.")),
        Case("402, credits are used up", "billing", _router(402, "Insufficient credits. Add more and retry.")),
        Case(
            "402, more is under way than can be paid, with `retry-after`",
            "billing",
            _router(402, "Too much is in flight.", {"limit_source": "openrouter_in_flight_budget"}, retry_after="5"),
            5.0,
        ),
        Case(
            "403, moderation",
            "guardrail",
            _router(403, "Your chosen model requires moderation and your input was flagged", _FLAGGED),
        ),
        Case("403, the key may not", "auth_rejected", _router(403, "This API key is not allowed to do that.")),
        Case("404, nobody offers the model", "model_not_found", _router(404, "No endpoints found for qwen/qwen9.")),
        Case("408", "server_error", _router(408, "Request timed out")),
        Case("429, of a provider behind it", "rate_limited", _router(429, "Provider returned error", _UPSTREAM)),
        Case(
            "429, `x-ratelimit-reset` in milliseconds since the epoch",
            "rate_limited",
            _router(
                429,
                "Rate limit exceeded: free-models-per-min.",
                x_ratelimit_limit="20",
                x_ratelimit_remaining="0",
                x_ratelimit_reset="1795197640000",
            ),
            40.0,
        ),
        Case("502, the model is down", "server_error", _router(502, "Provider returned error", {"provider_name": "X"})),
        Case(
            "503, nobody meets the routing, with `retry-after`",
            "server_error",
            _router(503, "There is no available model provider that meets your routing requirements", retry_after="9"),
            9.0,
        ),
        Case(
            "200, an error before a word", "server_error", stream(_KEPT_ALIVE, _failing(502, "Provider disconnected"))
        ),
        Case(
            "200, an error behind words", "server_error", stream(BEGUN, WORDS, _failing(502, "Provider disconnected"))
        ),
        Case("200, 429 inside the stream", "rate_limited", stream(_KEPT_ALIVE, _failing(429, "Slower, please."))),
        Case("200, keep-alive comments and no more", "server_error", stream(_KEPT_ALIVE, _KEPT_ALIVE)),
    ),
)


def _azure(number: int, code: str | None, message: str, more: object = None, **headers: str) -> bytes:
    told = {"code": code, "message": message, **({} if more is None else {"innererror": more})}
    return status(number, {"error": told}, apim_request_id="x", **headers)


_FILTERED = {
    "code": "ResponsibleAIPolicyViolation",
    "content_filter_result": {"violence": {"filtered": True, "severity": "high"}, "hate": {"filtered": False}},
}
AZURE = Provider(
    "Azure OpenAI",
    {"kind": "openai", "preset": "azure", "model": "gpt-5"},
    (
        Case(
            "400, `content_filter`",
            "guardrail",
            _azure(400, "content_filter", "The response was filtered due to the prompt.", _FILTERED),
        ),
        Case(
            "400, the model cannot do this",
            "unsupported",
            _azure(
                400, "OperationNotSupported", "The chatCompletion operation does not work with the specified model."
            ),
        ),
        Case("400, `context_length_exceeded`", "context_overflow", _azure(400, "context_length_exceeded", "Too long.")),
        Case(
            "401, key unknown",
            "auth_rejected",
            _azure(401, "401", "Access denied due to invalid subscription key or wrong API endpoint."),
        ),
        Case(
            "403, firewall", "auth_rejected", _azure(403, "403", "Access denied due to Virtual Network/Firewall rules.")
        ),
        Case(
            "404, `DeploymentNotFound`",
            "model_not_found",
            _azure(404, "DeploymentNotFound", "The API deployment for this resource does not exist."),
        ),
        Case(
            "429, with `retry-after` and `retry-after-ms`",
            "rate_limited",
            _azure(
                429,
                "429",
                "Requests have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 20 "
                "seconds.",
                retry_after="20",
                retry_after_ms="19500",
            ),
            19.5,
        ),
        Case(
            "429, the wait in words alone",
            "rate_limited",
            _azure(429, "429", "You have exceeded token rate limit. Please retry after 20 seconds."),
            20.0,
        ),
        Case("500", "server_error", _azure(500, "InternalServerError", "Backend call failure")),
        Case("503", "overloaded", _azure(503, "503", "The system is currently experiencing high demand.")),
        Case(
            "200, `content_filter` behind words",
            "refusal",
            stream(BEGUN, WORDS, data({"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]})),
        ),
    ),
)
