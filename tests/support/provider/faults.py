"""The ways in which a provider fails, by name.

Before any word:

- a status, `400` to `599`, with an error body as this provider writes it; `429;ra=2` adds `retry-after: 2`
- `refused`: nobody listens on the port
- `reset-headers`: the connection is reset (RST) when the request was read
- `err-first`: 200, then an error event
- `eof-first`: 200, the opening events, then the body ends, well-formed as HTTP
- `think-reset`: three words of reasoning, then RST
- `empty`: a whole answer with nothing in it
- `garbage`: 200 with a proxy's HTML page
- `stall-headers`, `stall-first`: silence when the request was read, or after the opening events

- `eof-headers`: the connection ends in the middle of the headers
- `stall-open`, `reset-open`, `eof-open`: 200 and its headers, then silence, RST, or the end of the body
- `err-role`: 200, the opening events, then an error event
- `too-long`, `filtered`, `quota`: refused as this provider refuses a prompt that is too long, one that its content
  filter stops (Gemini: a 200 that says so), and an account without credit

After three words: `err-mid`, `reset-mid`, `eof-mid`, `stall-mid`, likewise; `garbled-mid`: an event that is no JSON,
then the rest as if nothing had been.

And the healthy ones: `good`; `no-done`, without the `[DONE]` of Chat Completions; `tool-shell` and `tool-write` first
call the agent's tool for commands or for writing a file, and say their words when its result is there. With an agent
that offers no such tool they are `good`.

An answer that was not asked as a stream has no events: there `err-*` is a status 500; `eof-*`, `reset-mid` and
`stall-mid` break inside the body, whose length was told; `think-reset` and `stall-first` after the headers.
"""

import re
from enum import StrEnum

from msgspec import Struct


class Cut(StrEnum):
    """How an answer that stops early stops."""

    RESET = "reset"
    EOF = "eof"
    STALL = "stall"
    ERROR = "err"


class Where(StrEnum):
    """What was sent before it stops."""

    HEADERS = "headers"
    OPEN = "open"
    FIRST = "first"
    THINK = "think"
    MID = "mid"


# Of reasoning and of words, before an answer is cut.
SOONEST = 3

WHOLE = ("good", "empty", "tool-shell", "tool-write")
CUTS = {
    "reset-headers": (Cut.RESET, Where.HEADERS),
    "stall-headers": (Cut.STALL, Where.HEADERS),
    "err-first": (Cut.ERROR, Where.HEADERS),
    "eof-first": (Cut.EOF, Where.FIRST),
    "stall-first": (Cut.STALL, Where.FIRST),
    "think-reset": (Cut.RESET, Where.THINK),
    "err-mid": (Cut.ERROR, Where.MID),
    "reset-mid": (Cut.RESET, Where.MID),
    "eof-mid": (Cut.EOF, Where.MID),
    "stall-mid": (Cut.STALL, Where.MID),
}
# More of them, which agents are not held against.
ODD_CUTS = {
    "eof-headers": (Cut.EOF, Where.HEADERS),
    "stall-open": (Cut.STALL, Where.OPEN),
    "reset-open": (Cut.RESET, Where.OPEN),
    "eof-open": (Cut.EOF, Where.OPEN),
    "err-role": (Cut.ERROR, Where.FIRST),
}
REFUSALS = {"too-long": 400, "filtered": 400, "quota": 429}
ODD = (*ODD_CUTS, *REFUSALS, "garbled-mid", "no-done")
STATUSES = ("429", "429;ra=2", "503", "529", "401", "400", "402")
# Every name that the tables of this project use; any other status works as well.
NAMES = (*STATUSES, "refused", "garbage", *CUTS, *ODD, *WHOLE)

_STATUS = re.compile(r"([45]\d\d)(?:;ra=(\d+))?")


class Fault(Struct, frozen=True):
    """One of the ways above. `status` is 0 where the answer is a 200 or none; `retry_after` is in seconds."""

    name: str
    status: int = 0
    retry_after: int | None = None

    @property
    def is_refused(self) -> bool:
        return self.name == "refused"

    @property
    def cut(self) -> tuple[Cut, Where] | None:
        return CUTS.get(self.name) or ODD_CUTS.get(self.name)


def named(name: str) -> Fault:
    """The fault of this name; raises ValueError for one that does not exist."""
    if match := _STATUS.fullmatch(name):
        return Fault(name, int(match[1]), None if match[2] is None else int(match[2]))
    if name in NAMES:
        return Fault(name, REFUSALS.get(name, 0))
    raise ValueError(f"no such fault: {name}; a status such as 503, or one of {', '.join(NAMES)}")
