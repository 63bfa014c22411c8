"""The tables by which a failure is recognised: literal, reviewed, each row with its source.

Structure says the family; text may only choose a member of it (`FINER`). So a 503 whose page mentions a limit stays a
server's error, while a 400 that says "prompt is too long" is what it says.
"""

from collections.abc import Mapping

from acp_broker.core.evidence import fold
from acp_broker.core.failures import FailureKind as Kind

# Codes that a peer of ours uses for itself. HTTP statuses used as codes (gemini) are read by STATUSES.
RPC_CODES: Mapping[int, Kind] = {
    -32700: Kind.UNSUPPORTED,  # JSON-RPC 2.0, 5.1: it cannot read what we wrote; another backend may
    -32600: Kind.UNSUPPORTED,  # JSON-RPC 2.0, 5.1: invalid request
    -32601: Kind.UNSUPPORTED,  # JSON-RPC 2.0, 5.1: method not found
    -32602: Kind.UNSUPPORTED,  # JSON-RPC 2.0, 5.1: invalid params; an ACP v2 agent answers `initialize` so
    -32000: Kind.AUTH_MISSING,  # ACP v1, ErrorCode: authentication required
    -32002: Kind.CRASHED,  # ACP v1, ErrorCode: resource not found; for a prompt, the session is lost
    -32800: Kind.CRASHED,  # ACP v1, ErrorCode: request cancelled; nobody asked (a cancel of ours is no failure)
    -31001: Kind.RATE_LIMITED,  # vibe
    -31002: Kind.AUTH_REJECTED,  # vibe
}

# Statuses that mean more than their class; any other 4xx is BAD_REQUEST, any other 5xx SERVER_ERROR.
STATUSES: Mapping[int, Kind] = {
    401: Kind.AUTH_REJECTED,
    402: Kind.BILLING,
    403: Kind.AUTH_REJECTED,
    404: Kind.MODEL_NOT_FOUND,
    408: Kind.SERVER_ERROR,  # Bedrock ModelTimeoutException, OpenRouter timeout
    409: Kind.SERVER_ERROR,  # Anthropic conflict_error, which its SDK retries
    410: Kind.MODEL_NOT_FOUND,  # a model that was retired
    413: Kind.UNSUPPORTED,  # a limit in bytes of this server's edge: another may take it
    424: Kind.SERVER_ERROR,  # Bedrock ModelErrorException
    425: Kind.SERVER_ERROR,
    429: Kind.RATE_LIMITED,
    451: Kind.AUTH_REJECTED,  # RFC 7725: not for who is asking, or not from there; others are elsewhere
    499: Kind.SERVER_ERROR,  # Gemini CANCELLED: cut off on the way, by nobody we know
    498: Kind.OVERLOADED,  # Groq: no room in its flex tier
    511: Kind.UNREACHABLE,  # RFC 6585, 6: a captive portal's
    529: Kind.OVERLOADED,  # Anthropic overloaded_error: capacity across all callers
}

