"""Every shape in which a real agent or provider tells of a failure, and what it means."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp_broker.core.classify import from_exit, from_rpc_error, from_text
from acp_broker.core.evidence import fold
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.habits import Pattern
from acp_broker.core.phrases import TEXTS
from acp_broker.core.signs import _WORDS, FINER, RPC_CODES, STATUSES, WORDS

K = FailureKind
# Which limit it was stands in its id alone.
GEMINI_RATE_IN_DETAILS = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}],
            },
        ],
    }
}
GEMINI_RATE = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details. "
        "* Quota exceeded for metric: generate_content_requests, limit: 10. Please retry in 34.07s.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"},
        ],
    }
}


def anthropic(kind: str, message: str, **details: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message, "details": details}}


def failure(code: int, message: str, data: object = None) -> Failure:
    return from_rpc_error(code, message, None if data is None else json.dumps(data).encode(), seen_at="submitted")


# The exact shapes of twelve agents: (agent, code, message, data, kind).
AGENTS = [
    (
        "claude",
        -32603,
        "Internal error: API Error: Request rejected (429) · Rate limit reached",
        {"errorKind": "rate_limit"},
        K.RATE_LIMITED,
    ),
    ("claude", -32603, "Internal error: API Error: 503 no", {"errorKind": "server_error"}, K.SERVER_ERROR),
    ("claude", -32603, "Internal error: API Error: Connection error.", {"errorKind": "server_error"}, K.UNREACHABLE),
    (
        "claude",
        -32603,
        "Internal error: API Error: Repeated 529 Overloaded errors",
        {"errorKind": "server_error"},
        K.OVERLOADED,
    ),
    ("claude", -32603, "Internal error: API Error: 400 bad", {"errorKind": "unknown"}, K.BAD_REQUEST),
    ("claude", -32603, "Internal error: Credit balance is too low", {"errorKind": "unknown"}, K.BILLING),
    ("claude", -32603, "Internal error: Prompt is too long", {"errorKind": "invalid_request"}, K.CONTEXT_OVERFLOW),
    ("claude", -32000, "Authentication required", None, K.AUTH_MISSING),
    (
        "codex1",
        -32603,
        "Internal error",
        {
            "message": "exceeded retry limit, last status: 429 Too Many Requests, request id: r1",
            "codex_error_info": {"response_too_many_failed_attempts": {"http_status_code": 429}},
        },
        K.RATE_LIMITED,
    ),
    (
        "codex1",
        -32603,
        "Internal error",
        {"message": "unexpected status 503 Service Unavailable: no", "codex_error_info": "other"},
        K.SERVER_ERROR,
    ),
    (
        "codex1",
        -32603,
        "Internal error",
        {"message": "You've hit your usage limit. Try again at 3:28 PM.", "codex_error_info": "usage_limit_exceeded"},
        K.ACCOUNT_RATE_LIMITED,
    ),
    (
        "codex2",
        -32603,
        "Internal error",
        {"message": "x", "codexErrorInfo": {"httpConnectionFailed": {"httpStatusCode": 503}}},
        K.SERVER_ERROR,
    ),
    (
        "codex2",
        -32603,
        "Internal error",
        {"codexErrorInfo": {"responseStreamDisconnected": {"httpStatusCode": None}}},
        K.SERVER_ERROR,
    ),
    ("codex2", -32603, "Internal error", {"codexErrorInfo": "contextWindowExceeded"}, K.CONTEXT_OVERFLOW),
    ("codex2", -32000, "Authentication required", None, K.AUTH_MISSING),
    ("gemini", 401, "invalid x-api-key", None, K.AUTH_REJECTED),
    ("gemini", 400, "malformed", None, K.BAD_REQUEST),
    ("gemini", 429, json.dumps(GEMINI_RATE), None, K.RATE_LIMITED),
    ("gemini", 503, "The model is overloaded. Please try again later.", None, K.OVERLOADED),
    ("gemini", 500, "terminated", None, K.SERVER_ERROR),
    ("gemini", 500, "exception TypeError: fetch failed sending request", None, K.UNREACHABLE),
    (
        "opencode",
        -32603,
        "Internal error: Rate limit reached",
        {"service": "session", "errorName": "APIError"},
        K.RATE_LIMITED,
    ),
    ("qwen", -32603, "Internal error", {"details": "401 invalid x-api-key"}, K.AUTH_REJECTED),
    ("qwen", -32603, "Internal error", {"details": "Model stream ended with empty response text."}, K.EMPTY_TURN),
    ("cline", -32603, "Internal error: Rate limit reached", {"message": "Rate limit reached"}, K.RATE_LIMITED),
    ("cline", -32603, "The operation timed out.", None, K.SERVER_ERROR),
    (
        "vibe",
        -31001,
        "Rate limit exceeded for P (model: M).",
        {"provider": "P", "model": "M"},
        K.RATE_LIMITED,
    ),
    ("vibe", -31002, "Invalid API key for P.", {"provider": "P"}, K.AUTH_REJECTED),
    ("vibe", -32603, "API error from P (model: M): HTTP 503", None, K.SERVER_ERROR),
    (
        "openhands",
        -32603,
        "Internal error",
        {
            "reason": "Failed to process prompt",
            "details": "Conversation run failed for id=1: litellm.ServiceUnavailableError: no",
        },
        K.SERVER_ERROR,
    ),
    (
        "deepagents",
        -32603,
        "Internal error",
        {"details": "Error code: 429 - {'error': {'message': 'Rate limit reached', 'type': 'rate_limit_error'}}"},
        K.RATE_LIMITED,
    ),
    ("auggie", -32000, "Authentication required: run `auggie login`", None, K.AUTH_MISSING),
    ("an ACP v2 agent", -32602, "Invalid params: info is required", None, K.UNSUPPORTED),
    ("an older agent", -32601, "Method not found", None, K.UNSUPPORTED),
    ("a strict agent", -32600, "Invalid request", None, K.UNSUPPORTED),
    ("a strict agent", -32700, "Parse error", None, K.UNSUPPORTED),
    ("codex1", -32002, "Resource not found: session", None, K.CRASHED),
    ("any", -32800, "Request cancelled", None, K.CRASHED),
    ("any", -32603, "Internal error", None, K.UNCLASSIFIED),
]

# Providers' bodies, as the agents that pass them on pass them on: (body, kind).
PROVIDERS = [
    (anthropic("invalid_request_error", "messages: field required"), K.BAD_REQUEST),
    (anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), K.CONTEXT_OVERFLOW),
    (anthropic("invalid_request_error", "Your credit balance is too low to access the API."), K.BILLING),
    (anthropic("authentication_error", "invalid x-api-key"), K.AUTH_REJECTED),
    (anthropic("billing_error", "x", error_code="linked_organization_spend_limit_reached"), K.BILLING),
    (anthropic("permission_error", "x"), K.AUTH_REJECTED),
    (anthropic("not_found_error", "model: claude-x"), K.MODEL_NOT_FOUND),
    (anthropic("request_too_large", "x"), K.UNSUPPORTED),
    (anthropic("rate_limit_error", "slow"), K.RATE_LIMITED),
    (anthropic("rate_limit_error", "Extra usage is required for long context requests."), K.RATE_LIMITED),
    (anthropic("rate_limit_error", "x", error_code="enforced_spend_limit_reached"), K.BILLING),
    (anthropic("rate_limit_error", "x", error_code="ramp_limit_exceeded"), K.RATE_LIMITED),
    (anthropic("api_error", "Internal server error"), K.SERVER_ERROR),
    (anthropic("timeout_error", "x"), K.SERVER_ERROR),
    (anthropic("overloaded_error", "Overloaded"), K.OVERLOADED),
    ({"error": {"type": "invalid_request_error", "code": "context_length_exceeded"}}, K.CONTEXT_OVERFLOW),
    ({"error": {"type": "invalid_request_error", "code": "content_policy_violation"}}, K.GUARDRAIL),
    ({"error": {"type": "invalid_request_error", "code": "invalid_api_key"}}, K.AUTH_REJECTED),
    ({"error": {"type": "invalid_request_error", "code": "model_not_found"}}, K.MODEL_NOT_FOUND),
    ({"error": {"type": "rate_limit_error", "code": "rate_limit_exceeded"}}, K.RATE_LIMITED),
    ({"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}, K.BILLING),
    ({"error": {"type": "insufficient_quota", "message": "You exceeded your current quota"}}, K.BILLING),
    ({"error": {"code": "unsupported_country_region_territory"}}, K.AUTH_REJECTED),
    ({"error": {"type": "server_error"}}, K.SERVER_ERROR),
    ({"error": {"type": "service_unavailable_error", "code": "server_is_overloaded"}}, K.OVERLOADED),
    (
        {
            "error": {
                "code": 400,
                "status": "INVALID_ARGUMENT",
                "message": "API key not valid. Please pass a valid key.",
            }
        },
        K.AUTH_REJECTED,
    ),
    (
        {
            "error": {
                "code": 400,
                "status": "INVALID_ARGUMENT",
                "message": "The input token count (9) exceeds the maximum number of tokens allowed (8)",
            }
        },
        K.CONTEXT_OVERFLOW,
    ),
    ({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "x"}}, K.AUTH_REJECTED),
    ({"error": {"code": 404, "status": "NOT_FOUND", "message": "models/x is not found"}}, K.MODEL_NOT_FOUND),
    (GEMINI_RATE, K.RATE_LIMITED),
    (GEMINI_RATE_IN_DETAILS, K.RATE_LIMITED),
    ({"error": {"status": "RESOURCE_EXHAUSTED", "message": "Your prepayment credits are depleted."}}, K.BILLING),
    ({"error": {"code": 429, "status": "Too Many Requests"}}, K.RATE_LIMITED),
    ({"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}, K.OVERLOADED),
    ({"error": {"code": 504, "status": "DEADLINE_EXCEEDED"}}, K.SERVER_ERROR),
    ({"__type": "com.amazonaws#ThrottlingException", "message": "Too many tokens, please wait"}, K.RATE_LIMITED),
    ({"name": "ValidationException", "message": "Input is too long for requested model."}, K.CONTEXT_OVERFLOW),
    ({"name": "ValidationException", "message": "The provided model identifier is invalid."}, K.MODEL_NOT_FOUND),
    ({"name": "AccessDeniedException", "message": "You don't have access."}, K.AUTH_REJECTED),
    ({"name": "ModelNotReadyException"}, K.OVERLOADED),
    ({"error": "model 'llama9' not found, try pulling it first"}, K.MODEL_NOT_FOUND),
    ({"error": "Model is unloaded."}, K.OVERLOADED),
    ({"error": "Context size has been exceeded."}, K.CONTEXT_OVERFLOW),
    ({"error": {"code": 402, "message": "Insufficient credits"}}, K.BILLING),
    ({"error": {"code": 402, "message": "You have reached the weekly limit of your plan"}}, K.ACCOUNT_RATE_LIMITED),
    ({"error": {"code": 502, "message": "Provider returned error"}}, K.SERVER_ERROR),
    ({"error": {"code": 404, "message": "No endpoints found that support image input"}}, K.MODEL_NOT_FOUND),
    ({"code": "ECONNREFUSED", "message": "connect ECONNREFUSED 127.0.0.1:1"}, K.UNREACHABLE),
    ({"statusCode": 401}, K.AUTH_REJECTED),
    ({"status": 429, "error": {"type": "insufficient_quota"}}, K.BILLING),
    ({"status": 503, "error": {"type": "authentication_error"}}, K.AUTH_REJECTED),
    ({"status": "429"}, K.RATE_LIMITED),
    ({"status": 418}, K.BAD_REQUEST),
    ({"status": 599}, K.SERVER_ERROR),
]

# What OpenClaw's six words got wrong or right, and what they should have been: (text, kind).
SENTENCES = [
    ("rate limit exceeded", K.RATE_LIMITED),
    ("Overloaded", K.OVERLOADED),
    ("Resource has been exhausted", K.RATE_LIMITED),
    ("You exceeded your current quota", K.BILLING),
    ("503 Service Unavailable", K.SERVER_ERROR),
    ("queue owner unavailable", K.UNREACHABLE),
    ("model temporarily down", K.OVERLOADED),
    ("...quota of context is exhausted: prompt is too long", K.CONTEXT_OVERFLOW),
    ("rate_limit_error", K.RATE_LIMITED),
    ("overloaded_error", K.OVERLOADED),
    ("RESOURCE_EXHAUSTED", K.RATE_LIMITED),
    ("insufficient_quota", K.BILLING),
    ("quota_exceeded", K.RATE_LIMITED),
    ("429 Too Many Requests", K.RATE_LIMITED),
    ("usage limit reached", K.ACCOUNT_RATE_LIMITED),
    ("weekly limit reached", K.ACCOUNT_RATE_LIMITED),
    ("rate limits reached", K.RATE_LIMITED),
    ("We are experiencing high demand", K.OVERLOADED),
    ("service_unavailable", K.SERVER_ERROR),
    ("Timed out", K.SERVER_ERROR),
    ("fetch failed", K.UNREACHABLE),
    ("connect ECONNREFUSED 127.0.0.1:8080", K.UNREACHABLE),
    ("spawn claude-agent-acp ENOENT", K.UNREACHABLE),
    ("acpx exited with code 1", K.CRASHED),
    ("agent disconnected", K.CRASHED),
    ("Authentication required", K.AUTH_MISSING),
    ("Failed to authenticate: OAuth session expired and could not be refreshed", K.AUTH_REJECTED),
    ("credit balance is too low", K.BILLING),
    ("Extra usage is required for long context requests", K.RATE_LIMITED),
    ("请求过于频繁", K.RATE_LIMITED),
    ("余额不足", K.BILLING),
    ("上下文过长", K.CONTEXT_OVERFLOW),
    ("服务过载", K.OVERLOADED),
    ("Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON", K.GARBLED),
    ("The model `gpt-9` does not exist or you do not have access to it.", K.MODEL_NOT_FOUND),
    ("Selected model is at capacity. Please try a different model.", K.OVERLOADED),
    ("Codex ran out of room in the model's context window. Start a new conversation.", K.CONTEXT_OVERFLOW),
    ("stream disconnected before completion: error sending request for url (u)", K.UNREACHABLE),
    ("the response was blocked: PROHIBITED_CONTENT", K.GUARDRAIL),
    ("this model does not support image input", K.UNSUPPORTED),
    ("HTTP/1.1 529", K.OVERLOADED),
    ("500 status code (no body)", K.SERVER_ERROR),
    ("BadRequestError", K.BAD_REQUEST),
    ("Context length exceeded: too many messages", K.CONTEXT_OVERFLOW),
    ("This model's maximum context length is 8192 tokens.", K.CONTEXT_OVERFLOW),
    ("Your input exceeds the context window of this model.", K.CONTEXT_OVERFLOW),
    ("litellm.ContextWindowExceededError: x", K.CONTEXT_OVERFLOW),
    ("413 Request Entity Too Large", K.UNSUPPORTED),
    ("the request exceeds the available context size", K.CONTEXT_OVERFLOW),
    ("You have reached your project's monthly spending limit", K.BILLING),
    ("This request requires more credits, or fewer max_tokens.", K.BILLING),
    ("Key limit exceeded (total limit).", K.BILLING),
    ("402 Payment Required", K.BILLING),
    ("Your limit will reset at 3pm", K.ACCOUNT_RATE_LIMITED),
    ("5-hour limit reached", K.ACCOUNT_RATE_LIMITED),
    ("额度不足", K.ACCOUNT_RATE_LIMITED),
    ("The response was filtered due to Azure's content management policy", K.GUARDRAIL),
    ("this prompt violates our usage policies", K.GUARDRAIL),
    ("image input is not supported", K.UNSUPPORTED),
    ("litellm.AuthenticationError: x", K.AUTH_REJECTED),
    ("认证失败", K.AUTH_REJECTED),
    ("HTTP 401 Unauthorized", K.AUTH_REJECTED),
    ("unauthorized", K.AUTH_REJECTED),
    ("OAuth token has expired", K.AUTH_REJECTED),
    ("OAuth access token has been revoked", K.AUTH_REJECTED),
    ("Invalid bearer token", K.AUTH_REJECTED),
    ("This organization has been disabled.", K.AUTH_REJECTED),
    ("You must be a member of an organization to use the API", K.AUTH_REJECTED),
    ("You didn't provide an API key.", K.AUTH_MISSING),
    ("No credentials found for provider x", K.AUTH_MISSING),
    ("Missing API key", K.AUTH_MISSING),
    ("API key is not set", K.AUTH_MISSING),
    ("Please log in first", K.AUTH_MISSING),
    ("Limit of tokens per minute (TPM) passed", K.RATE_LIMITED),
    ("request was throttled", K.RATE_LIMITED),
    ("Loading model", K.OVERLOADED),
    ("model is not ready yet", K.OVERLOADED),
    ("Unknown model: x", K.MODEL_NOT_FOUND),
    ("The model `x` has been deprecated", K.MODEL_NOT_FOUND),
    ("Invocation of model ID x with on-demand throughput isn't supported", K.MODEL_NOT_FOUND),
    ("Unknown session: s1", K.CRASHED),
    ("session s1 not found", K.CRASHED),
    ("thread 'main' panicked at src/main.rs:1:1", K.CRASHED),
    ("connect EHOSTUNREACH 10.0.0.1:443", K.UNREACHABLE),
    ("UND_ERR_CONNECT_TIMEOUT", K.UNREACHABLE),
    ("socket hang up", K.UNREACHABLE),
    ("Could not connect to 127.0.0.1:9", K.UNREACHABLE),
    ("500 Internal Server Error", K.SERVER_ERROR),
    ("The server had an error while processing your request.", K.SERVER_ERROR),
    ("502 Bad Gateway", K.SERVER_ERROR),
    ("504 Gateway Time-out", K.SERVER_ERROR),
    ("upstream connect error or disconnect/reset before headers", K.SERVER_ERROR),
    ("stream disconnected before completion: idle", K.SERVER_ERROR),
    ("request ended without sending any chunks", K.SERVER_ERROR),
    ("terminated", K.SERVER_ERROR),
    ("Response payload is not completed: <TransferEncodingError: 400, message='Not enough data'>", K.SERVER_ERROR),
    ("Response payload is not completed: <ContentLengthError: 400, message='Not enough data'>", K.SERVER_ERROR),
    ("<ClientResponseError: 429, message='Too Many Requests'>", K.RATE_LIMITED),
    ("Cannot connect to host localhost:8000 ssl:default [Connect call failed ('127.0.0.1', 8000)]", K.UNREACHABLE),
    ("/chat/completions: Invalid model name passed in model=x.", K.MODEL_NOT_FOUND),
    ("Failed to parse JSON", K.GARBLED),
    ("<html><body>hello</body></html>", K.GARBLED),
]

# The words of signs.py a second time, by meaning: both must be wrong alike for a slip to pass.
MEANINGS = {
    K.BAD_REQUEST: "invalid_request_error INVALID_ARGUMENT FAILED_PRECONDITION ValidationException bad_request "
    "invalid_image invalid_base64_image image_parse_error empty_image_file",
    K.UNSUPPORTED: "request_too_large OperationNotSupported not_supported_error invalid_image_format "
    "invalid_image_mode unsupported_image_media_type image_too_large image_too_small image_file_too_large "
    "invalid_image_url failed_to_download_image image_file_not_found",
    K.AUTH_REJECTED: "authentication_error permission_error invalid_api_key unsupported_country_region_territory "
    "API_KEY_INVALID UNAUTHENTICATED PERMISSION_DENIED AccessDeniedException UnrecognizedClientException "
    "InvalidSignatureException IncompleteSignatureException ExpiredTokenException authentication_failed "
    "oauth_org_not_allowed unauthorized ProviderAuthError data_residency_mismatch organization_restricted "
    "no_db_connection",
    K.BILLING: "billing_error linked_organization_billing_unavailable linked_organization_spend_limit_reached "
    "enforced_spend_limit_reached contract_spend_limit_reached organization_on_hold insufficient_quota "
    "credit_balance_exhausted organization_spend_limit_exceeded project_spend_limit_exceeded "
    "organization_usage_limit_exceeded ServiceQuotaExceededException BILLING_DISABLED",
    K.MODEL_NOT_FOUND: "not_found_error model_not_found NOT_FOUND ResourceNotFoundException model_decommissioned "
    "invalid_model",
    K.CONTEXT_OVERFLOW: "context_length_exceeded context_window_exceeded contextWindowExceeded",
    K.RATE_LIMITED: "rate_limit_error rate_limit_exceeded ramp_limit_exceeded RESOURCE_EXHAUSTED ThrottlingException "
    "rate_limit RateLimitError TooManyRequests",
    K.SERVER_ERROR: "api_error APIError timeout_error server_error service_unavailable_error INTERNAL UNAVAILABLE "
    "DEADLINE_EXCEEDED ModelTimeoutException ModelErrorException ModelStreamErrorException InternalServerException "
    "ServiceUnavailableException internal_server_error http_connection_failed response_stream_connection_failed "
    "response_stream_disconnected response_too_many_failed_attempts vector_store_timeout",
    K.OVERLOADED: "overloaded_error overloaded server_is_overloaded slow_down ModelNotReadyException server_overloaded "
    "capacity_exceeded",
    K.GUARDRAIL: "content_policy_violation invalid_prompt bio_policy misalignment_policy_violation "
    "image_content_policy_violation content_filter ResponsibleAIPolicyViolation",
    K.ACCOUNT_RATE_LIMITED: "usage_limit_exceeded usage_limit_reached usageLimitExceeded",
    K.UNREACHABLE: "ECONNREFUSED ECONNRESET ECONNABORTED ETIMEDOUT ENOTFOUND EAI_AGAIN EHOSTUNREACH ENETUNREACH EPIPE",
}

HTTP = {
    K.BAD_REQUEST: [400, 405, 415, 422],
    K.AUTH_REJECTED: [401, 403],
    K.BILLING: [402],
    K.MODEL_NOT_FOUND: [404, 410],
    K.UNSUPPORTED: [413],
    K.RATE_LIMITED: [429],
    K.OVERLOADED: [498, 529],
    K.SERVER_ERROR: [408, 409, 424, 425, 499, 500, 502, 503, 504, 530],
    K.UNREACHABLE: [511],
}

RPC = {
    K.UNSUPPORTED: [-32700, -32600, -32601, -32602],
    K.AUTH_MISSING: [-32000],
    K.CRASHED: [-32002, -32800],
    K.RATE_LIMITED: [-31001],
    K.AUTH_REJECTED: [-31002],
    K.UNCLASSIFIED: [-32603, -32001, -32099, 0, 1, 200, 399, 600],
}

# Errors that hold a number or a word of the tables by chance.
UNRECOGNISED = [
    "could not handle the prompt: fix the 429 handling in client.py",
    "line 503 of main.rs does not compile",
    "port 4290 is taken",
    "Error: 500 tests failed",
    "expected 401 items, got 402",
    "panic in quota.go",
    "",
]


@pytest.mark.parametrize(("agent", "code", "message", "data", "kind"), AGENTS)
def test_an_agents_error_is_recognised(agent: str, code: int, message: str, data: object, kind: FailureKind) -> None:
    """Each shape was seen from an unmodified agent; which candidate comes next depends on it."""
    assert kind is failure(code, message, data).kind


@pytest.mark.parametrize(("body", "kind"), PROVIDERS)
def test_a_providers_body_is_recognised_in_data(body: dict[str, object], kind: FailureKind) -> None:
    """Agents pass the provider's object on."""
    assert kind is failure(-32603, "Internal error", body).kind


