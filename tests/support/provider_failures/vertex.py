"""Gemini and Claude on Vertex AI (cloud.google.com/vertex-ai, "Errors"; PyPI: google-genai 3.4, anthropic 2.11).

What Google's own front refuses comes as a list of one, as from every streaming method; what Claude refuses behind it is
written as Anthropic writes it.
"""

from msgspec.json import encode, format  # noqa: A004 - the name there

from tests.support.gemini_speech import GEMINI, ended, event, said
from tests.support.gemini_speech import error as _google
from tests.support.messages_speech import MESSAGES, delta, failed, stopped
from tests.support.provider_failures.case import Case, Provider, cut, status, stream

_MODEL = "projects/p/locations/us-central1/publishers/google/models/gemini-9"
_RPC = "type.googleapis.com/google.rpc."
_SHARED = (
    "Resource exhausted. Please try again later. Please refer to "
    "https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details."
)
_PER_BASE_MODEL = (
    "Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with base model: "
    "anthropic-claude-sonnet-4-5. Please submit a quota increase request. "
    "https://cloud.google.com/vertex-ai/docs/generative-ai/quotas-genai."
)
_OVERLOADED = _google(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")


def _error(number: int, name: str, message: str, *details: object) -> bytes:
    return status(number, [_google(number, name, message, *details)], is_pretty=True)


def _claude(number: int, kind: str, message: str) -> bytes:
    error = {"type": kind, "message": message}
    return status(number, {"type": "error", "error": error, "request_id": "req_vrtx_011CVJxQ2d"})


def _info(reason: str, **more: str) -> dict[str, object]:
    metadata = {"service": "aiplatform.googleapis.com", "consumer": "projects/123", **more}
    return {"@type": f"{_RPC}ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": metadata}


def _over(quota: str) -> dict[str, object]:
    return {"@type": f"{_RPC}QuotaFailure", "violations": [{"quotaId": quota, "quotaValue": "60"}]}


_BY_FRONT = (
    Case(
        "401, token expired",
        "auth_rejected",
        _error(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential.",
            _info("ACCESS_TOKEN_EXPIRED", method="google.cloud.aiplatform.v1.PredictionService.StreamRawPredict"),
        ),
    ),
    Case(
        "403, the API is not enabled",
        "auth_rejected",
        _error(
            403,
            "PERMISSION_DENIED",
            "Vertex AI API has not been used in project 123 before or it is disabled. Enable it by visiting "
            "https://console.developers.google.com/apis/api/aiplatform.googleapis.com/overview?project=123 then retry.",
            {"@type": f"{_RPC}Help", "links": [{"description": "Google developers console API activation"}]},
            _info("SERVICE_DISABLED"),
        ),
    ),
    Case(
        "403, no such project, or not ours",
        "auth_rejected",
        _error(403, "PERMISSION_DENIED", "Permission denied on resource project p.", _info("CONSUMER_INVALID")),
    ),
    Case(
        "403, the quota of that project is not ours to use",
        "auth_rejected",
        _error(
            403,
            "PERMISSION_DENIED",
            "Caller does not have required permission to use project p. Grant the caller the "
            "roles/serviceusage.serviceUsageConsumer role.",
            _info("USER_PROJECT_DENIED"),
        ),
    ),
    Case(
        "403, PERMISSION_DENIED to a model",
        "model_not_found",
        _error(
            403,
            "PERMISSION_DENIED",
            f"Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/{_MODEL}' (or "
            "it may not exist).",
            _info("IAM_PERMISSION_DENIED", permission="aiplatform.endpoints.predict"),
        ),
    ),
    Case(
        "403, billing is not enabled",
        "billing",
        _error(
            403,
            "PERMISSION_DENIED",
            "This API method requires billing to be enabled. Please enable billing on project #123 by visiting "
            "https://console.developers.google.com/billing/enable?project=123 then retry.",
            _info("BILLING_DISABLED"),
        ),
    ),
    Case(
        "403, billing has been disabled",
        "billing",
        _error(403, "PERMISSION_DENIED", "Project p (#123) has billing disabled. Please enable it."),
    ),
    Case(
        "404, Publisher Model",
        "model_not_found",
        _error(
            404,
            "NOT_FOUND",
            f"Publisher Model `{_MODEL}` was not found or your project does not have access to it. Please ensure you "
            "are using a valid model version.",
        ),
    ),
    Case(
        "400, FAILED_PRECONDITION, the region does not serve the model",
        "model_not_found",
        _error(400, "FAILED_PRECONDITION", f"Publisher Model `{_MODEL}` is not servable in region us-central1."),
    ),
    Case(
        "400, FAILED_PRECONDITION, the project may not use the model",
        "model_not_found",
        _error(400, "FAILED_PRECONDITION", f"Project `123` is not allowed to use Publisher Model `{_MODEL}`"),
    ),
    Case(
        "400, FAILED_PRECONDITION, and no more",
        "bad_request",
        _error(400, "FAILED_PRECONDITION", "The request cannot be run in this state."),
    ),
    Case("429, without a word of when", "rate_limited", _error(429, "RESOURCE_EXHAUSTED", _SHARED)),
    Case("429, the quota of a base model", "rate_limited", _error(429, "RESOURCE_EXHAUSTED", _PER_BASE_MODEL)),
    Case(
        "429, a quota per minute",
        "rate_limited",
        _error(429, "RESOURCE_EXHAUSTED", _SHARED, _over("GenerateContentRequestsPerMinutePerProjectPerRegion")),
    ),
    Case(
        "429, `retryDelay` 12.5s",
        "rate_limited",
        _error(429, "RESOURCE_EXHAUSTED", _SHARED, {"@type": f"{_RPC}RetryInfo", "retryDelay": "12.5s"}),
        12.5,
    ),
    Case(
        "429, a quota per day",
        "account_rate_limited",
        _error(429, "RESOURCE_EXHAUSTED", _SHARED, _over("GenerateContentRequestsPerDayPerProjectPerModel")),
    ),
    Case("499, CANCELLED, by nobody we know", "server_error", _error(499, "CANCELLED", "The operation was cancelled.")),
    Case("500, INTERNAL", "server_error", _error(500, "INTERNAL", "Internal error encountered.")),
    Case("503, UNAVAILABLE", "server_error", _error(503, "UNAVAILABLE", "The service is currently unavailable.")),
    Case("503, UNAVAILABLE, overloaded", "overloaded", status(503, [_OVERLOADED], is_pretty=True)),
    Case("504, DEADLINE_EXCEEDED", "server_error", _error(504, "DEADLINE_EXCEEDED", "Deadline expired.")),
)

GEMINI_ON_VERTEX = Provider(
    "Gemini on Vertex AI",
    {"kind": "gemini", "model": "gemini-9", "vertex": {"project": "p"}},
    (
        *_BY_FRONT,
        Case(
            "400, input token count exceeds the maximum",
            "context_overflow",
            _error(
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
        ),
        Case(
            "400, the request is malformed",
            "bad_request",
            _error(400, "INVALID_ARGUMENT", "Please use a valid role: user, model."),
        ),
        Case(
            "200, a list with an error behind words, without `data:`",
            "overloaded",
            stream(GEMINI.beginning, said("alpha "), format(encode([_OVERLOADED]), indent=2)),
        ),
        Case("200, an event with such a list before a word", "overloaded", stream(event([_OVERLOADED]))),
        Case("200, a whole answer with nothing in it", "empty_turn", stream(GEMINI.beginning, ended("STOP"))),
    ),
)

CLAUDE_ON_VERTEX = Provider(
    "Claude on Vertex AI",
    {"kind": "anthropic-vertex", "model": "claude-sonnet-4-5@20250929", "project": "p"},
    (
        *_BY_FRONT,
        Case(
            "400, the request is malformed",
            "bad_request",
            _claude(400, "invalid_request_error", "messages: text content blocks must be non-empty"),
        ),
        Case(
            "400, prompt is too long",
            "context_overflow",
            _claude(400, "invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"),
        ),
        Case("404, of Claude's own", "model_not_found", _claude(404, "not_found_error", "model: claude-9")),
        Case("429, of Claude's own", "rate_limited", _claude(429, "rate_limit_error", _PER_BASE_MODEL)),
        Case("500, of Claude's own", "server_error", _claude(500, "api_error", "Internal server error")),
        Case("529, overloaded", "overloaded", _claude(529, "overloaded_error", "Overloaded")),
        Case("200, an error event before a word", "overloaded", stream(failed("overloaded_error", "Overloaded"))),
        Case(
            "200, Google's error in an event",
            "overloaded",
            stream(MESSAGES.beginning, event(_OVERLOADED)),
        ),
        Case(
            "200, a list with an error behind words, without `data:`",
            "overloaded",
            stream(MESSAGES.beginning, delta(text="alpha "), format(encode([_OVERLOADED]), indent=2)),
        ),
        Case(
            "200, ends before `message_stop`, behind words",
            "server_error",
            stream(MESSAGES.beginning, delta(text="alpha "), stopped("end_turn")),
        ),
        Case("200, reset behind words", "server_error", cut(MESSAGES.beginning, delta(text="alpha ")), end="reset"),
    ),
)
