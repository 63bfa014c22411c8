"""OpenAI by its Responses API: `ResponseError.code` of its schema, `incomplete_details`, and how a stream breaks."""

from tests.support import responses_speech as r
from tests.support.provider_failures.case import Case, Provider, cut, status, stream
from tests.support.provider_failures.openai import error

_WORDS = r.said("alpha ")
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_SORRY = "Our servers are currently overloaded. Please try again later."
# What an image has, in the schema's order.
_IMAGES = {
    "bad_request": ("invalid_image", "invalid_base64_image", "image_parse_error", "empty_image_file"),
    "unsupported": (
        "invalid_image_format",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "failed_to_download_image",
        "image_file_not_found",
    ),
}
_CODES = {
    "server_error": ("server_error", "vector_store_timeout"),
    "rate_limited": ("rate_limit_exceeded",),
    "auth_rejected": ("data_residency_mismatch",),
    "guardrail": (
        "invalid_prompt",
        "bio_policy",
        "misalignment_policy_violation",
        "image_content_policy_violation",
    ),
    **_IMAGES,
}

RESPONSES = Provider(
    "OpenAI, Responses",
    {"kind": "openai", "preset": "openai", "api": "responses", "model": "gpt-5"},
    (
        Case(
            "400, the request is malformed",
            "bad_request",
            status(400, error("Unknown parameter: 'x'.", "invalid_request_error", "unknown_parameter", "x")),
        ),
        Case(
            "400, `context_length_exceeded`",
            "context_overflow",
            status(
                400,
                error(
                    "Your input exceeds the context window of this model.",
                    "invalid_request_error",
                    "context_length_exceeded",
                    "input",
                ),
            ),
        ),
        *(
            Case(f"200, failed: `{code}`", kind, stream(r.BEGUN, r.failed(code, "It did not work.")))
            for kind, codes in _CODES.items()
            for code in codes
        ),
        Case(
            "200, event `error` before a word: `insufficient_quota`",
            "billing",
            stream(r.BEGUN, r.event("error", error={"type": "insufficient_quota", "code": None, "message": _QUOTA})),
        ),
        Case(
            "200, event `error` behind words",
            "overloaded",
            stream(r.BEGUN, _WORDS, r.event("error", code="server_is_overloaded", message=_SORRY, param=None)),
        ),
        Case(
            "200, failed: `bio_policy` behind words",
            "refusal",
            stream(r.BEGUN, _WORDS, r.failed("bio_policy", "No."), r.failed("server_error", "No.")),
        ),
        Case("200, ends before `response.completed`, before a word", "server_error", stream(r.BEGUN)),
        Case("200, ends before `response.completed`, behind words", "server_error", stream(r.BEGUN, _WORDS)),
        Case("200, reset behind words", "server_error", cut(r.BEGUN, _WORDS), end="reset"),
        Case("200, completed with nothing in it", "empty_turn", stream(r.BEGUN, r.ended())),
        Case(
            "200, a function is called",
            "garbled",
            stream(r.BEGUN, r.ended(output=[{"type": "function_call", "name": "f", "arguments": "{}"}])),
        ),
        Case(
            "incomplete: `content_filter` before a word", "guardrail", stream(r.BEGUN, r.incomplete("content_filter"))
        ),
        Case(
            "incomplete: `content_filter` behind words",
            "refusal",
            stream(r.BEGUN, _WORDS, r.incomplete("content_filter")),
        ),
        Case("a `refusal` in words", "refusal", stream(r.BEGUN, r.refused("I cannot help."), r.ended())),
        Case(
            "incomplete: `max_output_tokens`", "max_tokens", stream(r.BEGUN, _WORDS, r.incomplete("max_output_tokens"))
        ),
    ),
)