@pytest.mark.parametrize(("body", "kind"), PROVIDERS)
def test_a_providers_body_is_recognised_inside_a_message(body: dict[str, object], kind: FailureKind) -> None:
    """Some put it into a string, behind some words of their own."""
    assert kind is failure(-32603, f"API Error: {json.dumps(body)}").kind


@pytest.mark.parametrize(("body", "kind"), PROVIDERS)
def test_a_providers_body_is_recognised_two_strings_deep(body: dict[str, object], kind: FailureKind) -> None:
    """A gateway wraps the provider's JSON as text, and its client wraps the gateway's."""
    wrapped = {"error": {"message": json.dumps({"error": {"message": json.dumps(body)}})}}

    assert kind is failure(-32603, "Internal error", wrapped).kind


@pytest.mark.parametrize(("text", "kind"), SENTENCES)
def test_a_sentence_is_recognised(text: str, kind: FailureKind) -> None:
    """Where there is no structure, the wording is all there is."""
    assert kind is failure(-32603, "Internal error", text).kind


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in MEANINGS.items() for word in words.split()])
def test_a_type_decides_alone(kind: FailureKind, word: str) -> None:
    """Many errors carry a type and no prose that would help."""
    assert kind is failure(-32603, "x", {"code": word}).kind


def test_every_type_of_the_table_is_tested() -> None:
    """A row that no test knows may be wrong for years."""
    assert set(WORDS) == {fold(word) for words in MEANINGS.values() for word in words.split()}


