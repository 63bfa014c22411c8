"""What prose says of a failure: the phrases of providers, agents and networks, each row with its source.

Structure says the family (`signs`); a phrase may only choose a member of it, or speak where there is no structure.
"""

import re

from acp_broker.core.failures import FailureKind as Kind
from acp_broker.core.habits import Pattern


def _patterns(*rows: tuple[Kind, str]) -> tuple[Pattern, ...]:
    return tuple(Pattern(re.compile(regex, re.IGNORECASE), kind) for kind, regex in rows)


# Read from the top; the first row that fits and is allowed decides. The exact come before the vague.
TEXTS = _patterns(
    # Before every limit: "quota of context is exhausted: prompt is too long" is no quota.
    (Kind.CONTEXT_OVERFLOW, r"prompt is too long|input is too long"),  # Anthropic, claude; Bedrock
    (Kind.CONTEXT_OVERFLOW, r"context[ _]?length[ _]?exceeded|maximum context length"),  # OpenAI, vLLM, goose
    (
        Kind.CONTEXT_OVERFLOW,
        r"context[ _]?window[ _]?exceeded|exceeds? (?:the |this )?(?:model'?s? )?context window",
    ),  # OpenAI
    (Kind.CONTEXT_OVERFLOW, r"ran out of room in the (?:model's )?context window"),  # codex
    (Kind.CONTEXT_OVERFLOW, r"input token count .{0,40}exceeds the maximum"),  # Gemini
    (
        Kind.CONTEXT_OVERFLOW,
        r"context size has been exceeded|exceeds the available context size",
    ),  # LM Studio, llama.cpp
    (Kind.CONTEXT_OVERFLOW, r"when context (?:the )?overflows|context length of only \d"),  # LM Studio
    (Kind.CONTEXT_OVERFLOW, r"maximum prompt length is \d|greater than the context length"),  # xAI; LM Studio
    (Kind.CONTEXT_OVERFLOW, r"reduce the length of the messages|tokens \+ .{0,3}max_new_tokens"),  # Groq; Together
    (Kind.CONTEXT_OVERFLOW, r"context window exceeds limit|exceeded model token limit"),  # MiniMax; Kimi
    (Kind.CONTEXT_OVERFLOW, r"prompt too long; exceeded|range of input length should be"),  # Ollama; Alibaba
    (Kind.CONTEXT_OVERFLOW, r"上下文过长"),  # OpenClaw, ERROR_PATTERNS
    # Gemini's quota of a day is no matter of a minute, whatever it says of when to retry.
    (Kind.ACCOUNT_RATE_LIMITED, r"(?:current quota|quota exceeded|resource exhausted)[\s\S]{0,900}?PerDayPer"),
    # Gemini words a limit per minute as OpenAI words an empty purse, and adds when to come back.
    (Kind.RATE_LIMITED, r"exceeded your current quota[\s\S]{0,600}?(?:retry in \d|PerMinutePer)"),
    (
        Kind.BILLING,
        r"credit balance|insufficient[ _](?:credits?|funds|balance|quota)|credits? (?:are |is )?(?:exhausted|depleted)",
    ),
    (Kind.BILLING, r"billing_error|billing hard limit|exceeded[ _](?:your[ _])?current[ _]quota"),  # OpenAI, Moonshot
    (Kind.BILLING, r"spend(?:ing)?[ _](?:limit|cap)|key limit exceeded"),  # Google; OpenRouter
    (Kind.BILLING, r"requires more credits|out of credits"),  # OpenRouter
    (Kind.BILLING, r"out of extra usage"),  # Anthropic
    (Kind.RATE_LIMITED, r"extra usage is required for long"),  # Anthropic: a shorter conversation is served
    (Kind.BILLING, r"billing to be enabled|(?:please )?enable billing on|has billing disabled"),  # Google
    (Kind.BILLING, r"doesn't have any credits|account suspended"),  # xAI; Fireworks
    (Kind.BILLING, r"specified (?:workspace )?api usage limits"),  # Anthropic: a limit of one's own
    (Kind.BILLING, r"quota exceeded\. check your plan"),  # codex
    (Kind.BILLING, r"余额不足"),
    (
        Kind.ACCOUNT_RATE_LIMITED,
        r"usage[ _]limit|premium request limit|(?:hit|reached) your (?:\w+ )?limit",
    ),  # codex, claude
    (Kind.ACCOUNT_RATE_LIMITED, r"(?:hourly|daily|weekly|monthly|session|\d-hour) (?:\w+ ){0,2}limit"),  # claude, kimi
    (Kind.BILLING, r"trial (?:has |period )?(?:ended|expired|is over)|payment failed|update your (?:card|payment)"),
    (Kind.ACCOUNT_RATE_LIMITED, r"used (?:up )?all (?:of )?your [\w ]{1,40}|quota (?:is |was )?(?:exhausted|used up)"),
    (Kind.BILLING, r"payment required|account is in good standing"),  # HTTP; Alibaba
    (Kind.ACCOUNT_RATE_LIMITED, r"limit will reset|额度不足|已用尽"),
    (Kind.GUARDRAIL, r"content_policy_violation|content management policy|content[ _]filter"),  # OpenAI, Azure
    (Kind.GUARDRAIL, r"violat\w{0,5} .{0,40}polic(?:y|ies)|prohibited_content|guardrail_intervened"),  # Gemini, Bedrock
    (Kind.GUARDRAIL, r"violates usage guidelines"),  # xAI
    (Kind.GUARDRAIL, r"(?:input|prompt|message|request|content) was flagged"),  # OpenRouter
    (Kind.UNSUPPORTED, r"request_too_large|(?:entity|payload|content) too large"),  # Anthropic; HTTP 413
    (Kind.UNSUPPORTED, r"(?:does not|doesn't) support (?:image|audio|vision|tool)"),
    (Kind.UNSUPPORTED, r"(?:image|audio)s?(?: inputs?| content)? (?:is|are) not supported"),
    (Kind.UNSUPPORTED, r"input_(?:file|image|audio)['\"`]? (?:is|are) not supported"),  # llama.cpp
    # Google: "to access the model tunedModels/x", "denied on resource '//...googleapis.com/.../models/x'"
    (Kind.MODEL_NOT_FOUND, r"permission\b[^\n]{0,300}?\b(?:tuned)?models/[\w.@-]"),
    (Kind.AUTH_REJECTED, r"(?:invalid|incorrect|expired|revoked) (?:x-)?api[ _-]?key"),  # Anthropic, OpenAI, claude
    (
        Kind.AUTH_REJECTED,
        r"api key (?:is |was |has been )?(?:not valid|invalid|expired|revoked|disabled|deactivated|rejected)",
    ),  # Gemini
    (Kind.AUTH_REJECTED, r"authentication[ _]?error|authentication failed|failed to authenticate|认证失败"),
    (Kind.AUTH_REJECTED, r"\bunauthorized\b|\bunauthenticated\b|\b403 forbidden\b|permission_(?:error|denied)"),
    (
        Kind.AUTH_REJECTED,
        r"(?:oauth|access|bearer|refresh|auth)[ -]?token (?:\w+ ){0,3}(?:expired|revoked|invalid|failed)",
    ),
    (Kind.AUTH_REJECTED, r"invalid (?:bearer|access|refresh|auth|oauth)[ -]?token|oauth session expired"),
    (Kind.AUTH_REJECTED, r"(?:account|organization) (?:has been |is )?(?:deactivated|disabled|suspended)"),
    (
        Kind.AUTH_REJECTED,
        r"security token included in the request is (?:expired|invalid)|invalid subscription key",
    ),  # AWS, Azure
    (Kind.AUTH_REJECTED, r"access (?:is |was )?(?:denied|forbidden)(?! for user)"),
    (
        Kind.AUTH_REJECTED,
        r"(?:session|token|login|credentials?) (?:has |have )?expired|could not be refreshed|refresh token was",
    ),
    (
        Kind.AUTH_REJECTED,
        r"location is not supported|must be verified|use case details have not",
    ),  # Google; OpenAI; Bedrock
    (Kind.AUTH_REJECTED, r"permission '[\w.]{1,80}' denied"),  # Vertex
    (Kind.AUTH_REJECTED, r"not allowed for this organization|must be a member of an organization|IP not authorized"),
    (Kind.AUTH_MISSING, r"authentication required|not logged in|login required|please (?:log|sign) ?in"),
    (Kind.AUTH_MISSING, r"need to (?:log|sign) ?in|(?:log|sign) ?in first"),
    (Kind.AUTH_MISSING, r"(?:no|missing) (?:auth )?(?:api[ _]key|credentials?)\b|didn't provide an api key"),  # OpenAI
    (Kind.AUTH_MISSING, r"api[ _]key (?:is )?(?:missing|required|not (?:set|found|provided|configured))"),
    (Kind.RATE_LIMITED, r"rate[ _-]?limit|too[ _]many[ _](?:concurrent )?requests|throttl(?:ed|ing)"),
    (Kind.RATE_LIMITED, r"resource[ _](?:has been )?exhausted|quota (?:was |has been )?exceeded|quota_exceeded"),
    (Kind.RATE_LIMITED, r"requests too (?:quickly|fast|often)|limite de débit|rate-limited"),
    (Kind.RATE_LIMITED, r"rate limiting|limited to \d+ api calls|exceeded your api quota"),  # Together, Cohere
    (Kind.RATE_LIMITED, r"concurrent request limit|individual quota reached"),  # Kimi, Antigravity
    (Kind.RATE_LIMITED, r"tokens per (?:minute|day)|model_cooldown|service tier capacity exceeded"),  # ...; Mistral
    (Kind.RATE_LIMITED, r"请求过于频繁|调用频率|频率限制"),
    (
        Kind.OVERLOADED,
        r"overloaded|at capacity|over capacity|high (?:volume of )?(?:demand|load|traffic)|slow_down|服务过载",
    ),  # Anthropic, codex
    (
        Kind.OVERLOADED,
        r"model (?:is |was )?(?:\w+ )?(?:loading|unloaded|not (?:yet )?(?:loaded|ready)|temporarily down)",
    ),
    (Kind.OVERLOADED, r"\bloading model\b|model too busy"),  # llama.cpp; Hugging Face
    (Kind.OVERLOADED, r"\b(?:model|server|service|system) (?:is )?(?:currently |too )?busy\b"),
    (Kind.MODEL_NOT_FOUND, r"model[ _]?not[ _]?found|unknown model|no such model|not a valid model|invalid model name"),
    (Kind.MODEL_NOT_FOUND, r"\bmodels?\b.{0,100}?(?:does not exist|not found|is not (?:available|supported))"),
    (
        Kind.MODEL_NOT_FOUND,
        r"no endpoints found|not have access to (?:the )?model|api deployment .{0,40}does not exist",
    ),  # OpenRouter; Bedrock
    (Kind.MODEL_NOT_FOUND, r"\bmodels?\b.{0,100}?has been (?:retired|deprecated|removed)"),
    (
        Kind.MODEL_NOT_FOUND,
        r"not have access to (?:the )?model|model identifier is invalid|on-demand throughput",
    ),  # Bedrock
    (Kind.MODEL_NOT_FOUND, r"publisher model\b.{0,200}?is not servable|not allowed to use publisher model"),  # Vertex
    (Kind.CRASHED, r"\bexited with (?:code|signal)|\bpanicked at\b|agent (?:process )?(?:disconnected|exited|died)"),
    (Kind.CRASHED, r"(?:unknown|invalid|no such) session|session .{0,80}?(?:not found|expired|does not exist)"),
    (Kind.UNREACHABLE, r"\b(?:ECONN(?:REFUSED|RESET|ABORTED)|E?SOCKETTIMEDOUT|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EPIPE)\b"),
    (Kind.UNREACHABLE, r"\b(?:EHOST(?:UNREACH|DOWN)|ENET(?:UNREACH|DOWN|RESET)|UND_ERR_\w{1,30})\b"),
    (
        Kind.UNREACHABLE,
        r"fetch failed|socket hang up|network error|error sending request|\bspawn \S{1,200} E[A-Z]{3,10}\b",
    ),
    (
        Kind.UNREACHABLE,
        r"connection ?(?:error|refused|reset|closed|aborted|failed)|(?:unable|failed|could not) to connect",
    ),
    (Kind.UNREACHABLE, r"no such host|could not resolve host|dial tcp"),  # Go, curl
    (Kind.UNREACHABLE, r"\bunreachable\b|server disconnected|not connected to the internet|no internet connection"),
    (Kind.UNREACHABLE, r"cannot connect to host|connect call failed"),  # aiohttp
    (Kind.UNREACHABLE, r"could not connect|name resolution|getaddrinfo|queue owner unavailable"),  # ...; acpx
    (Kind.SERVER_ERROR, r"internal[ _]?server[ _]?error|server_error|server had an error|bad gateway"),
    (
        Kind.SERVER_ERROR,
        r"gateway time-?out|service[ _]?(?:is )?(?:temporarily )?unavailable|temporarily (?:unavailable|down)",
    ),
    (Kind.SERVER_ERROR, r"upstream (?:connect )?error|provider returned error|stream disconnected|stream_read_error"),
    (Kind.SERVER_ERROR, r"response payload is not completed"),  # aiohttp
    (Kind.SERVER_ERROR, r"premature close|stream (?:ended|closed) (?:unexpectedly|before|without)"),  # Node; SDKs
    (Kind.SERVER_ERROR, r"\btime(?:d )?out\b|APITimeoutError|deadline[ _]exceeded|operation was aborted"),
    (Kind.SERVER_ERROR, r"error (?:has )?occurred while processing|internal error has occurred"),  # OpenAI; Gemini
    (
        Kind.SERVER_ERROR,
        r"unable to process your request|requires more system memory|runner (?:process has|crashed)",
    ),  # Bedrock; Ollama
    (
        Kind.SERVER_ERROR,
        r"model provider error|failed to respond|unexpected end of stream|encountered an internal error",
    ),
    (Kind.SERVER_ERROR, r"without sending any chunks|\bterminated\b"),
    (Kind.GARBLED, r"(?:is not valid|invalid|malformed) json|unexpected token .{1,20} in json|malformed[ _]response"),
    (Kind.GARBLED, r"failed to (?:parse|decode) (?:the )?(?:json|response)|<!doctype html|<html"),
    (Kind.EMPTY_TURN, r"empty (?:response|answer|reply)|response (?:was|is) empty"),  # qwen
    # Last: it spends the whole turn.
    (Kind.BAD_REQUEST, r"invalid_request_error|invalid request format|string should match pattern|\bBadRequestError\b"),
)
