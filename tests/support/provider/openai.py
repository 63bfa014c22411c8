"""What both of OpenAI's APIs share: their errors."""

from typing import Any

from tests.support.provider.faults import Fault

# Message, type, code.
_ERRORS: dict[int, tuple[str, str, str | None]] = {
    400: ("Invalid value: 'tool'. Supported values are: 'user'.", "invalid_request_error", "invalid_value"),
    401: ("Incorrect API key provided: x.", "invalid_request_error", "invalid_api_key"),
    402: ("Insufficient credits. Add more credits to your account.", "insufficient_quota", "insufficient_quota"),
    403: ("You are not allowed to sample from this model", "invalid_request_error", None),
    404: ("The model `drill-model` does not exist.", "invalid_request_error", "model_not_found"),
    429: ("Rate limit reached for requests. Please try again in 20s.", "requests", "rate_limit_exceeded"),
    503: ("The server is currently overloaded with other requests. Sorry about that!", "server_error", None),
}
_REFUSALS = {
    "too-long": (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "filtered": (
        "Your request was rejected by the safety system.",
        "invalid_request_error",
        "content_policy_violation",
    ),
    "quota": (
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
}
_OTHER_ERROR = ("The server had an error while processing your request. Sorry about that!", "server_error", None)


def failure(fault: Fault) -> dict[str, Any]:
    message, kind, code = _REFUSALS.get(fault.name) or _ERRORS.get(fault.status, _OTHER_ERROR)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def headers() -> dict[str, str]:
    return {"x-request-id": "req_drill", "openai-processing-ms": "1"}
