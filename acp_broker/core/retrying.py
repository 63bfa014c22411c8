"""An agent's word that it tries its provider again: evidence that the provider has failed, and no output.

It comes as a message or a thought, in the `_meta` of an update, or as a notification of the agent's own. Words that are
taken for one are held as a note, and the wait for the first output is cut to `Limits.retrying`: so the patterns want a
counter, a pause, or dots behind "retrying". "The request timed out. Retrying." is what people say as well.
"""

import re

from acp_broker.core.habits import UNKNOWN, Habits
from acp_broker.core.openings import MARKS, OPENINGS, begin, by_head
from acp_broker.core.talk import TALKS

# How a chunk may begin that says so, beside all that begins as a failure does.
RETRY_OPENINGS = (
    "retry",
    "re-try",
    "reconnect",
    "trying again",
    "info:",
    "warning:",
    "waiting",
    "backing off",
    "attempt ",
    "openai",
    "anthropic",
    "claude",
    "gemini",
)
_BY_HEAD = by_head((*OPENINGS, *RETRY_OPENINGS))
_MAX_CHARS = 1_000

# pi: "Retrying (attempt 1/3, waiting 2s)...", "Retry finished, resuming."; codex: "Reconnecting... 1/5"
_COUNTED = r"(?:retrying|reconnecting)(?:\.{3}|…)?\s*\(?(?:attempt )?\d+\s?/\s?\d+[^)\n]{0,60}\)?(?:\.{3}|…)?"
_RESUMED = r"retry finished, resuming\."
_TRIES = r"(?:re-?trying|reconnecting|(?<!before )trying again|(?:will|next) (?:re-?try|try again))"
_COUNT = r"(?:attempt |try |retry )?#?\d+ ?(?:/|of) ?\d+(?: attempts?)?"
_PAUSE = r"(?:in|after|for) (?:about )?\d[\d.]*\s?(?:s|sec(?:ond)?s?|ms|m|min(?:ute)?s?)\b"
# After a reason: "Info: (the reason). Retrying...", "API Error (the reason) · Retrying in 5 seconds… (attempt 1/10)"
_REASONED = (
    rf"(?:[^\n]{{1,300}}\b)?{_TRIES}"
    rf"(?: {_PAUSE}[^\n]{{0,60}}| \([^\n]{{0,60}}\)\W*|\W{{0,3}} ?\(?{_COUNT}\)?\W*|(?<!again)(?:\.{{3}}|…))"
)
# With the count before it: "Request failed (attempt 1/5), retrying with backoff".
_COUNTED_REASON = rf"[^\n]{{1,200}}\(?\b{_COUNT}\)?[^\n]{{0,40}}\b{_TRIES}\b[^\n]{{0,60}}"
_FOR_WHAT = r"(?:before|to|for) [^\n]{0,30}(?:re-?try|limit|reset)[^\n]{0,40}"
_WAITING = rf"(?:waiting|backing off) {_PAUSE}[^\n]{{0,30}} {_FOR_WHAT}"
_RETRY = re.compile(
    rf"(?:{_COUNTED}|{_RESUMED}|{_REASONED}|{_COUNTED_REASON}|{_WAITING}|[^\n]{{1,300}}\n{_REASONED})\.{{0,3}}",
    re.IGNORECASE,
)
# Some stand before the final notice, run together.
_LEADING = re.compile(rf"[\s*_]*(?:{_COUNTED}|{_RESUMED})", re.IGNORECASE)

# A notification's last word: `_session/retrying` (vibe). Not `_x/retry_policy`.
_METHOD = re.compile(
    r"(?:^|[/_.-])(?:is_?)?(?:retry|retrying|reconnecting|retry_?(?:attempt|scheduled|started|notice))$", re.IGNORECASE
)
# codex: `_meta.codex.error` holds {"message": "Reconnecting... 1/5", "willRetry": true}
_FLAGS = frozenset({"willRetry", "will_retry", "isRetrying", "is_retrying"})
_MAX_DEPTH = 6


def is_retry_notice(text: str, habits: Habits = UNKNOWN) -> bool:
    """Whether a chunk is an agent's own word that it tries its provider again."""
    opening = begin(text)
    if opening.startswith(_BY_HEAD.get(opening[:2], ())) and len(text) <= _MAX_CHARS:
        said = without_retries(text).strip(MARKS)
        if not said.strip(".") or (_RETRY.fullmatch(said) and not TALKS.search(said)):
            return True
    return bool(habits.retrying) and any(own.fullmatch(text.strip()) for own in habits.retrying)


def without_retries(words: str) -> str:
    """The words behind the retry notices that they begin with."""
    end = 0
    while (notice := _LEADING.match(words, end)) is not None:
        end = notice.end()
    return words[end:]


def is_retry_method(method: str) -> bool:
    """Whether a notification of an agent's own says so by its very name."""
    return _METHOD.search(method) is not None


def says_retry(value: object, depth: int = _MAX_DEPTH) -> bool:
    """Whether decoded JSON of an agent's own (`_meta`, a notification's params) says so anywhere."""
    match value:
        case str():
            return is_retry_notice(value)
        case dict() if depth:
            return any(member is True for name, member in value.items() if name in _FLAGS) or any(
                says_retry(member, depth - 1) for member in value.values()
            )
        case list() if depth:
            return any(says_retry(member, depth - 1) for member in value)
        case _:
            return False