@pytest.mark.parametrize(("kind", "status"), [(kind, status) for kind, statuses in HTTP.items() for status in statuses])
def test_a_status_decides_alone(kind: FailureKind, status: int) -> None:
    """As the JSON-RPC code (gemini), and in data."""
    assert [kind, kind] == [failure(status, "x").kind, failure(-32603, "x", {"status": status}).kind]


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in RPC.items() for code in codes])
def test_a_code_decides_alone(kind: FailureKind, code: int) -> None:
    """JSON-RPC's own, ACP's, and those that agents made up."""
    assert kind is failure(code, "x").kind


@pytest.mark.parametrize("text", UNRECOGNISED)
def test_a_bare_number_decides_nothing(text: str) -> None:
    """litellm #11455: an echoed prompt that held 429 was taken for a rate limit."""
    assert K.UNCLASSIFIED is failure(-32603, text).kind


def test_a_number_at_the_start_of_a_text_has_no_neighbour_in_the_text_before() -> None:
    """ "Internal error" and "429 Cases" are two texts; together they would read as a status."""
    assert K.UNCLASSIFIED is failure(-32603, "Internal error", "429 Cases are handled").kind


@pytest.mark.parametrize("text", UNRECOGNISED)
def test_what_is_not_recognised_in_a_text_is_nothing(text: str) -> None:
    """The caller decides what an unrecognised text is; a guess would be wrong in both directions."""
    assert from_text(text) is None


