"""Failures dressed as answers: agents write their provider's failure as an ordinary message, then say `end_turn`.

Three questions, from cheap to strict. `looks_like_failure` is asked of a first chunk and may be wrong: what it holds
back waits 250 ms at most. `is_retry_notice` knows the agent's own "trying again". `judge` sees the whole answer.

`judge` calls an answer a failure only if all of this holds:

1. it ended as `end_turn` or `refusal`, and no `usage` says that a model has spoken;
2. it has a failure notice's shape: an agent's exact wording (`_GOOSE`, `_SHAPES`); an error label ("Error:", "Request
   failed:", a provider's JSON) before something that `classify` recognises; nothing but a provider's phrase ("Rate
   limit exceeded. Please try again later."); or, where `usage` is the habit and is missing, a recognised opening;
3. it does not explain ("means", "happens when", "you can fix"), ask, or lay out (fences, lists, headings, paragraphs),
   and it is short.

What it costs. An answer that merely *repeats* a notice ("what does the log say?" - "Error: rate limit
exceeded") is taken for one; nothing was shown or done yet, so another backend answers instead and the person still gets
an answer. A notice that explains, or that comes in several chunks, is missed; then the person reads it, as without us.
"""

import re

from acp_broker.core.classify import from_text
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.habits import UNKNOWN, Habits, Pattern
from acp_broker.core.names import StopReason
from acp_broker.core.redact import plain

# A notice with a provider's whole JSON in it; longer first chunks are answers.
_MAX_CHARS = 4_000
# Without an agent's exact wording: a label and a sentence or two.
_MAX_LABELLED = 1_000
_MAX_BARE = 300

# Marks that stand before a notice. Quotes, backticks and ">" are not among them: who quotes, talks about it.
_MARKS = " \t\r\n*_[(!•■❌⛔⚠️✖🚫🔴"
_LONGEST_OPENING = 32

# Lower case. From the shapes below, agents.md's exact shapes, and the providers' own sentences.
_OPENINGS = (
    "error",
    "api error",
    "llm error",
    "ran into this error",
    "an error occurred",
    "internal error",
    "internal server error",
    "server error",
    "provider error",
    "model error",
    "fatal:",
    "exceeded retry limit",
    "unexpected status",
    "stream disconnected",
    "stream error",
    "network error",
    "connection error",
    "unable to connect",
    "request failed",
    "request timed out",
    "request rejected",
    "rate limit",
    "too many requests",
    "service unavailable",
    "overloaded",
    "usage limit",
    "quota exceeded",
    "insufficient",
    "you've hit your",
    "you have hit your",
    "you've reached your",
    "you exceeded your",
    "claude ai usage limit",
    "claude usage limit",
    "credit balance",
    "your credit balance",
    "invalid api key",
    "incorrect api key",
    "not logged in",
    "please run /login",
    "oauth token",
    "authentication",
    "unauthorized",
    "prompt is too long",
    "selected model is at capacity",
    "the model is ",
    "the server is ",
    "the service is ",
    "http 4",
    "http 5",
    '{"error"',
    '{"type":"error"',
    '{"type": "error"',
)

_RETRY_OPENINGS = ("retry", "reconnect", "info:", "warning:", "attempt ", "api error", "rate limit", "error")

# pi: "Retrying (attempt 1/3, waiting 2s)...", "Retry finished, resuming."; codex: "Reconnecting... 1/5"
_COUNTED = r"(?:retrying|reconnecting)(?:\.{3}|…)?\s*\(?(?:attempt )?\d+\s?/\s?\d+[^)\n]{0,60}\)?(?:\.{3}|…)?"
_RESUMED = r"retry finished, resuming\."
# After a reason, as in "Info: (the reason). Retrying..." or "API Error (the reason) · Retrying in 5 seconds…"
_REASONED = r"(?:[^\n]{1,300}\b)?retrying(?: in \d[^\n]{0,60}| \([^\n]{0,60}\)\W*|\W{0,3})"
_RETRY = re.compile(rf"{_COUNTED}|{_RESUMED}|{_REASONED}", re.IGNORECASE)
# Some stand before the final notice, run together.
_LEADING_RETRY = re.compile(rf"\s*(?:{_COUNTED}|{_RESUMED})", re.IGNORECASE)

# Pinned at both ends by goose's own words: nobody else writes this, so nothing more is asked.
_GOOSE = re.compile(
    r"Ran into this error\b.*Please retry if you think this is a transient or recoverable error\.", re.DOTALL
)

# How agents' exact wordings begin, and what each means where its text says nothing more.
_SHAPES: tuple[Pattern, ...] = tuple(
    Pattern(re.compile(shape), kind)
    for shape, kind in (
        # claude
        (r"(?:Please run /login · )?API Error(?::| \()", FailureKind.UNCLASSIFIED),
        (r"Invalid API key · |OAuth (?:token|session) [\w ]{3,40} · ", FailureKind.AUTH_REJECTED),
        (r"Not logged in · ", FailureKind.AUTH_MISSING),
        (r"Claude (?:AI )?usage limit reached\b", FailureKind.ACCOUNT_RATE_LIMITED),
        (r"You've (?:hit|reached) your (?:[\w-]+ ){0,2}limit(?: ?[·∙.]|$)", FailureKind.ACCOUNT_RATE_LIMITED),
        (r"(?:Your )?[Cc]redit balance is too low\b", FailureKind.BILLING),
        (r"Prompt is too long\.?$", FailureKind.CONTEXT_OVERFLOW),
        # codex
        (r"exceeded retry limit, last status: \d{3}\b", FailureKind.SERVER_ERROR),
        (r"unexpected status \d{3}\b", FailureKind.SERVER_ERROR),
        (r"stream (?:disconnected before completion|error): ", FailureKind.SERVER_ERROR),
        (r"Selected model is at capacity\.", FailureKind.OVERLOADED),
        # openhands
        (r"Error: Conversation run failed for id=", FailureKind.UNCLASSIFIED),
    )
)

