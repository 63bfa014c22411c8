"""The first look at a chunk, before the commit point: what it seems to be, until what follows tells what it was.

It is asked of every chunk that may be a turn's first word, so nearly all are told by their first two letters.
"""

import re

from acp_broker.core.habits import UNKNOWN, Habits
from acp_broker.core.openings import MARKS, OPENINGS, begin, by_head, names_an_error
from acp_broker.core.retrying import RETRY_OPENINGS, is_retry_notice, without_retries
from acp_broker.core.weight import Weight

# A notice with a provider's whole JSON in it; longer first chunks are answers.
MAX_CHARS = 4_000

# A whole line that warns, and no words before or behind it.
_WARNING_OPENINGS = ("warn", "deprecat", "node:", "notice:")
_WARNING_MARKS = frozenset("⚠\u2139")
_WARNING = re.compile(
    r"\s*(?:[⚠\u2139]\ufe0f?\s*\S"
    r"|[*_\[(]{0,3}(?:warn(?:ing)?|deprecat(?:ed|ion warning)|notice)\b[*_\])]{0,3}\s?[:\u2013\u2014-]"
    r"|\(node:\d+\))[^\n]{1,400}(?:\n\s*|[.!…)*_])",
    re.IGNORECASE,
)
# openhands shows it as a thought before it asks its provider.
_SYSTEM_PROMPT = "system prompt:"

_FAILURES = by_head(OPENINGS)
# A first chunk may end in the middle of its opening. Shorter ones are every other answer's first word.
_LEAST_PIECE = 8
_PIECES = frozenset(opening[:end] for opening in OPENINGS for end in range(_LEAST_PIECE, len(opening)))
_ODD = by_head((*OPENINGS, *RETRY_OPENINGS, *_WARNING_OPENINGS))

# A chunk that is a sentence, and speaks of trouble, is worth a second look; tokens of a model are shorter.
_LEAST_SENTENCE = 24
_HEAD = 120
_TROUBLE = frozenset(
    word + end
    for word in (
        *("error", "errors", "exception", "failed", "failure", "fails", "limit", "limits", "limited", "rate-limited"),
        *("quota", "key", "credits", "balance", "billing", "overloaded", "unavailable", "busy", "traffic", "load"),
        *("demand", "capacity", "timed", "timeout", "exhausted", "denied", "rejected", "refused", "reach", "reached"),
        *("reaching", "unreachable", "disconnected", "internet", "expired", "invalid", "exceeded", "unauthorized"),
        *("quickly", "requests", "trial", "payment", "filter", "blocked", "model", "context", "used"),
    )
    for end in ("", ".", ",", ":", ")", "!")
)


def mentions_trouble(text: str) -> bool:
    """Whether a chunk that is a sentence or more speaks of what providers fail by, as it begins."""
    return len(text) >= _LEAST_SENTENCE and not _TROUBLE.isdisjoint(text[:_HEAD].lower().split())


def first_look(text: str, habits: Habits = UNKNOWN, *, is_thought: bool = False) -> Weight:
    """What a chunk that is not blank seems to be."""
    opening = begin(text)
    is_odd = opening.startswith(_ODD.get(opening[:2], ())) or opening in _PIECES or names_an_error(text)
    if not is_odd and text[0] not in _WARNING_MARKS and not is_thought and not _is_own(text, habits):
        return Weight.PLAIN
    if any(own.match(text) for own in habits.asides) or (is_thought and opening.startswith(_SYSTEM_PROMPT)):
        return Weight.ASIDE
    if is_retry_notice(text, habits):
        return Weight.RETRYING
    if _WARNING.fullmatch(text):
        return Weight.WARNING
    return Weight.DOUBTFUL if looks_like_failure(text, habits) else Weight.PLAIN


def _is_own(text: str, habits: Habits) -> bool:
    """Whether a text has a wording of this agent's; for all others nothing is looked at."""
    if habits is UNKNOWN:
        return False
    unmarked, stripped = text.lstrip(MARKS), text.strip()
    return (
        any(notice.regex.match(unmarked) for notice in habits.notices)
        or any(own.match(text) for own in habits.asides)
        or any(own.fullmatch(stripped) for own in habits.retrying)
    )


def looks_like_failure(text: str, habits: Habits = UNKNOWN) -> bool:
    """Whether a text begins as failures do. Broad: it may well be an answer."""
    if len(text) > MAX_CHARS:
        return False
    if len(without_retries(text)) < len(text):  # a retry notice, and something behind it
        return True
    opening = begin(text)
    if opening.startswith(_FAILURES.get(opening[:2], ())) or opening in _PIECES or names_an_error(text):
        return True
    return any(notice.regex.match(text.lstrip(MARKS)) for notice in habits.notices)