# Machine-readable types, written as their owners write them; compared in one spelling (`evidence.fold`).
_WORDS: Mapping[str, Kind] = {
    # Anthropic, the error's `type`
    "invalid_request_error": Kind.BAD_REQUEST,
    "authentication_error": Kind.AUTH_REJECTED,
    "billing_error": Kind.BILLING,
    "permission_error": Kind.AUTH_REJECTED,
    "not_found_error": Kind.MODEL_NOT_FOUND,
    "request_too_large": Kind.UNSUPPORTED,
    "rate_limit_error": Kind.RATE_LIMITED,
    "api_error": Kind.SERVER_ERROR,
    "timeout_error": Kind.SERVER_ERROR,
    "overloaded_error": Kind.OVERLOADED,
    # Anthropic, `error_code` in its details
    "linked_organization_billing_unavailable": Kind.BILLING,
    "linked_organization_spend_limit_reached": Kind.BILLING,
    "enforced_spend_limit_reached": Kind.BILLING,
    "contract_spend_limit_reached": Kind.BILLING,
    "organization_on_hold": Kind.BILLING,
    "ramp_limit_exceeded": Kind.RATE_LIMITED,
    # OpenAI, the error's `type` and `code`, Responses API included
    "context_length_exceeded": Kind.CONTEXT_OVERFLOW,
    "content_policy_violation": Kind.GUARDRAIL,
    "invalid_prompt": Kind.GUARDRAIL,
    "bio_policy": Kind.GUARDRAIL,
    "misalignment_policy_violation": Kind.GUARDRAIL,
    "image_content_policy_violation": Kind.GUARDRAIL,
    "data_residency_mismatch": Kind.AUTH_REJECTED,
    "vector_store_timeout": Kind.SERVER_ERROR,
    "invalid_image": Kind.BAD_REQUEST,
    "invalid_base64_image": Kind.BAD_REQUEST,
    "image_parse_error": Kind.BAD_REQUEST,
    "empty_image_file": Kind.BAD_REQUEST,
    # Another provider takes other formats and sizes, and may reach what this one cannot.
    "invalid_image_format": Kind.UNSUPPORTED,
    "invalid_image_mode": Kind.UNSUPPORTED,
    "unsupported_image_media_type": Kind.UNSUPPORTED,
    "image_too_large": Kind.UNSUPPORTED,
    "image_too_small": Kind.UNSUPPORTED,
    "image_file_too_large": Kind.UNSUPPORTED,
    "invalid_image_url": Kind.UNSUPPORTED,
    "failed_to_download_image": Kind.UNSUPPORTED,
    "image_file_not_found": Kind.UNSUPPORTED,
    # Azure, the error's `code`, and that of its `innererror`
    "content_filter": Kind.GUARDRAIL,
    "ResponsibleAIPolicyViolation": Kind.GUARDRAIL,
    "invalid_api_key": Kind.AUTH_REJECTED,
    "unsupported_country_region_territory": Kind.AUTH_REJECTED,
    "model_not_found": Kind.MODEL_NOT_FOUND,
    "rate_limit_exceeded": Kind.RATE_LIMITED,
    "insufficient_quota": Kind.BILLING,
    "credit_balance_exhausted": Kind.BILLING,
    "organization_spend_limit_exceeded": Kind.BILLING,
    "project_spend_limit_exceeded": Kind.BILLING,
    "organization_usage_limit_exceeded": Kind.BILLING,
    "server_error": Kind.SERVER_ERROR,
    "service_unavailable_error": Kind.SERVER_ERROR,
    "server_is_overloaded": Kind.OVERLOADED,
    "slow_down": Kind.OVERLOADED,
    # Azure
    "OperationNotSupported": Kind.UNSUPPORTED,
    # Groq
    "capacity_exceeded": Kind.OVERLOADED,
    "model_decommissioned": Kind.MODEL_NOT_FOUND,
    "organization_restricted": Kind.AUTH_REJECTED,
    # LiteLLM without a database, to a key that is not its own
    "no_db_connection": Kind.AUTH_REJECTED,
    # Mistral
    "invalid_model": Kind.MODEL_NOT_FOUND,
    # llama.cpp, with 501
    "not_supported_error": Kind.UNSUPPORTED,
    # Gemini, Vertex: `status`, and the `reason` of a detail. INVALID_ARGUMENT and FAILED_PRECONDITION need the text.
    "INVALID_ARGUMENT": Kind.BAD_REQUEST,
    "FAILED_PRECONDITION": Kind.BAD_REQUEST,
    "API_KEY_INVALID": Kind.AUTH_REJECTED,
    "BILLING_DISABLED": Kind.BILLING,
    "UNAUTHENTICATED": Kind.AUTH_REJECTED,
    "PERMISSION_DENIED": Kind.AUTH_REJECTED,
    "NOT_FOUND": Kind.MODEL_NOT_FOUND,
    "RESOURCE_EXHAUSTED": Kind.RATE_LIMITED,
    "INTERNAL": Kind.SERVER_ERROR,
    "UNAVAILABLE": Kind.SERVER_ERROR,
    "DEADLINE_EXCEEDED": Kind.SERVER_ERROR,
    "Too Many Requests": Kind.RATE_LIMITED,  # google-genai puts the reason phrase into `status`
    # Bedrock, the exception's name
    "ValidationException": Kind.BAD_REQUEST,
    "ServiceQuotaExceededException": Kind.BILLING,
    "AccessDeniedException": Kind.AUTH_REJECTED,
    "UnrecognizedClientException": Kind.AUTH_REJECTED,
    "InvalidSignatureException": Kind.AUTH_REJECTED,
    "IncompleteSignatureException": Kind.AUTH_REJECTED,
    "ExpiredTokenException": Kind.AUTH_REJECTED,
    "ResourceNotFoundException": Kind.MODEL_NOT_FOUND,
    "ModelTimeoutException": Kind.SERVER_ERROR,
    "ModelErrorException": Kind.SERVER_ERROR,
    "ModelStreamErrorException": Kind.SERVER_ERROR,
    "ThrottlingException": Kind.RATE_LIMITED,
    "ModelNotReadyException": Kind.OVERLOADED,
    "InternalServerException": Kind.SERVER_ERROR,
    "ServiceUnavailableException": Kind.SERVER_ERROR,
    # claude, `errorKind` in data (`unknown` says nothing: the text decides)
    "rate_limit": Kind.RATE_LIMITED,
    "overloaded": Kind.OVERLOADED,
    "invalid_request": Kind.BAD_REQUEST,
    "authentication_failed": Kind.AUTH_REJECTED,
    "oauth_org_not_allowed": Kind.AUTH_REJECTED,
    # codex: codex_error_info, codexErrorInfo. `other` says nothing; the keyed ones carry a status where they know it.
    "context_window_exceeded": Kind.CONTEXT_OVERFLOW,
    "usage_limit_exceeded": Kind.ACCOUNT_RATE_LIMITED,
    "usage_limit_reached": Kind.ACCOUNT_RATE_LIMITED,
    "server_overloaded": Kind.OVERLOADED,
    "internal_server_error": Kind.SERVER_ERROR,
    "unauthorized": Kind.AUTH_REJECTED,
    "bad_request": Kind.BAD_REQUEST,
    "http_connection_failed": Kind.SERVER_ERROR,
    "response_stream_connection_failed": Kind.SERVER_ERROR,
    "response_stream_disconnected": Kind.SERVER_ERROR,
    "response_too_many_failed_attempts": Kind.SERVER_ERROR,
    # opencode, `errorName` in data (its APIError is read as api_error above, which text may refine)
    "ProviderAuthError": Kind.AUTH_REJECTED,
    # Node and libuv, in `code`: the agent could not reach its provider
    "ECONNREFUSED": Kind.UNREACHABLE,
    "ECONNRESET": Kind.UNREACHABLE,
    "ECONNABORTED": Kind.UNREACHABLE,
    "ETIMEDOUT": Kind.UNREACHABLE,
    "ENOTFOUND": Kind.UNREACHABLE,
    "EAI_AGAIN": Kind.UNREACHABLE,
    "EHOSTUNREACH": Kind.UNREACHABLE,
    "ENETUNREACH": Kind.UNREACHABLE,
    "EPIPE": Kind.UNREACHABLE,
}
WORDS: Mapping[str, Kind] = {fold(word): kind for word, kind in _WORDS.items()}