def test_text_cannot_leave_the_family_that_structure_names() -> None:
    """Structure says the family: a refused key is no overload, whatever its page says."""
    assert K.AUTH_REJECTED is failure(401, "the server is overloaded with bad keys").kind


def test_a_callers_pattern_comes_first() -> None:
    """config.json extends the tables; what a person wrote there outranks what we know."""
    patterns = (Pattern(re.compile("tenant window"), K.ACCOUNT_RATE_LIMITED),)

    assert (
        K.ACCOUNT_RATE_LIMITED
        is from_rpc_error(400, "tenant window closed", None, seen_at=None, patterns=patterns).kind
    )


def test_a_callers_pattern_is_read_in_texts_too() -> None:
    """One table for all places."""
    patterns = (Pattern(re.compile("(?i)kaputt"), K.CRASHED),)

    assert Failure(K.CRASHED, "Kaputt!") == from_text("Kaputt!", patterns=patterns)


def test_the_whole_failure() -> None:
    """Kind, what was said, the provider's own code, the wait, and where."""
    assert Failure(
        K.RATE_LIMITED,
        "Internal error: Rate limit reached",
        code="rate_limit_error",
        retry_after_s=20.0,
        seen_at="submitted",
    ) == failure(
        -32603,
        "Internal error",
        {"error": {"type": "rate_limit_error", "message": "Rate limit reached"}, "headers": {"retry-after": "20"}},
    )


