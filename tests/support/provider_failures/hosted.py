"""Those who sell other people's models, or their own, by Chat Completions: as their documents and their users tell."""

from msgspec.json import encode

from tests.support.provider_failures.case import Case, Provider, data, status, stream
from tests.support.provider_failures.openai import BEGUN, WORDS, ended, error

_TPM = "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9000."
_GONE = "The model `x` has been decommissioned and is no longer supported."
_TOO_LONG = "Please reduce the length of the messages or completion."


def _blamed(number: int, code: str | None, message: str) -> bytes:
    return status(number, error(message, "invalid_request_error", code))


GROQ = Provider(
    "Groq",
    {"kind": "openai", "preset": "groq", "model": "m"},
    (
        Case("400, `model_decommissioned`", "model_not_found", _blamed(400, "model_decommissioned", _GONE)),
        Case("400, too long", "context_overflow", _blamed(400, "context_length_exceeded", _TOO_LONG)),
        Case(
            "400, `organization_restricted`",
            "auth_rejected",
            _blamed(400, "organization_restricted", "Organization has been restricted. Please reach out to support."),
        ),
        Case("401", "auth_rejected", _blamed(401, "invalid_api_key", "Invalid API Key")),
        Case(
            "413, more at once than one's minute holds",
            "rate_limited",
            status(413, error(_TPM, "tokens", "rate_limit_exceeded")),
        ),
        Case(
            "429, the wait in words alone",
            "rate_limited",
            status(
                429, error("Rate limit reached on TPM. Please try again in 7.66s.", "tokens", "rate_limit_exceeded")
            ),
            7.66,
        ),
        Case(
            "498, no room in its flex tier",
            "overloaded",
            status(498, error("Flex tier capacity exceeded.", "invalid_request_error", "capacity_exceeded")),
        ),
    ),
)
DEEPSEEK = Provider(
    "DeepSeek",
    {"kind": "openai", "preset": "deepseek", "model": "m"},
    (
        Case(
            "400, too long",
            "context_overflow",
            _blamed(400, "invalid_request_error", "This model's maximum context length is 65536 tokens."),
        ),
        Case(
            "401",
            "auth_rejected",
            status(401, error("Authentication Fails (no such user)", "authentication_error", "invalid_request_error")),
        ),
        Case(
            "402, `Insufficient Balance`",
            "billing",
            status(402, error("Insufficient Balance", "unknown_error", "invalid_request_error")),
        ),
        Case("422", "bad_request", _blamed(422, "invalid_request_error", "Invalid temperature value")),
        Case("503", "overloaded", status(503, error("Service is too busy.", "service_unavailable_error"))),
        Case(
            "200, finish reason `insufficient_system_resource`",
            "overloaded",
            stream(b": keep-alive\n\n", BEGUN, ended("insufficient_system_resource")),
        ),
    ),
)


def _mistral(number: int, message: object, kind: str, code: str | None = None) -> bytes:
    return status(number, {"object": "error", "message": message, "type": kind, "param": None, "code": code})


_FORBIDDEN = [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "Extra inputs are not permitted", "input": 1}]
MISTRAL = Provider(
    "Mistral",
    {"kind": "openai", "preset": "mistral", "model": "m"},
    (
        Case("400, `invalid_model`", "model_not_found", _mistral(400, "Invalid model: x", "invalid_model", "1500")),
        Case(
            "400, too long",
            "context_overflow",
            _mistral(
                400,
                "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
                "invalid_request_error",
                "3051",
            ),
        ),
        Case("401", "auth_rejected", status(401, {"message": "Unauthorized", "request_id": "x"})),
        Case("422, a member that it does not know", "bad_request", _mistral(422, {"detail": _FORBIDDEN}, "x")),
        Case("429", "rate_limited", status(429, {"message": "Requests rate limit exceeded"})),
        Case(
            "429, `service_tier_capacity_exceeded`",
            "rate_limited",
            _mistral(429, "Service tier capacity exceeded for this model.", "service_tier_capacity_exceeded", "3505"),
        ),
        Case("500", "server_error", _mistral(500, "Service unavailable.", "internal_server_error", "1000")),
        Case("finish reason `error`", "server_error", stream(BEGUN, WORDS, ended("error"))),
        Case("finish reason `model_length`", "max_tokens", stream(BEGUN, WORDS, ended("model_length"))),
    ),
)


def _xai(number: int, code: str, told: str) -> bytes:
    return status(number, {"code": code, "error": told})