# What later evidence may make of earlier: a proxy's 500 may wrap anything, a 401 is never a server's fault.
FINER: Mapping[Kind, frozenset[Kind]] = {
    Kind.BAD_REQUEST: frozenset(
        {
            Kind.CONTEXT_OVERFLOW,
            Kind.BILLING,
            Kind.ACCOUNT_RATE_LIMITED,
            Kind.AUTH_REJECTED,
            Kind.AUTH_MISSING,
            Kind.MODEL_NOT_FOUND,
            Kind.GUARDRAIL,
            Kind.UNSUPPORTED,
        }
    ),
    Kind.SERVER_ERROR: frozenset(
        {
            Kind.OVERLOADED,
            Kind.RATE_LIMITED,
            Kind.ACCOUNT_RATE_LIMITED,
            Kind.BILLING,
            Kind.AUTH_REJECTED,
            Kind.CONTEXT_OVERFLOW,
            Kind.MODEL_NOT_FOUND,
            Kind.BAD_REQUEST,
            Kind.UNREACHABLE,
            Kind.UNSUPPORTED,
            Kind.GUARDRAIL,
        }
    ),
    # OpenAI says "slow_down" with a 503, and with a 429 where one's own limit is meant.
    Kind.OVERLOADED: frozenset({Kind.RATE_LIMITED}),
    # A server's limit in bytes is one thing, a model's in tokens another.
    Kind.UNSUPPORTED: frozenset({Kind.CONTEXT_OVERFLOW}),
    Kind.RATE_LIMITED: frozenset({Kind.ACCOUNT_RATE_LIMITED, Kind.BILLING, Kind.CONTEXT_OVERFLOW, Kind.OVERLOADED}),
    # A 402 that names a window ("weekly limit") opens again by itself.
    Kind.BILLING: frozenset({Kind.ACCOUNT_RATE_LIMITED}),
    # Some answer 403 where a plan's limit is reached (Kimi).
    Kind.AUTH_REJECTED: frozenset(
        {Kind.AUTH_MISSING, Kind.BILLING, Kind.ACCOUNT_RATE_LIMITED, Kind.MODEL_NOT_FOUND, Kind.GUARDRAIL}
    ),
    # -32000 is also the code that JSON-RPC libraries give to any error of the application's.
    Kind.AUTH_MISSING: frozenset(
        {Kind.AUTH_REJECTED, Kind.BILLING, Kind.ACCOUNT_RATE_LIMITED, Kind.RATE_LIMITED, Kind.OVERLOADED}
    ),
}
