"""Anthropic's Messages: docs.claude.com, "Errors"; the types of its SDK (PyPI: anthropic 2.10)."""

from tests.support.messages_speech import BEGUN, delta, ended, event, failed, stopped
from tests.support.provider_failures.case import DATE, Case, Provider, cut, status, stream

_LIMIT = "This request would exceed your organization's rate limit of 50,000 input tokens per minute."
_WORDS = delta(text="alpha ")


def _error(number: int, kind: str, message: str, code: str | None = None, **headers: str) -> bytes:
    error = {"type": kind, "message": message, "details": None if code is None else {"error_code": code}}
    body = {"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}
    return status(number, body, request_id="req_011CSHoEeqs5C35K2UUqR7Fy", **headers)


def _blamed(message: str, code: str | None = None) -> bytes:
    return _error(400, "invalid_request_error", message, code)


def _limited(**headers: str) -> bytes:
    return _error(429, "rate_limit_error", _LIMIT, None, **headers)


ANTHROPIC = Provider(
    "Anthropic",
    {"kind": "anthropic", "model": "claude-sonnet-4-5"},
    (
        Case(
            "400, the request is malformed",
            "bad_request",
            _blamed("messages.0: all messages must have non-empty content"),
        ),
        Case(
            "400, prompt is too long",
            "context_overflow",
            _blamed("prompt is too long: 213462 tokens > 200000 maximum"),
        ),
        Case(
            "400, credit balance is too low",
            "billing",
            _blamed(
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade "
                "or purchase credits."
            ),
        ),
        Case(
            "400, the organisation's own limit",
            "billing",
            _blamed("You have reached your specified API usage limits. You will regain access on 2026-12-01."),
        ),
        Case(
            "400, the workspace's own limit",
            "billing",
            _blamed(
                "You have reached your specified workspace API usage limits. You will regain access on 2026-12-01."
            ),
        ),
        Case(
            "400, `organization_on_hold`", "billing", _blamed("This organization is on hold.", "organization_on_hold")
        ),
        Case("401, key unknown", "auth_rejected", _error(401, "authentication_error", "invalid x-api-key")),
        Case(
            "401, token expired",
            "auth_rejected",
            _error(401, "authentication_error", "OAuth token has expired. Please obtain a new token."),
        ),
        *(
            Case(f"402, `{code}`", "billing", _error(402, "billing_error", "Payment is due.", code))
            for code in ("linked_organization_billing_unavailable", "linked_organization_spend_limit_reached")
        ),
        Case(
            "403, the key may not",
            "auth_rejected",
            _error(403, "permission_error", "Your API key does not have permission to use the specified resource."),
        ),
        Case(
            "403, the key may not use this model",
            "model_not_found",
            _error(403, "permission_error", "Your organization does not have access to model claude-opus-4-1."),
        ),
        Case("404, no such model", "model_not_found", _error(404, "not_found_error", "model: claude-x")),
        Case("409", "server_error", _error(409, "conflict_error", "The resource was changed meanwhile.")),
        Case(
            "413, larger than its edge takes",
            "unsupported",
            _error(413, "request_too_large", "Request exceeds the maximum size"),
        ),
        Case("429, with `retry-after`", "rate_limited", _limited(retry_after="12"), 12.0),
        Case("429, `retry-after` is a date", "rate_limited", _limited(retry_after=DATE), 30.0),
        Case(
            "429, `anthropic-ratelimit-*-reset` of what is used up",
            "rate_limited",
            _limited(
                anthropic_ratelimit_requests_limit="50",
                anthropic_ratelimit_requests_remaining="49",
                anthropic_ratelimit_requests_reset="2026-11-20T18:10:00Z",
                anthropic_ratelimit_input_tokens_limit="50000",
                anthropic_ratelimit_input_tokens_remaining="0",
                anthropic_ratelimit_input_tokens_reset="2026-11-20T18:00:45Z",
            ),
            45.0,
        ),
        Case(
            "429, `ramp_limit_exceeded`",
            "rate_limited",
            _error(429, "rate_limit_error", "Your traffic grew too quickly.", "ramp_limit_exceeded", retry_after="8"),
            8.0,
        ),
        Case(
            "429, extra usage is required for long context",
            "rate_limited",
            _error(429, "rate_limit_error", "Extra usage is required for long context requests."),
        ),
        *(
            Case(f"429, `{code}`", "billing", _error(429, "rate_limit_error", "The spend limit is reached.", code))
            for code in ("enforced_spend_limit_reached", "contract_spend_limit_reached")
        ),
        Case("500", "server_error", _error(500, "api_error", "Internal server error")),
        Case("504", "server_error", _error(504, "timeout_error", "Request timed out")),
        Case("529, capacity for everybody", "overloaded", _error(529, "overloaded_error", "Overloaded")),
        Case(
            "200, `overloaded_error` before a word",
            "overloaded",
            stream(BEGUN, event("ping"), failed("overloaded_error", "Overloaded")),
        ),
        Case(
            "200, `overloaded_error` behind words",
            "overloaded",
            stream(BEGUN, _WORDS, failed("overloaded_error", "Overloaded")),
        ),
        Case("200, ends without `message_stop`, before a word", "server_error", stream(BEGUN)),
        Case("200, ends without `message_stop`, behind words", "server_error", stream(BEGUN, _WORDS)),
        Case(
            "200, ends behind `message_delta`, without `message_stop`",
            "server_error",
            stream(BEGUN, _WORDS, stopped("end_turn")),
        ),
        Case("200, reset behind words", "server_error", cut(BEGUN, _WORDS), end="reset"),
        Case("200, a whole answer with nothing in it", "empty_turn", stream(BEGUN, ended())),
        Case("stop reason `tool_use`", "garbled", stream(BEGUN, ended("tool_use"))),
        Case("stop reason `pause_turn`", "garbled", stream(BEGUN, ended("pause_turn"))),
        Case("stop reason `refusal` before a word", "guardrail", stream(BEGUN, ended("refusal"))),
        Case("stop reason `refusal` behind words", "refusal", stream(BEGUN, _WORDS, ended("refusal"))),
        Case("stop reason `max_tokens`", "max_tokens", stream(BEGUN, _WORDS, ended("max_tokens"))),
        Case(
            "stop reason `model_context_window_exceeded`",
            "max_tokens",
            stream(BEGUN, _WORDS, ended("model_context_window_exceeded")),
        ),
        Case("stop reason `stop_sequence`", "end_turn", stream(BEGUN, _WORDS, ended("stop_sequence"))),
    ),
)
