"""What Vertex AI refuses, in the shapes that it is refused in, and what that means."""

import json

import pytest

from acp_broker.core.http_failures import from_event, from_http

_RPC = "type.googleapis.com/google.rpc."
_MODEL = "projects/p/locations/us-central1/publishers/anthropic/models/claude-3-opus@20240229"


def google(code: int, status: str, message: str, *details: dict) -> dict:
    """As Google's own front writes it."""
    return {"error": {"code": code, "message": message, "status": status, **({"details": details} if details else {})}}


def claude(kind: str, message: str) -> dict:
    """As Claude behind it does."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_vrtx_011C"}


def info(reason: str, **metadata: str) -> dict:
    told = {"service": "aiplatform.googleapis.com", "consumer": "projects/123", **metadata}
    return {"@type": f"{_RPC}ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": told}


def quota(of: str) -> dict:
    return {"@type": f"{_RPC}QuotaFailure", "violations": [{"quotaId": f"GenerateRequestsPer{of}PerProjectPerModel"}]}


def wait(seconds: str) -> dict:
    return {"@type": f"{_RPC}RetryInfo", "retryDelay": seconds}


ROWS = [
    (
        google(
            403,
            "PERMISSION_DENIED",
            "Vertex AI API has not been used in project 123 before or it is disabled. Enable it by visiting "
            "https://console.developers.google.com/apis/api/aiplatform.googleapis.com/overview?project=123 then retry.",
            {"@type": f"{_RPC}Help", "links": [{"description": "Google developers console API activation"}]},
            info("SERVICE_DISABLED"),
        ),
        "auth_rejected",
    ),
    (
        google(
            403,
            "PERMISSION_DENIED",
            "This API method requires billing to be enabled. Please enable billing on project #123 by visiting "
            "https://console.developers.google.com/billing/enable?project=123 then retry.",
            info("BILLING_DISABLED"),
        ),
        "billing",
    ),
    (google(403, "PERMISSION_DENIED", "Project p (#123) has billing disabled. Please enable it."), "billing"),
    (
        google(
            403,
            "PERMISSION_DENIED",
            f"Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/{_MODEL}' "
            "(or it may not exist).",
            info("IAM_PERMISSION_DENIED", permission="aiplatform.endpoints.predict"),
        ),
        "auth_rejected",
    ),
    (
        google(403, "PERMISSION_DENIED", "Permission denied on resource project p.", info("CONSUMER_INVALID")),
        "auth_rejected",
    ),
    (
        google(
            403,
            "PERMISSION_DENIED",
            "Caller does not have required permission to use project p. Grant the caller the "
            "roles/serviceusage.serviceUsageConsumer role.",
            info("USER_PROJECT_DENIED"),
        ),
        "auth_rejected",
    ),
    (
        google(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential.",
            info("ACCESS_TOKEN_EXPIRED", method="google.cloud.aiplatform.v1.PredictionService.StreamRawPredict"),
        ),
        "auth_rejected",
    ),
    (
        google(
            404,
            "NOT_FOUND",
            f"Publisher Model `{_MODEL}` was not found or your project does not have access to it. Please ensure you "
            "are using a valid model version.",
        ),
        "model_not_found",
    ),
    (
        google(400, "FAILED_PRECONDITION", f"Publisher Model `{_MODEL}` is not servable in region us-central1."),
        "model_not_found",
    ),
    (
        google(400, "FAILED_PRECONDITION", f"Project `123` is not allowed to use Publisher Model `{_MODEL}`"),
        "model_not_found",
    ),
    (google(400, "FAILED_PRECONDITION", "Please enable billing on your project."), "billing"),
    (google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), "auth_rejected"),
    (google(400, "FAILED_PRECONDITION", "The request cannot be run in this state."), "bad_request"),
    (google(400, "INVALID_ARGUMENT", "Please use a valid role: user, model."), "bad_request"),
    (
        google(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        "context_overflow",
    ),
    (
        google(
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with base model: "
            "anthropic-claude-3-5-sonnet-v2. Please submit a quota increase request.",
        ),
        "rate_limited",
    ),
    (
        google(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later.", quota("Minute")),
        "rate_limited",
    ),
    (google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", quota("Day")), "billing"),
    (google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", quota("Minute")), "rate_limited"),
    (google(499, "CANCELLED", "The operation was cancelled."), "server_error"),
    (google(500, "INTERNAL", "Internal error encountered."), "server_error"),
    (google(503, "UNAVAILABLE", "The service is currently unavailable."), "server_error"),
    (google(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."), "server_error"),
    (claude("invalid_request_error", "messages: text content blocks must be non-empty"), "bad_request"),
    (claude("invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"), "context_overflow"),
    (claude("rate_limit_error", "Quota exceeded for aiplatform.googleapis.com/online_prediction"), "rate_limited"),
    (claude("not_found_error", "model: claude-x"), "model_not_found"),
    (claude("overloaded_error", "Overloaded"), "overloaded"),
    (claude("api_error", "Internal server error"), "server_error"),
]
# Where the body does not say it: the statuses of what Claude writes.
_STATUSES = {"rate_limit_error": 429, "not_found_error": 404, "overloaded_error": 529, "api_error": 500}


def status_of(body: dict) -> int:
    error = body["error"]
    return error.get("code") or _STATUSES.get(error.get("type"), 400)


@pytest.mark.parametrize("is_listed", [False, True], ids=["alone", "listed"])
@pytest.mark.parametrize(("body", "expected"), ROWS)
def test_a_refusal_is_the_kind_that_it_tells(body, expected, is_listed):
    """Alone, or as the only one of a list, which is how streaming methods begin their answers."""
    said = json.dumps([body] if is_listed else body, indent=2).encode()

    assert expected == from_http(status_of(body), {}, said, wall=0.0).kind.value


@pytest.mark.parametrize(
    ("details", "expected"), [([], None), ([quota("Minute")], None), ([quota("Minute"), wait("12.5s")], 12.5)]
)
def test_a_wait_is_what_the_details_tell(details, expected):
    """No header of Vertex says it, and most of its answers do not either."""
    body = json.dumps([google(429, "RESOURCE_EXHAUSTED", "Resource exhausted.", *details)]).encode()

    assert expected == from_http(429, {}, body, wall=0.0).retry_after_s


def test_a_list_inside_a_stream_is_an_error_too():
    """Its status was 200."""
    body = json.dumps([google(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")]).encode()

    assert "overloaded" == from_event(body).kind.value
