"""Makes a transcript of a conversation: small, and with nothing in it of the machine that it was held on.

One JSON object a line: {"at": milliseconds since the agent was started, "by": "agent" or "client", "said": the
message}, or "odd" in place of "said" for a line that is no JSON. Ids are numbered in the order they appear.
"""

import getpass
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from matrix.install import ROOT
from matrix.peer import Line

# Command lists, models, modes: the first of them show what the others look like.
MOST_ITEMS = 2
MOST_CHARS = 1_200
# Of an agent that asks its provider hundreds of times: its beginning and its end.
FIRST_LINES, LAST_LINES = 60, 8

_IDS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # UUID
    r"|\b(?:ses|msg|prt|req|chatcmpl|resp|call)[-_](?=\w*\d)[0-9A-Za-z_-]{8,}"
    r"|\b[0-9A-HJKMNP-TV-Z]{26}\b"  # ULID
    r"|\b20\d{6}_\d+\b|\b[0-9a-f]{16,}\b"
)
_TIMES = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?")
_PORTS = re.compile(r"(127\.0\.0\.1|localhost):\d+")


def transcript(lines: Sequence[Line], folder: Path) -> Iterator[bytes]:
    """The lines as they are kept; `folder` is the cell's own."""
    scrub = _Scrub(folder)
    kept = lines if len(lines) <= FIRST_LINES + LAST_LINES else [*lines[:FIRST_LINES], *lines[-LAST_LINES:]]
    for line in kept:
        head = {"at": round(line.at_s * 1000), "by": "agent" if line.is_of_agent else "client"}
        text = scrub(line.text.decode(errors="replace"))
        try:
            said = _short(msgspec.json.decode(text))
        except msgspec.DecodeError:
            yield msgspec.json.encode({**head, "odd": text[:MOST_CHARS]})
        else:
            yield msgspec.json.encode({**head, "said": said})


class _Scrub:
    def __init__(self, folder: Path) -> None:
        home = str(Path.home())
        names = {
            str(folder / "work"): "/project",
            str(folder): "/home/user",
            str(ROOT.resolve()): "/agents",
            str(ROOT): "/agents",
            home: "/home/user",
        }
        self._names = sorted(names.items(), key=lambda pair: -len(pair[0]))
        self._words = [re.compile(rf"\b{re.escape(name)}\b") for name in (socket.gethostname(), getpass.getuser())]
        self._ids: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        for name, ours in self._names:
            text = text.replace(name, ours)
        for word in self._words:
            text = word.sub("user", text)
        text = _PORTS.sub(r"\1:1", text)
        text = _TIMES.sub("2026-01-01T00:00:00Z", text)
        return _IDS.sub(lambda found: self._ids.setdefault(found[0], f"id-{len(self._ids) + 1}"), text)


def _short(value: object) -> object:
    match value:
        case dict():
            return {key: _short(one) for key, one in value.items()}
        case list():
            return [_short(one) for one in value[:MOST_ITEMS]]
        case str() if len(value) > MOST_CHARS:
            return value[:MOST_CHARS] + "…"
        case _:
            return value