_LABEL = re.compile(
    r"(?:fatal |api |llm |provider |model |server |internal |request |connection |network )?"
    r"error\b[*_)\]]{0,3}(?: code)?\s?[:\u2013\u2014-]"
    r"|(?:request|completion|generation) failed\b[^.\n]{0,40}:"
    r"|an error occurred\b[^.\n]{0,60}[:.]"
    r"|fatal:|http [45]\d\d\b"
    r'|\{"error": ?[{"]|\{"type": ?"error"',
    re.IGNORECASE,
)

# Nothing but a phrase of a provider's, and perhaps the wish to try again.
_PHRASE = (
    r"(?:api )?rate limit (?:exceeded|reached)|usage limit reached|quota exceeded|too many requests"
    r"|(?:the )?(?:service|server|model) (?:is )?(?:currently |temporarily )?(?:unavailable|overloaded)|overloaded"
    r"|internal server error|connection error|request timed out"
    r"|unauthorized|authentication (?:required|failed)|(?:invalid|incorrect) api key"
)
_TRY_AGAIN = r"\s*(?:please )?(?:try|retry|wait)\b[^.\n]{0,80}[.!]?"
_BARE = re.compile(rf"(?:{_PHRASE})(?: ?\(\d{{3}}\))?[.!]?(?:{_TRY_AGAIN})?", re.IGNORECASE)

_EXPLAINS = re.compile(
    r"\b(?:means?|meaning|indicates?|refers? to|happens?|occurs?|usually|typically|often|for example|such as"
    r"|is (?:returned|sent|raised|thrown|what|one|an?|the)|are (?:returned|raised)"
    r"|to (?:fix|handle|avoid|solve|resolve)"
    r"|you (?:can|could|should|need to|may) (?:fix|handle|catch|wrap|add|use|retry|change|set)"
    r"|let me|let's|here(?:'s| is| are)|i(?:'ll|'ve|'d| will| have| would| see| think| found| fixed| added)"
    r"|in (?:the|your|this) (?:code|logs?|file|test|script|function|handler))\b",
    re.IGNORECASE,
)
_LAID_OUT = re.compile(r"```|\?\s*$|^\s{0,3}(?:[-*+]|\d+[.)]) |^#{1,6} |^>", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n\s*\n")


def looks_like_failure(text: str, habits: Habits = UNKNOWN) -> bool:
    """Whether a first chunk should be held until the next event settles what it is. Broad, and cheap for all others."""
    if len(text) > _MAX_CHARS:
        return False
    if text[:_LONGEST_OPENING].lstrip(_MARKS).lower().startswith(_OPENINGS):
        return True
    return any(notice.regex.match(text.lstrip(_MARKS)) for notice in habits.notices)


def is_retry_notice(text: str, habits: Habits = UNKNOWN) -> bool:
    """Whether a chunk is an agent's own word that it tries its provider again: a note, and evidence."""
    opens_so = text[:_LONGEST_OPENING].lstrip(_MARKS).lower().startswith(_RETRY_OPENINGS)
    if opens_so and _RETRY.fullmatch(text.strip(_MARKS)) is not None:
        return True
    return any(own.fullmatch(text.strip()) for own in habits.retrying)


def is_aside(text: str, habits: Habits) -> bool:
    """Whether a chunk is the adapter's own: a banner, a warning, a system prompt."""
    return any(own.match(text) for own in habits.asides)


def judge(
    words: str,
    stop_reason: StopReason,
    usage_present: bool | None,  # noqa: FBT001
    habits: Habits = UNKNOWN,
) -> Failure | None:
    """The failure that a whole held answer is, or None for an answer.

    `usage_present`: whether the result carries `usage`; False where it is the agent's habit and missing, None where no
    habit is known.
    """
    if usage_present or stop_reason not in ("end_turn", "refusal"):
        return None
    notice = _without_retries(words).strip()
    if not notice or len(notice) > _MAX_CHARS:
        return None
    unmarked = notice.lstrip(_MARKS)
    pinned = next((own.kind for own in habits.notices if own.regex.fullmatch(unmarked)), None)
    if pinned is not None or _GOOSE.fullmatch(unmarked):
        return _failure(notice, pinned or FailureKind.UNCLASSIFIED)
    shape = next((one.kind for one in (*habits.notices, *_SHAPES) if one.regex.match(unmarked)), None)
    if shape is None and not _has_failure_form(unmarked, is_usage_missing=usage_present is False):
        return None
    if _EXPLAINS.search(notice) or _LAID_OUT.search(notice):
        return None
    return _failure(notice, shape)


def _failure(notice: str, otherwise: FailureKind | None) -> Failure | None:
    said = from_text(notice, seen_at="submitted")
    if said is None and otherwise is not None:
        return Failure(otherwise, plain(notice), seen_at="submitted")
    return said


def _has_failure_form(notice: str, *, is_usage_missing: bool) -> bool:
    if _BARE.fullmatch(notice.rstrip(_MARKS)):
        return True
    if _LABEL.match(notice):
        return len(notice) <= _MAX_LABELLED and (notice.startswith("{") or not _PARAGRAPH.search(notice))
    return is_usage_missing and len(notice) <= _MAX_BARE and "\n" not in notice and looks_like_failure(notice)


def _without_retries(words: str) -> str:
    end = 0
    while (notice := _LEADING_RETRY.match(words, end)) is not None:
        end = notice.end()
    return words[end:]
