"""What an HTTP answer that is no answer means: status, body, headers; real wire shapes, one row each."""

import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.core.http_failures import from_event, from_http, wait_of

# 6 November 1994, 08:49:37 GMT (RFC 9110, 5.6.7).
WALL = 784_111_777.0


def kind(status: int, body: str, **headers: str) -> FailureKind:
    return from_http(status, headers, body.encode(), wall=WALL).kind


def error(message: str, kind: str | None = None, code: str | None = None) -> str:
    quoted = [f'"{one}"' if one is not None else "null" for one in (message, kind, code)]
    return '{"error": {"message": %s, "type": %s, "param": null, "code": %s}}' % tuple(quoted)  # noqa: UP031


def refused(kind: str, message: str, code: str | None = None) -> str:
    """As Anthropic writes it."""
    details = "null" if code is None else '{"error_code": "%s"}' % code  # noqa: UP031
    error = '{"type": "%s", "message": "%s", "details": %s}' % (kind, message, details)  # noqa: UP031
    return '{"type": "error", "error": %s, "request_id": "req_1"}' % error  # noqa: UP031


ROWS = [
    # OpenAI
    (400, error("Invalid value: 'tool'.", "invalid_request_error", "invalid_value"), FailureKind.BAD_REQUEST),
    (
        400,
        error(
            "This model's maximum context length is 8192 tokens.", "invalid_request_error", "context_length_exceeded"
        ),
        FailureKind.CONTEXT_OVERFLOW,
    ),
    (400, error("Rejected.", "invalid_request_error", "content_policy_violation"), FailureKind.GUARDRAIL),
    (
        401,
        error("Incorrect API key provided: x.", "invalid_request_error", "invalid_api_key"),
        FailureKind.AUTH_REJECTED,
    ),
    (401, error("You must be a member of an organization", "invalid_request_error"), FailureKind.AUTH_REJECTED),
    (
        404,
        error("The model `x` does not exist.", "invalid_request_error", "model_not_found"),
        FailureKind.MODEL_NOT_FOUND,
    ),
    (429, error("Rate limit reached.", "requests", "rate_limit_exceeded"), FailureKind.RATE_LIMITED),
    (429, error("Slow.", "invalid_request_error"), FailureKind.RATE_LIMITED),
    (429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), FailureKind.BILLING),
    (500, error("The server had an error.", "server_error"), FailureKind.SERVER_ERROR),
    (503, error("The engine is currently overloaded", "server_error"), FailureKind.OVERLOADED),
    (503, error("Slow down", "service_unavailable_error", "slow_down"), FailureKind.OVERLOADED),
    # Anthropic: `message` is prose; `error_code` in the details is exact
    (400, refused("invalid_request_error", "messages: text content blocks must be non-empty"), FailureKind.BAD_REQUEST),
    (
        400,
        refused("invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"),
        FailureKind.CONTEXT_OVERFLOW,
    ),
    (400, refused("invalid_request_error", "Your credit balance is too low to access the API"), FailureKind.BILLING),
    (400, refused("invalid_request_error", "On hold.", "organization_on_hold"), FailureKind.BILLING),
    (401, refused("authentication_error", "invalid x-api-key"), FailureKind.AUTH_REJECTED),
    (402, refused("billing_error", "Pay.", "linked_organization_spend_limit_reached"), FailureKind.BILLING),
    (403, refused("permission_error", "Your API key may not use this"), FailureKind.AUTH_REJECTED),
    (404, refused("not_found_error", "model: claude-x"), FailureKind.MODEL_NOT_FOUND),
    (409, refused("conflict_error", "Try again."), FailureKind.SERVER_ERROR),
    (413, refused("request_too_large", "Request exceeds the maximum size"), FailureKind.UNSUPPORTED),
    (429, refused("rate_limit_error", "This request would exceed your rate limit"), FailureKind.RATE_LIMITED),
    (429, refused("rate_limit_error", "Slower.", "ramp_limit_exceeded"), FailureKind.RATE_LIMITED),
    (429, refused("rate_limit_error", "Spent.", "enforced_spend_limit_reached"), FailureKind.BILLING),
    (429, refused("rate_limit_error", "Spent.", "contract_spend_limit_reached"), FailureKind.BILLING),
    (500, refused("api_error", "Internal server error"), FailureKind.SERVER_ERROR),
    (504, refused("timeout_error", "Request timed out"), FailureKind.SERVER_ERROR),
    (529, refused("overloaded_error", "Overloaded"), FailureKind.OVERLOADED),
    # OpenRouter: the code is the status
    (402, '{"error": {"code": 402, "message": "Insufficient credits"}}', FailureKind.BILLING),
    (502, '{"error": {"code": 502, "message": "Provider returned error"}}', FailureKind.SERVER_ERROR),
    # Ollama: a text alone
    (404, '{"error": "model \\"qwen9\\" not found, try pulling it first"}', FailureKind.MODEL_NOT_FOUND),
    # llama.cpp
    (503, error("Loading model", "unavailable_error"), FailureKind.OVERLOADED),
    (
        400,
        error("the request exceeds the available context size", "exceed_context_size_error"),
        FailureKind.CONTEXT_OVERFLOW,
    ),
    # vLLM
    (
        400,
        error("This model's maximum context length is 4096 tokens.", "BadRequestError"),
        FailureKind.CONTEXT_OVERFLOW,
    ),
    (404, error("The model `x` does not exist.", "NotFoundError"), FailureKind.MODEL_NOT_FOUND),
    # Who stands between
    (502, "<html><head><title>502 Bad Gateway</title></head></html>", FailureKind.SERVER_ERROR),
    (403, "<!DOCTYPE html><title>Attention Required!</title>", FailureKind.GARBLED),
    (413, "<html><title>413 Request Entity Too Large</title>", FailureKind.GARBLED),
    (405, '{"detail": "Method Not Allowed"}', FailureKind.UNREACHABLE),
    (407, "", FailureKind.UNREACHABLE),
    (529, "", FailureKind.OVERLOADED),
]


