"""Google's Gemini API (ai.google.dev, "Troubleshooting"; PyPI: google-genai 3.3)."""

from tests.support.gemini_speech import GEMINI, ended, event, said
from tests.support.gemini_speech import error as _google
from tests.support.provider_failures.case import Case, Provider, cut, status, stream

_BEGUN, _WORDS = GEMINI.beginning, said("alpha ")
_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n* Quota exceeded for metric: "
    "generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 10"
)


def _error(number: int, name: str, message: str, *details: object, **headers: str) -> bytes:
    return status(number, _google(number, name, message, *details), is_pretty=True, **headers)


def _info(reason: str) -> dict[str, object]:
    service = {"service": "generativelanguage.googleapis.com"}
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": service,
    }


def _over(quota: str) -> dict[str, object]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": quota,
        "quotaDimensions": {"model": "gemini-2.5-flash", "location": "global"},
        "quotaValue": "10",
    }
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


def _retry(delay: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


_BY_STATUS = (
    Case("500, INTERNAL", "server_error", _error(500, "INTERNAL", "An internal error has occurred. Please retry.")),
    Case(
        "503, UNAVAILABLE, overloaded",
        "overloaded",
        _error(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    ),
    Case("503, UNAVAILABLE", "server_error", _error(503, "UNAVAILABLE", "The service is currently unavailable.")),
    Case("504, DEADLINE_EXCEEDED", "server_error", _error(504, "DEADLINE_EXCEEDED", "Deadline expired.")),
    Case("499, CANCELLED, by nobody we know", "server_error", _error(499, "CANCELLED", "The operation was cancelled.")),
)

GEMINI_API = Provider(
    "Gemini API",
    {"kind": "gemini", "model": "gemini-2.5-flash"},
    (
        Case(
            "400, the request is malformed",
            "bad_request",
            _error(400, "INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name "x": Cannot find field.'),
        ),
        Case(
            "400, key not valid",
            "auth_rejected",
            _error(
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
                _info("API_KEY_INVALID"),
            ),
        ),
        Case(
            "400, key expired",
            "auth_rejected",
            _error(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."),
        ),
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
            "400, location not supported",
            "auth_rejected",
            _error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        ),
        Case(
            "400, billing is to be enabled",
            "billing",
            _error(
                400,
                "FAILED_PRECONDITION",
                "Gemini API free tier is not available in your country. Please enable billing on your project in "
                "Google AI Studio.",
            ),
        ),
        Case(
            "401, UNAUTHENTICATED",
            "auth_rejected",
            _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        ),
        Case("402, out of credits", "billing", _error(402, "FAILED_PRECONDITION", "The project is out of credits.")),
        Case(
            "403, PERMISSION_DENIED",
            "auth_rejected",
            _error(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
        ),
        Case(
            "403, PERMISSION_DENIED to a model",
            "model_not_found",
            _error(403, "PERMISSION_DENIED", "You do not have permission to access the model tunedModels/mine."),
        ),
        Case(
            "404, NOT_FOUND",
            "model_not_found",
            _error(404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta."),
        ),
        Case(
            "429, a quota per minute, `retryDelay` 34s",
            "rate_limited",
            _error(
                429,
                "RESOURCE_EXHAUSTED",
                f"{_QUOTA}\nPlease retry in 34.074824224s.",
                _over("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
                _retry("34s"),
            ),
            34.0,
        ),
        Case(
            "429, `retryDelay` 0.5s",
            "rate_limited",
            _error(429, "RESOURCE_EXHAUSTED", "Too many requests.", _retry("0.5s")),
            0.5,
        ),
        Case(
            "429, `retry-after` and `retryDelay`",
            "rate_limited",
            _error(429, "RESOURCE_EXHAUSTED", "Too many requests.", _retry("34s"), retry_after="20"),
            20.0,
        ),
        Case(
            "429, a quota per day",
            "account_rate_limited",
            _error(
                429,
                "RESOURCE_EXHAUSTED",
                f"{_QUOTA}\nPlease retry in 41.2s.",
                _over("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
                _retry("41s"),
            ),
            41.0,
        ),
        Case(
            "429, prepaid credits are depleted",
            "billing",
            _error(
                429,
                "RESOURCE_EXHAUSTED",
                "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.",
            ),
        ),
        Case(
            "429, spending cap",
            "billing",
            _error(429, "RESOURCE_EXHAUSTED", "Your project has exceeded its monthly spending cap."),
        ),
        *_BY_STATUS,
        Case(
            "200, an error event before a word",
            "overloaded",
            stream(_BEGUN, event(_google(503, "UNAVAILABLE", "The model is overloaded."))),
        ),
        Case(
            "200, an error behind words, without `data:`",
            "overloaded",
            stream(
                _WORDS, status(503, _google(503, "UNAVAILABLE", "The model is overloaded.")).partition(b"\r\n\r\n")[2]
            ),
        ),
        Case("200, ends without `finishReason`, behind words", "server_error", stream(_BEGUN, _WORDS)),
        Case("200, reset behind words", "server_error", cut(_WORDS), end="reset"),
        Case("200, a whole answer with nothing in it", "empty_turn", stream(_BEGUN, ended("STOP"))),
        *(
            Case(
                f"200, `blockReason` {reason}", "guardrail", stream(event({"promptFeedback": {"blockReason": reason}}))
            )
            for reason in ("SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "MODEL_ARMOR", "JAILBREAK")
        ),
        *(
            Case(f"`finishReason` {reason} before a word", "guardrail", stream(_BEGUN, ended(reason)))
            for reason in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE")
        ),
        Case("`finishReason` SAFETY behind words", "refusal", stream(_WORDS, ended("SAFETY"))),
        Case("`finishReason` MAX_TOKENS", "max_tokens", stream(_WORDS, ended("MAX_TOKENS"))),
        *(
            Case(f"`finishReason` {reason}", "garbled", stream(_BEGUN, ended(reason)))
            for reason in (
                "MALFORMED_FUNCTION_CALL",
                "UNEXPECTED_TOOL_CALL",
                "TOO_MANY_TOOL_CALLS",
                "MALFORMED_RESPONSE",
            )
        ),
        Case(
            "`finishReason` MISSING_THOUGHT_SIGNATURE",
            "server_error",
            stream(_BEGUN, ended("MISSING_THOUGHT_SIGNATURE")),
        ),
        Case("`finishReason` that is newer than this page", "server_error", stream(_BEGUN, ended("SOMETHING_NEW"))),
    ),
)