def test_what_data_repeats_is_said_once() -> None:
    """cline writes its text into the message and into data."""
    found = failure(-32603, "Internal error: Rate limit reached", {"message": "Rate limit reached"})

    assert found.text == "Internal error: Rate limit reached"


def test_words_before_a_providers_json_are_kept() -> None:
    """They name the agent's own view, its status for one."""
    found = failure(-32603, 'API Error: 529 {"error": {"type": "overloaded_error", "message": "Overloaded"}}')

    assert found.text == "API Error: 529: Overloaded"


def test_an_error_without_words_is_named_by_its_code() -> None:
    """A failure must say something to the person who reads the log."""
    assert failure(-32603, "").text == "error -32603"


def test_the_code_is_the_peers_where_nothing_better_is_known() -> None:
    """The log can be searched for it."""
    assert failure(-32603, "Internal error").code == "-32603"


def test_an_unasked_cancel_says_so() -> None:
    """A cancel of ours never becomes a failure, so this one came from nobody."""
    assert failure(-32800, "Request cancelled").text == "cancelled, which nobody asked for: Request cancelled"


# ---- processes

EXITS = [
    (1, "boom", "exited with code 1: boom"),
    (0, "", "exited with code 0"),
    (-9, "", "killed by SIGKILL"),
    (-11, "oh", "killed by SIGSEGV: oh"),
    (-31, "", "killed by signal 31"),
    (137, "", "exited with code 137 (SIGKILL)"),
    (None, "", "closed its output without exiting"),
]