_INVALID, _MAY_NOT = "Client specified an invalid argument", "The caller does not have permission to execute this"
XAI = Provider(
    "xAI",
    {"kind": "openai", "preset": "xai", "model": "m"},
    (
        Case("400", "bad_request", _xai(400, _INVALID, "Messages must not be empty.")),
        Case("400, key unknown", "auth_rejected", _xai(400, _INVALID, "Incorrect API key provided: x***y.")),
        Case(
            "400, too long",
            "context_overflow",
            _xai(400, _INVALID, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
        ),
        Case(
            "403, no credits",
            "billing",
            _xai(403, _MAY_NOT, "Your newly created team doesn't have any credits yet."),
        ),
        Case(
            "403, its usage guidelines",
            "guardrail",
            _xai(403, _MAY_NOT, "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"),
        ),
        Case(
            "404",
            "model_not_found",
            _xai(404, "Some requested entity was not found", "The model x does not exist or your team may not use it."),
        ),
        Case("429", "rate_limited", _xai(429, "Some resource has been exhausted", "Too many requests for team x.")),
        Case(
            "429, spending limit",
            "billing",
            _xai(429, "Some resource has been exhausted", "Your team has reached its monthly spending limit."),
        ),
    ),
)
TOGETHER = Provider(
    "Together",
    {"kind": "openai", "preset": "together", "model": "m"},
    (
        Case("401", "auth_rejected", _blamed(401, "invalid_api_key", "Invalid API key provided.")),
        Case("402", "billing", status(402, error("Credit limit exceeded", "credit_limit"))),
        Case("404", "model_not_found", _blamed(404, "model_not_available", "Unable to access model x.")),
        Case(
            "422, too long",
            "context_overflow",
            _blamed(422, None, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193."),
        ),
        Case("429", "rate_limited", status(429, error("You have reached the rate limit", "rate_limit"))),
        Case("503", "overloaded", status(503, error("The server is overloaded or not ready yet.", "overloaded_error"))),
    ),
)
FIREWORKS = Provider(
    "Fireworks",
    {"kind": "openai", "preset": "fireworks", "model": "m"},
    (
        Case("401", "auth_rejected", _blamed(401, None, "The API key you provided is invalid.")),
        Case(
            "404",
            "model_not_found",
            _blamed(404, "NOT_FOUND", "Model not found, inaccessible, and/or not deployed"),
        ),
        Case(
            "412, suspended",
            "billing",
            _blamed(412, None, "Account x is suspended, possibly due to reaching the monthly spending limit."),
        ),
        Case("429", "rate_limited", status(429, error("Too many requests", "rate_limit_exceeded"))),
        Case("200, an error behind words", "server_error", stream(BEGUN, WORDS, data(error("Failed", "server_error")))),
    ),
)


def _litellm(number: int, kind: str | None, message: str) -> bytes:
    whole = f"litellm.{message}\n\nLiteLLM: model group 'm' failed with the error above. No fallback was attempted."
    return status(number, error(whole, kind, str(number)))


def _wrapped(name: str, message: str, kind: str, code: str | None) -> str:
    return f"{name}: Hosted_vllmException - {encode(error(message, kind, code)).decode()}"


_CUT = "Response payload is not completed: <TransferEncodingError: 400, message='Not enough data to satisfy it.'>."
_NOBODY = "InternalServerError: Cannot connect to host x:8000 ssl:default [Connect call failed ('x', 8000)]"
_RESTING = "No deployments available for selected model, Try again in 5 seconds."
LITELLM = Provider(
    "LiteLLM proxy",
    {"kind": "openai", "model": "m"},
    (
        Case(
            "400, of its provider",
            "bad_request",
            _litellm(
                400, "invalid_request_error", _wrapped("BadRequestError", "No.", "invalid_request_error", "invalid")
            ),
        ),
        Case(
            "400, a name that it does not know",
            "model_not_found",
            _blamed(400, "400", "/chat/completions: Invalid model name passed in model=x."),
        ),
        Case(
            "400, a key that is not its own",
            "auth_rejected",
            status(400, error("No connected db.", "no_db_connection", "400")),
        ),
        Case(
            "401, of its provider",
            "auth_rejected",
            _litellm(
                401,
                "authentication_error",
                _wrapped("AuthenticationError", "Incorrect API key.", "invalid_request_error", "invalid_api_key"),
            ),
        ),
        Case(
            "402, of its provider",
            "billing",
            _litellm(402, "invalid_request_error", _wrapped("APIError", "Pay.", "insufficient_quota", None)),
        ),
        Case("429, its models rest", "rate_limited", status(429, error(_RESTING, "throttling_error", "429")), 5.0),
        Case("500, its provider is not there", "unreachable", _litellm(500, "internal_server_error", _NOBODY)),
        Case(
            "200, its provider breaks off, before a word",
            "unreachable",
            stream(BEGUN, data(error(f"litellm.APIConnectionError: {_CUT}", None, "500"))),
        ),
        Case(
            "200, its provider breaks off, behind words",
            "unreachable",
            stream(BEGUN, WORDS, data(error(f"litellm.APIConnectionError: {_CUT}", None, "500"))),
        ),
    ),
    "A provider's stream that ends without a finish reason it ends well: nobody can see that from its answer.",
)
HOSTED = (GROQ, DEEPSEEK, MISTRAL, XAI, TOGETHER, FIREWORKS, LITELLM)
