"""What a runtime said, made fit for a log line and an error message: one line, short, without secrets."""

import re

MAX_CHARS = 500

# An agent may put a whole page of HTML into an error; what lies behind this is not the reason. It also bounds the cost.
_MAX_READ = 8_192

# Colours and other terminal commands: an error message must not be able to write on the reader's screen.
_TERMINAL = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]|[\x00-\x08\x0e-\x1b\x7f-\x9f]")

_REDACTED = "[redacted]"

# Keys are recognised by the shape their issuer gives them; the last rows catch those of issuers we do not know.
# Each has a minimum length, so that prose about keys ("a key that starts with sk-") stays readable.
_SECRETS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # OpenAI, Anthropic, OpenRouter; OpenAI's 401 quotes the key with asterisks in the middle.
        (r"\bsk-[\w*-]{6,}", _REDACTED),
        (r"\bAIza[\w-]{10,}|\bya29\.[\w-]{10,}", _REDACTED),  # Google: API key, access token
        (r"\bgh[opsur]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}", _REDACTED),  # GitHub, GitLab
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}", _REDACTED),  # AWS access key id
        (r"\b(?:gsk|hf|xai|pplx|nvapi|xox[abprs])[_-][\w-]{16,}", _REDACTED),  # Groq, Hugging Face, xAI, ..., Slack
        (r"\beyJ[\w-]{6,}(?:\.[\w-]{4,}){1,2}", _REDACTED),  # a JSON Web Token
        (r"(?i)\b(bearer|basic)\s+(?=\S{0,64}\d|\S{20})[\w.~+/=-]{8,}", rf"\1 {_REDACTED}"),  # RFC 9110, Authorization
        (r"://[^\s/@:]+:[^\s/@]+@", f"://{_REDACTED}@"),  # a password in an address
        (
            r"(?i)\b([\w-]{0,40}(?:key|token|secret|password)[\"']?\s*[=:]\s*[\"']?)(?=\S{0,64}\d|\S{20})[^\s\"',;&]{8,}",
            rf"\1{_REDACTED}",
        ),
        # Base64 has - _ + / inside; a path is told from it by its leading slash, a UUID by its 36 characters.
        (r"(?<![\w/.@+-])(?=[\w+/-]*\d)(?=[\w+/-]*[A-Z])(?=[\w+/-]*[a-z])[\w+/-]{40,}={0,2}", _REDACTED),
        (r"\b(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9]{32,}\b", _REDACTED),
    )
)


# What is shorter may stand in any text by chance, and is no secret that can be kept.
_SHORTEST = 6


def without(secret: str | None, text: str) -> str:
    """The text with this very secret hidden, whatever it looks like."""
    return text if secret is None or len(secret) < _SHORTEST else text.replace(secret, _REDACTED)


def plain(text: str, max_chars: int = MAX_CHARS) -> str:
    """Put `text` on one line, hide what looks like a secret, and cut it to `max_chars`."""
    readable = text[:_MAX_READ].encode("utf-8", "replace").decode()
    line = " ".join(_TERMINAL.sub("", readable).split())
    for pattern, replacement in _SECRETS:
        line = pattern.sub(replacement, line)
    return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + "…"
