"""From an HTTP answer that is no answer to a `Failure`: status, error body and headers; and an error inside a 200.

The wait is the most exact one that was told: `retry-after-ms`, `retry-after` (seconds or a date), the reset of a limit
of which nothing remains (`x-ratelimit-*`, `anthropic-ratelimit-*`), the body's own fields, its words.
"""

import re
from collections.abc import Mapping

from msgspec.structs import replace

from acp_broker.core import retry_after
from acp_broker.core.classify import prose, weigh
from acp_broker.core.evidence import Evidence, fold, gather
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Phase
from acp_broker.core.redact import plain
from acp_broker.core.signs import STATUSES, WORDS

# What a proxy or a wrong address says, and no provider of a request that has reached it.
_NOT_REACHED = frozenset({405, 407, 421, 426})
# With a web page for a body these tell of who stands between, not of the request or its key.
_OF_A_PROXY = frozenset({400, 401, 403, 404, 413})
_TITLE = re.compile(r"<title[^>]{0,200}>(.{1,300}?)</title", re.IGNORECASE | re.DOTALL)
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|\?xml|!--)", re.IGNORECASE)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# RFC 9110, 5.6.7, IMF-fixdate; and RFC 3339 in UTC.
_HTTP_DATE = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_TIMESTAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|z|\+00:00)")
# A bare number above these is a point in time: seconds, milliseconds since the epoch.
_EPOCH_S, _EPOCH_MS = 1e9, 1e12


def from_http(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    wall: float,
    seen_at: Phase | None = "submitted",
) -> Failure:
    """What an answer with a failing status means. Header names are in lower case; `wall` is now, in seconds since the
    epoch. Never raises."""
    if is_page(body):
        return _of_page(status, headers, body, wall, seen_at)
    evidence = _blamed(gather(body), status)
    verdict = weigh(evidence, status, ())
    text = prose("", evidence)
    kind = verdict.kind or FailureKind.UNCLASSIFIED
    if status in _NOT_REACHED and kind is FailureKind.BAD_REQUEST:
        kind = FailureKind.UNREACHABLE
    wait = wait_of(headers, wall) or evidence.wait_s or retry_after.of_text(text)
    return Failure(kind, plain(f"{status}: {text}" if text else f"status {status}"), verdict.code, wait, seen_at)


def from_event(body: bytes, *, seen_at: Phase | None = "submitted") -> Failure:
    """What an error means that came inside an answer with status 200. Never raises."""
    evidence = gather(body)
    verdict = weigh(evidence, None, ())
    text = prose("", evidence)
    wait = evidence.wait_s or retry_after.of_text(text)
    kind = verdict.kind or FailureKind.UNCLASSIFIED
    return Failure(kind, plain(text) or "an error without a word", verdict.code, wait, seen_at)


def is_page(body: bytes) -> bool:
    """Whether a body is a web page, whatever its headers call it."""
    return _PAGE.match(body) is not None


def page_title(body: bytes) -> str:
    """What a web page says that it is."""
    found = _TITLE.search(body[:8_192].decode("utf-8", "replace"))
    return f"a web page: {plain(found[1])}" if found else "a web page"


def wait_of(headers: Mapping[str, str], wall: float) -> float | None:
    """How many seconds the headers ask to wait, if that is believable."""
    exact = retry_after.of_value(headers.get("retry-after-ms", ""), is_ms=True)
    return exact or _until(headers.get("retry-after", ""), wall) or _reset(headers, wall)


def _reset(headers: Mapping[str, str], wall: float) -> float | None:
    """When the last of the limits opens again of which nothing remains."""
    waits = [
        _until(value, wall)
        for name, value in headers.items()
        if "ratelimit" in name and "reset" in name and headers.get(name.replace("reset", "remaining")) == "0"
    ]
    return max([wait for wait in waits if wait is not None], default=None)


def _until(value: str, wall: float) -> float | None:
    """Seconds from now: of a number or a length ("6m0s"), a date, or a number that can only be a point in time."""
    if found := _HTTP_DATE.fullmatch(value.strip()):
        day, month, year, *time = found.groups()
        number = _MONTHS.index(month) + 1 if month in _MONTHS else 0
        return retry_after.sane(_epoch(int(year), number, int(day), *map(int, time)) - wall) if number else None
    if found := _TIMESTAMP.fullmatch(value.strip()):
        year, month, day, *time = found.groups()
        return retry_after.sane(_epoch(int(year), int(month), int(day), *map(int, time)) - wall)
    bare = value.strip()
    if bare.isascii() and bare.isdigit() and len(bare) <= 15 and float(bare) >= _EPOCH_S:
        return retry_after.sane((float(bare) / 1000 if float(bare) >= _EPOCH_MS else float(bare)) - wall)
    return retry_after.of_value(value)


def _epoch(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
    """Seconds since the epoch of a moment in UTC: the calendar's year is taken to begin with March."""
    years = year - (month <= 2)
    days = 365 * years + years // 4 - years // 100 + years // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719_469
    return float(((days * 24 + hour) * 60 + minute) * 60 + second)


def _blamed(evidence: Evidence, status: int) -> Evidence:
    """Without the words that blame the request, where the status blames something else."""
    if status in (400, 409, 413) or (status < 500 and status not in STATUSES):
        return evidence
    words = tuple(word for word in evidence.words if WORDS.get(fold(word)) is not FailureKind.BAD_REQUEST)
    return replace(evidence, words=words)


def _of_page(status: int, headers: Mapping[str, str], body: bytes, wall: float, seen_at: Phase | None) -> Failure:
    kind = weigh(Evidence(statuses=(status,)), None, ()).kind or FailureKind.GARBLED
    if status in _OF_A_PROXY or kind is FailureKind.BAD_REQUEST:
        kind = FailureKind.UNREACHABLE if status in _NOT_REACHED else FailureKind.GARBLED
    return Failure(kind, f"{status}: {page_title(body)}", str(status), wait_of(headers, wall), seen_at)
