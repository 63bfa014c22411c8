"""One way in which a provider fails: what it is called, the bytes that come, and what they must be taken for."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from msgspec.json import encode, format  # noqa: A004 - the name there

from tests.support.provider.wire import chunk, head

# What the broker's wall clock says while a case runs: 20 November 2026, 18:00:00 GMT.
WALL = 1_795_197_600.0
DATE = "Fri, 20 Nov 2026 18:00:30 GMT"
_EVENTS = "text/event-stream; charset=utf-8"


class Case(NamedTuple):
    """`expected` is a failure's kind, or a stop reason where it is no failure; `wait_s` is what it asks to wait."""

    what: str
    expected: str
    answer: bytes
    wait_s: float | None = None
    end: Literal["closed", "reset"] = "closed"


class Provider(NamedTuple):
    """Whose failures these are, and the entry of config.json (without its address) that asks it."""

    name: str
    entry: Mapping[str, object]
    cases: tuple[Case, ...]
    note: str = ""


def status(number: int, body: object, *, is_pretty: bool = False, **headers: str) -> bytes:
    """An answer with a failing status. `body` is JSON, or text as it is; `_` in a header's name is `-`."""
    text = body.encode() if isinstance(body, str) else encode(body)
    kind = "application/json" if not isinstance(body, str) or body.startswith("{") else "text/plain; charset=utf-8"
    if text.lstrip().startswith(b"<"):
        kind = "text/html; charset=utf-8"
    if is_pretty:
        text = format(text, indent=2)
    return head(number, kind, len(text), _named(headers)) + text


def stream(*parts: bytes, **headers: str) -> bytes:
    """A 200 whose body is these events, ended as HTTP ends one."""
    return head(200, _EVENTS, None, _named(headers)) + b"".join(map(chunk, parts)) + chunk(b"")


def cut(*parts: bytes) -> bytes:
    """The same, without the end of the body."""
    return stream(*parts)[: -len(chunk(b""))]


def data(value: object) -> bytes:
    """One event without a name; a text is written as it is."""
    return b"data: %b\n\n" % (value.encode() if isinstance(value, str) else encode(value))


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {"connection": "close", **{name.replace("_", "-"): value for name, value in headers.items()}}