@pytest.mark.parametrize(("status", "body", "expected"), ROWS)
def test_an_answer_with_a_failing_status_has_a_kind(status, body, expected):
    """The machine decides by kind what is tried next."""
    assert expected == kind(status, body)


def test_an_error_inside_a_200_has_a_kind():
    """Once it streams, a provider's status stays 200."""
    failure = from_event(error("The engine is currently overloaded", "server_error").encode())

    assert FailureKind.OVERLOADED == failure.kind


def test_a_failure_says_what_was_answered():
    """Who reads the log must find the provider's words and its status."""
    assert "401: No key." == from_http(401, {}, error("No key.").encode(), wall=WALL).text


def test_a_web_page_is_told_by_its_title():
    """Nobody reads markup in an error."""
    failure = from_http(502, {}, b"<html><head><title>502 Bad Gateway</title></head>", wall=WALL)

    assert "502: a web page: 502 Bad Gateway" == failure.text


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT"}, 30.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:07 GMT"}, None),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "6m0s"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "20s",
            },
            20.0,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "784111787000"}, None),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "1994-11-06T08:49:47Z",
            },
            10.0,
        ),
    ],
)
def test_headers_say_how_long_to_wait(headers, expected):
    """A provider knows best when it has room again."""
    assert expected == wait_of(headers, WALL)


def test_a_point_in_time_in_milliseconds_is_one():
    """OpenRouter's `x-ratelimit-reset`."""
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000010000"}

    assert 10.0 == wait_of(headers, 1_700_000_000.0)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("2000-02-29T00:00:00Z", 951_782_400.0),
        ("2026-11-20T18:00:00Z", 1_795_197_600.0),
        ("2100-03-01T00:00:00Z", 4_107_542_400.0),
    ],
)
def test_dates_are_those_of_the_calendar(moment, seconds):
    """Leap years included; checked against the standard library's."""
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": moment}

    assert 5.0 == wait_of(headers, seconds - 5.0)
