"""How failures begin: what tells nearly every chunk for an ordinary one, at the price of a look-up.

Broad on purpose: what they hold back is weighed by `doubt` before anything is decided.
"""

import re
from collections.abc import Iterable, Mapping

# Marks that stand before a notice. Quotes, backticks and ">" are not among them: who quotes, talks about it.
MARKS = " \t\r\n*_[(!•■❌✗✕✖\u00d7⛔⚠️❗‼🚫🔴🛑💥😞🥲😔⚡\u2139⏳🔁🔄↻⏺⎿"

# How failures begin, in lower case, after their marks. Broad: what they hold back waits for a second.
OPENINGS = (
    # labels
    "error",
    "erreur",
    "fehler",
    "ошибка",
    "错误",
    "エラー",
    "오류",
    "exception",
    "traceback (most",
    "api error",
    "api call",
    "api key",
    "api request",
    "llm ",
    "agent error",
    "agent failed",
    "agent terminated",
    "internal error",
    "internal server error",
    "server error",
    "provider ",
    "upstream ",
    "backend error",
    "gateway error",
    "model error",
    "stream error",
    "stream disconnected",
    "network error",
    "connection ",
    "unexpected error",
    "unexpected status",
    "unhandled",
    "unknown error",
    "fatal:",
    "fatal error",
    "failed to ",
    "failed after",
    "prompt failed",
    "turn failed",
    "retry failed",
    "maximum retry",
    "max retries",
    "exceeded retry limit",
    "request failed",
    "request timed out",
    "request rejected",
    "requests ",
    "the request ",
    "this request ",
    "completion failed",
    "generation failed",
    "something went wrong",
    "sorry",
    "oops",
    "an error ",
    "an internal error",
    "an unexpected error",
    "i encountered an",
    "i ran into an",
    "ran into this error",
    "there's an issue with the select",
    "there was an error",
    "there was a problem",
    "unable to connect",
    "could not connect",
    "couldn't connect",
    "cannot connect",
    # statuses
    "http 4",
    "http 5",
    "http/",
    "http error",
    *(f"{status} " for status in (*range(400, 432), 451, 499, *range(500, 512), *range(520, 531))),
    # limits, purses, keys
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many ",
    "throttl",
    "resource ",
    "resource_exhausted",
    "usage limit",
    "quota ",
    "5-hour limit",
    "weekly limit",
    "daily limit",
    "session limit",
    "you've hit your",
    "you have hit your",
    "you've reached your",
    "you have reached your",
    "you exceeded your",
    "you have exceeded",
    "your input exceeds",
    "your account",
    "claude ai usage limit",
    "claude usage limit",
    "credit balance",
    "your credit balance",
    "insufficient",
    "payment required",
    "key limit",
    "invalid api key",
    "invalid x-api-key",
    "invalid api-key",
    "incorrect api key",
    "no api key",
    "no auth",
    "not logged in",
    "please run /login",
    "please log in",
    "oauth ",
    "authentication",
    "access denied",
    "permission denied",
    "unauthorized",
    "unauthenticated",
    "forbidden",
    "the security token",
    # models and servers
    "service ",
    "overloaded",
    "capacity ",
    "selected model",
    "the model ",
    "this model",
    "that model",
    "model ",
    "models/",
    "publisher model",
    "invocation of model",
    "no endpoints",
    "no allowed providers",
    "no models",
    "the server ",
    "the service ",
    "the response was filtered",
    "the api ",
    "the provider ",
    "bedrock ",
    "anthropic api",
    "openai api",
    "gemini api",
    "llama runner",
    "trying to keep the first",
    "context ",
    "prompt is too long",
    "input is too long",
    "bad gateway",
    "gateway time",
    "timeout",
    "timed out",
    "请求过于",
    "余额不足",
    # what programs write
    "litellm.",
    "openai.",
    "anthropic.",
    "httpx.",
    "requests.",
    "google.",
    "botocore.",
    "java.",
    "ai_",
    "<html",
    "<!doctype html",
    '{"',
    '"{',
)

# `ThrottlingException: ...`, `litellm.RateLimitError: ...`: what no list of openings can hold.
_NAME = re.compile(r"\W*[\w.]*[a-z](?:Error|Exception)\b")

_MAX_BEGIN = 48


def begin(text: str) -> str:
    """How a text begins, after its marks, in lower case."""
    return text[:_MAX_BEGIN].lstrip(MARKS).lower()


def by_head(openings: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """The openings by their first two letters."""
    heads: dict[str, tuple[str, ...]] = {}
    for opening in openings:
        heads[opening[:2]] = (*heads.get(opening[:2], ()), opening)
    return heads


def names_an_error(text: str) -> bool:
    """Whether a text begins with an exception's name, and no sentence before it."""
    head = text[:_MAX_BEGIN]
    return ("Error" in head or "Exception" in head) and _NAME.match(head) is not None
