"""OpenAI's Chat Completions: its guide "Error codes", the types of its SDK (PyPI: openai 3.51)."""

from tests.support.chat_player import ended, said
from tests.support.provider_failures.case import DATE, Case, Provider, cut, data, status, stream

BEGUN, WORDS = said(role="assistant", content=""), said(content="alpha ")
_FULL = "Rate limit reached for gpt-5 in organization org-x on tokens per min (TPM): Limit 30000, Used 29000."
_QUOTA = "You exceeded your current quota, please check your plan and billing details."


def error(message: str, kind: str | None = None, code: object = None, param: str | None = None) -> dict[str, object]:
    """As OpenAI writes one."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _blamed(number: int, code: str | None, message: str = "The request was refused.") -> bytes:
    return status(number, error(message, "invalid_request_error", code))


def _limited(**headers: str) -> bytes:
    return status(429, error(_FULL, "tokens", "rate_limit_exceeded"), x_request_id="req_1", **headers)


OPENAI = Provider(
    "OpenAI, Chat Completions",
    {"kind": "openai", "model": "gpt-5"},
    (
        *(
            Case(f"{number}, the request is malformed", "bad_request", _blamed(number, None))
            for number in (400, 409, 415, 422)
        ),
        Case("400, `invalid_value`", "bad_request", _blamed(400, "invalid_value", "Invalid value: 'tool'.")),
        Case(
            "400, `context_length_exceeded`",
            "context_overflow",
            _blamed(400, "context_length_exceeded", "This model's maximum context length is 8192 tokens."),
        ),
        Case(
            "400, the same in words alone",
            "context_overflow",
            _blamed(400, None, "Your input exceeds the context window of this model. Please adjust your input."),
        ),
        *(
            Case(f"400, `{code}`", "guardrail", _blamed(400, code))
            for code in ("content_policy_violation", "invalid_prompt", "bio_policy", "misalignment_policy_violation")
        ),
        Case(
            "401, `invalid_api_key`",
            "auth_rejected",
            _blamed(401, "invalid_api_key", "Incorrect API key provided: sk-1****2."),
        ),
        Case("401, IP not authorized", "auth_rejected", _blamed(401, "ip_not_authorized", "IP not authorized")),
        Case(
            "401, member of no organisation",
            "auth_rejected",
            _blamed(401, None, "You must be a member of an organization to use the API."),
        ),
        Case(
            "403, `unsupported_country_region_territory`",
            "auth_rejected",
            status(
                403,
                error(
                    "Country, region, or territory not supported",
                    "request_forbidden",
                    "unsupported_country_region_territory",
                ),
            ),
        ),
        *(
            Case(
                f"{number}, `model_not_found`",
                "model_not_found",
                _blamed(number, "model_not_found", "The model `gpt-9` does not exist or you do not have access to it."),
            )
            for number in (403, 404)
        ),
        Case("413", "unsupported", _blamed(413, None, "Request body too large.")),
        Case("429, `rate_limit_exceeded`, with `retry-after`", "rate_limited", _limited(retry_after="7"), 7.0),
        Case(
            "429, with `retry-after` and `retry-after-ms`",
            "rate_limited",
            _limited(retry_after="2", retry_after_ms="1500"),
            1.5,
        ),
        Case("429, `retry-after` is a date", "rate_limited", _limited(retry_after=DATE), 30.0),
        Case(
            "429, `x-ratelimit-reset-*` of what is used up",
            "rate_limited",
            _limited(
                x_ratelimit_remaining_requests="4999",
                x_ratelimit_reset_requests="120ms",
                x_ratelimit_remaining_tokens="0",
                x_ratelimit_reset_tokens="6m0s",
            ),
            360.0,
        ),
        Case(
            "429, a wait in words alone",
            "rate_limited",
            status(429, error(f"{_FULL} Please try again in 1.2s.", "tokens", "rate_limit_exceeded")),
            1.2,
        ),
        Case("429, `slow_down`", "rate_limited", status(429, error("Slow down.", "rate_limit_error", "slow_down"))),
        Case(
            "429, `insufficient_quota`",
            "billing",
            status(429, error(_QUOTA, "insufficient_quota", "insufficient_quota")),
        ),
        *(
            Case(f"429, `{code}`", "billing", status(429, error("No more of it.", "insufficient_quota", code)))
            for code in (
                "credit_balance_exhausted",
                "organization_spend_limit_exceeded",
                "project_spend_limit_exceeded",
                "organization_usage_limit_exceeded",
            )
        ),
        *(
            Case(f"{number}", "server_error", status(number, error("The server had an error.", "server_error")))
            for number in (500, 502, 504)
        ),
        *(
            Case(f"503, `{code}`", "overloaded", status(503, error("Try later.", "service_unavailable_error", code)))
            for code in ("server_is_overloaded", "slow_down")
        ),
        Case(
            "200, an error before a word",
            "server_error",
            stream(BEGUN, data(error("The server had an error while processing your request.", "server_error"))),
        ),
        Case(
            "200, an error behind words", "server_error", stream(BEGUN, WORDS, data(error("Failed.", "server_error")))
        ),
        Case(
            "200, `insufficient_quota` before a word",
            "billing",
            stream(BEGUN, data(error(_QUOTA, "insufficient_quota", "insufficient_quota"))),
        ),
        Case(
            "200, `content_policy_violation` behind words",
            "refusal",
            stream(
                BEGUN, WORDS, data(error("No.", "invalid_request_error", "content_policy_violation")), ended("stop")
            ),
        ),
        Case("200, ends without a finish reason, before a word", "server_error", stream(BEGUN)),
        Case("200, ends without a finish reason, behind words", "server_error", stream(BEGUN, WORDS)),
        Case("200, `[DONE]` without a finish reason", "server_error", stream(BEGUN, WORDS, data("[DONE]"))),
        Case("200, reset before a word", "server_error", cut(BEGUN), end="reset"),
        Case("200, reset behind words", "server_error", cut(BEGUN, WORDS), end="reset"),
        Case("200, a whole answer with nothing in it", "empty_turn", stream(BEGUN, ended("stop"))),
        Case("200, an event that is no JSON", "garbled", stream(BEGUN, data('{"choices": [{"del'))),
        Case("finish reason `content_filter` before a word", "guardrail", stream(BEGUN, ended("content_filter"))),
        Case("finish reason `content_filter` behind words", "refusal", stream(BEGUN, WORDS, ended("content_filter"))),
        Case("a `refusal` in words", "refusal", stream(BEGUN, said(refusal="I cannot help."), ended("stop"))),
        Case("finish reason `length`", "max_tokens", stream(BEGUN, WORDS, ended("length"))),
        Case("finish reason `tool_calls`", "garbled", stream(BEGUN, ended("tool_calls"))),
    ),
)
