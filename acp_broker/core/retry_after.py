"""How long a provider asks us to wait: from its fields, and from its words.

Lengths only. A point in time in a body ("try again at 3:28 PM", `resets_at`) is not read: such failures rest by the
ladder. One in a header is `http_failures`' to read.
"""

import re
from collections.abc import Mapping

_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

# The longest window any provider names is a week; more is a time stamp or a mistake, and the ladder knows better.
MAX_WAIT_S = 7 * 86_400.0

_UNIT = (
    r"(?:(?P<ms>ms|milliseconds?)|(?P<s>s|secs?|seconds?)|(?P<m>m|mins?|minutes?)|(?P<h>h|hrs?|hours?)|(?P<d>d|days?))"
)
_PIECE = re.compile(rf"(?P<number>\d{{1,12}}(?:\.\d{{1,9}})?)\s{{0,2}}{_UNIT}(?![a-z])[\s,]{{0,2}}", re.IGNORECASE)
_BARE = re.compile(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s*")

# "Please try again in 6m0s", "Please retry in 34.07s", "resets in 5 minutes", "try again in 3 days 6 hours 57 minutes"
_ASKED = re.compile(
    r"\b(?:try again|retry(?:ing)?|resets?|reset|available(?: again)?|wait)(?:[\s-](?:in|after))?[\s:=\"']{1,3}",
    re.IGNORECASE,
)
_BARE_AFTER = re.compile(r"retry[\s-]after[\s:=\"']{1,3}$", re.IGNORECASE)


def sane(seconds: float) -> float | None:
    """A wait that may be believed, else None."""
    return seconds if 0 < seconds <= MAX_WAIT_S else None


def of_value(value: float | str, *, is_ms: bool = False) -> float | None:
    """Seconds from a field's value: a number, a number as text, or a length: "34s" (Gemini), "6m0s" (OpenAI)."""
    if isinstance(value, str):
        bare = _BARE.fullmatch(value)
        if bare is None:
            return _length(value, 0)
        value = float(bare[1])
    # An absurd number is refused as it is: float() of a 400-digit integer raises.
    limit = MAX_WAIT_S / _SECONDS["ms"] if is_ms else MAX_WAIT_S
    return value * (_SECONDS["ms"] if is_ms else 1.0) if 0 < value <= limit else None


def of_text(text: str) -> float | None:
    """Seconds from the first place in a message that asks for a wait; a bare number counts only after "retry after"."""
    for asked in _ASKED.finditer(text):
        length = _length(text, asked.end())
        if length is not None:
            return length
        bare = _BARE.match(text, asked.end())
        if bare is not None and _BARE_AFTER.search(asked[0]):
            return sane(float(bare[1]))
    return None


def _length(text: str, start: int) -> float | None:
    total = 0.0
    piece = _PIECE.match(text, start)
    while piece is not None:
        total += float(piece["number"]) * next(_SECONDS[unit] for unit in _SECONDS if piece[unit])
        piece = _PIECE.match(text, piece.end())
    return sane(total)