@pytest.mark.parametrize(("returncode", "stderr", "text"), EXITS)
def test_an_end_is_told_in_words(returncode: int | None, stderr: str, text: str) -> None:
    """-9 means nothing to most people; SIGKILL says that the system or somebody ended it."""
    assert text == from_exit(returncode, stderr, seen_at="submitted").text


@pytest.mark.parametrize("returncode", [0, 1, 2, -9, -15, 143, None])
def test_the_end_of_a_process_during_a_prompt_is_a_crash(returncode: int | None) -> None:
    """Whatever its exit status: a running agent does not leave."""
    assert K.CRASHED is from_exit(returncode, "Not logged in", seen_at="submitted").kind


@pytest.mark.parametrize("returncode", [126, 127])
def test_a_command_that_a_wrapper_could_not_start_is_unreachable(returncode: int) -> None:
    """POSIX, Shell Command Language 2.8.2: 127 not found, 126 not executable."""
    assert K.UNREACHABLE is from_exit(returncode, "sh: 1: x: not found", seen_at="starting").kind


def test_an_agent_that_wants_a_login_says_so_before_it_leaves() -> None:
    """Its profile is spent, not the backend: another backend with the same login need not be tried."""
    assert K.AUTH_MISSING is from_exit(1, "Not logged in. Please run x login", seen_at="starting").kind


