"""What an error's structure says, before anybody reads its prose: error types, HTTP statuses, waits, messages.

Providers nest: `{"error": {"type", "code", "status", "details": [...]}}`. Agents nest once more, and some put the
provider's JSON into a string. One bounded walk finds them all, in the order in which they were written.
"""

import re
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from acp_broker.core import retry_after

# Larger than any error object seen; beyond it the text alone is read.
_MAX_BYTES = 65_536
# Agent, adapter, SDK, gateway, provider, details: six levels, and some room.
_MAX_DEPTH = 12

# No error type is longer; a sentence under such a key is prose.
_MAX_WORD = 100

# Keys in folded form (see `fold`). What providers and agents call the machine-readable part of an error ...
_WORD_KEYS = frozenset(
    {"type", "code", "status", "reason", "kind", "name", "error", "errorcode", "errorkind", "errorname", "errortype"}
)
# ... its HTTP status ...
_STATUS_KEYS = frozenset(
    {"status", "statuscode", "httpstatus", "httpstatuscode", "code", "errorcode", "originalstatuscode"}
)
# ... its prose, and of which limit of Google's ...
_TEXT_KEYS = frozenset(
    {"message", "msg", "details", "detail", "error", "reason", "text", "cause", "body", "responsebody", "raw"}
    | {"quotaid", "statusmsg", "errormsg", "errormessage"}
)
# ... and how long to wait.
_WAIT_KEYS = frozenset({"retryafter", "retryafters", "retryafterseconds", "retrydelay", "resetsinseconds"})
_WAIT_MS_KEYS = frozenset({"retryafterms", "retryaftermilliseconds", "retrydelayms"})
# codex writes the type as a key: {"response_too_many_failed_attempts": {"http_status_code": 429}}.
_KEYED_BY_WORD = "codexerrorinfo"

_NOT_IN_WORDS = re.compile(r"[^a-z0-9]+")
_SUFFIX = re.compile(r"(?<=.)(?:error|exception)$")


class Evidence(Struct, frozen=True):
    """`words` as they were written, `statuses` of HTTP, `texts` is prose; each in the order found.

    `codes` are the words, and the numbers in their places.
    """

    words: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    wait_s: float | None = None
    codes: tuple[str, ...] = ()


def fold(word: str) -> str:
    """One spelling for all: rate_limit_error, RateLimitError and RATE_LIMIT are one word; a namespace is dropped."""
    return _SUFFIX.sub("", _NOT_IN_WORDS.sub("", word.rpartition("#")[2].lower()))


def is_status(number: float) -> bool:
    """Whether `number` can be the HTTP status of a failure."""
    return 400 <= number <= 599


def gather(*sources: bytes | str | None) -> Evidence:
    """What the JSON in each source says; a source that is not JSON, or too large, is prose."""
    words: list[str] = []
    statuses: list[int] = []
    texts: list[str] = []
    waits: list[float] = []
    codes: list[str] = []
    for source in sources:
        for key, leaf in _leaves("message", _decoded(source), _MAX_DEPTH):
            if isinstance(leaf, str):
                if key in _WORD_KEYS or key == _KEYED_BY_WORD:
                    words.append(leaf[:_MAX_WORD])
                if key in _TEXT_KEYS:
                    texts.append(leaf)
            if key in _WORD_KEYS or key in _STATUS_KEYS:
                codes.append(str(leaf)[:_MAX_WORD])
            if key in _STATUS_KEYS and is_status(number := _number(leaf)):
                statuses.append(int(number))
            if key in _WAIT_KEYS or key in _WAIT_MS_KEYS:
                wait = retry_after.of_value(leaf, is_ms=key in _WAIT_MS_KEYS)
                waits.extend([wait] if wait is not None else [])
    return Evidence(tuple(words), tuple(statuses), tuple(texts), max(waits, default=None), tuple(codes))


def _number(leaf: float | str) -> float:
    if isinstance(leaf, str):
        return int(leaf) if len(leaf) == 3 and leaf.isascii() and leaf.isdigit() else 0
    return leaf


def _leaves(key: str, value: object, depth: int) -> Iterator[tuple[str, float | str]]:
    """Every number and string with the folded key it stands under; strings that hold JSON are opened."""
    match value:
        case bool() | None:
            return
        case int() | float():
            yield key, value
        case str():
            inner = _embedded(value) if depth else None
            if inner is None:
                yield key, value
                return
            prose, inner_value = inner
            if prose:
                yield key, prose
            yield from _leaves(key, inner_value, depth - 1)
        case dict() if depth:
            for name, member in value.items():
                if key == _KEYED_BY_WORD:
                    yield key, str(name)
                yield from _leaves(_NOT_IN_WORDS.sub("", str(name).lower()), member, depth - 1)
        case list() if depth:
            for member in value:
                yield from _leaves(key, member, depth - 1)


def _embedded(text: str) -> tuple[str, object] | None:
    """The JSON object inside a message ('529 {"type":"error",...}') and the prose before it."""
    start, end = text.find("{"), text.rfind("}") + 1
    if start < 0 or end <= start or end - start > _MAX_BYTES:
        return None
    try:
        return text[:start].strip(), msgspec.json.decode(text[start:end])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _decoded(source: bytes | str | None) -> object:
    if not isinstance(source, bytes):
        return source
    if len(source) <= _MAX_BYTES:
        try:
            return msgspec.json.decode(source)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass
    return source[:_MAX_BYTES].decode("utf-8", "replace")