def test_an_agent_that_dies_at_its_start_of_something_else_has_crashed() -> None:
    """Its stderr is not an answer: only what keeps an agent from starting is read there."""
    assert from_exit(1, "429 Too Many Requests", seen_at="starting").kind is K.CRASHED


def test_the_last_words_of_a_process_are_kept() -> None:
    """A traceback ends with its reason."""
    assert from_exit(1, "frame\n" * 1000 + "ValueError: no key", seen_at="starting").text.endswith("ValueError: no key")


def test_the_exit_status_is_the_code() -> None:
    """The log can be searched for it."""
    assert from_exit(-9, "", seen_at=None).code == "-9"


# ---- the tables themselves


@pytest.mark.parametrize("word", sorted(_WORDS))
def test_a_word_has_one_meaning(word: str) -> None:
    """Two spellings of one word with two meanings would make the table lie."""
    assert _WORDS[word] is WORDS[fold(word)]


@pytest.mark.parametrize("pattern", TEXTS, ids=lambda pattern: pattern.regex.pattern[:40])
def test_no_text_row_fits_everything(pattern: Pattern) -> None:
    """An empty alternative in a regex would decide every failure."""
    assert pattern.regex.search("The quick brown fox jumps over the lazy dog.") is None


def test_every_row_of_the_tables_can_decide() -> None:
    """A kind that only its own family may refine must be reachable from it."""
    named = {*WORDS.values(), *STATUSES.values(), *RPC_CODES.values(), *(pattern.kind for pattern in TEXTS)}

    assert set() == {kind for finer in FINER.values() for kind in finer} - named


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.integers(-40_000, 600), st.text(max_size=200), st.none() | st.binary(max_size=200))
def test_no_error_can_break_the_classifier(code: int, message: str, data: bytes | None) -> None:
    """It reads what strangers wrote, in the middle of a failover."""
    assert isinstance(from_rpc_error(code, message, data, seen_at=None), Failure)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "status", "message", "retryAfter", "retry-after-ms", "codexErrorInfo"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(JSON)
def test_no_json_can_break_the_classifier(data: object) -> None:
    """Fields of the right name and the wrong type are common."""
    assert isinstance(failure(-32603, "Internal error", data), Failure)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.none() | st.integers(-70, 300), st.text(max_size=300))
def test_no_exit_can_break_the_classifier(returncode: int | None, stderr: str) -> None:
    """stderr may hold anything."""
    assert isinstance(from_exit(returncode, stderr, seen_at="starting"), Failure)


@pytest.mark.parametrize(
    "data", [b"[" * 60_000, b'{"a":' * 10_000, b"\xff\xfe", b"9" * 5000, b'"' + b"{" * 60_000 + b'"']
)
def test_hostile_data_is_read_as_prose(data: bytes) -> None:
    """Too deep, too long or not UTF-8: nothing of it may raise."""
    assert K.UNCLASSIFIED is from_rpc_error(-32603, "x", data, seen_at=None).kind


@pytest.mark.parametrize("message", ['{"a":' * 9_000 + "1" + "}" * 9_000, "{\ud800}", "{" * 90_000 + "}" * 90_000])
def test_a_hostile_message_is_read_as_prose(message: str) -> None:
    """The same for JSON inside a message."""
    assert from_rpc_error(-32603, message, None, seen_at=None).kind is K.UNCLASSIFIED
