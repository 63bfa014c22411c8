"""The broker's own log: one JSON object per line, to stderr for people who watch, to a file for `stdio`.

A line never holds a secret or a prompt: callers pass names, numbers and texts that were redacted before.
"""

import os
import select
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from acp_broker.clock import Clock

# A file past this size is set aside once, as NAME.1, when the log is opened.
ROTATE_BYTES = 10 * 1024 * 1024

Level = Literal["debug", "info", "warning", "error"]
_ORDER: tuple[Level, ...] = ("debug", "info", "warning", "error")
# What is not named here is info.
_LEVELS: Mapping[str, Level] = {
    "broker_fault": "error",
    "login_lost": "error",
    "login_not_kept": "error",
    "loop_fault": "error",
    "accept_failed": "warning",
    "agent_odd_line": "warning",
    "attempt_failed": "warning",
    "backend_died": "warning",
    "bad_message": "warning",
    "bad_notification": "warning",
    "certificate_refused": "warning",
    "child.survived": "warning",
    "claim_awaited": "warning",
    "claim_not_had": "warning",
    "claim_not_released": "warning",
    "claim_taken_over": "warning",
    "client_refused": "warning",
    "config_needs_restart": "warning",
    "config_refused": "warning",
    "config_warning": "warning",
    "frontend_lost": "warning",
    "frontend_stalled": "warning",
    "frontend_throttled": "warning",
    "guardian.died": "warning",
    "guardian.failed": "warning",
    "log_lines_lost": "warning",
    "login_not_renewed": "warning",
    "login_refused": "warning",
    "health_not_kept": "warning",
    "not_learnt": "warning",
    "not_synced": "warning",
    "turn_not_kept": "warning",
    "opened_without_primary": "warning",
    "token_unusable": "warning",
    "websocket_binary_ignored": "warning",
    "websocket_broken": "warning",
    "websocket_refused": "warning",
    "agent_notification": "debug",
}

_encode = msgspec.json.Encoder().encode

Field = str | float | bool | None | list[str]


class Log(Protocol):
    def __call__(self, event: str, **fields: Field) -> None:
        """Write one line. Never raises: a log that cannot be written must not end a turn."""


class LineLog:
    """Writes to a descriptor; events below `level` are left out.

    `may_block`: what the descriptor has no room for is dropped, and counted by `log_lines_lost`. Nobody reads that
    pipe, or somebody pressed Ctrl-S: a broker that waited for them would serve nobody.
    """

    def __init__(self, clock: Clock, fd: int, level: Level = "info", *, may_block: bool = False) -> None:
        self._clock = clock
        self._fd = fd
        self._below = frozenset(_ORDER[: _ORDER.index(level)])
        self._put = self._put_what_fits if may_block else self._put_all
        self._lost = 0
        self._is_torn = False

    def __call__(self, event: str, **fields: Field) -> None:
        level = _LEVELS.get(event, "info")
        if level in self._below:
            return
        known = {name: value for name, value in fields.items() if value is not None}
        head: dict[str, Field] = {"at": round(self._clock.wall(), 3), "level": level, "event": event}
        try:
            line = _encode({**head, **known})
        except UnicodeEncodeError:  # the name of a file need not be UTF-8
            line = _encode({**head, **{name: _escaped(value) for name, value in known.items()}})
        try:
            self._put(line + b"\n")
        except OSError:
            return

    def _put_all(self, line: bytes) -> None:
        os.write(self._fd, line)

    def _put_what_fits(self, line: bytes) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            log: Log = self
            log("log_lines_lost", count=lost)
            if self._lost:  # that one as well
                self._lost = lost + 1
                return
        whole = b"\n" + line if self._is_torn else line
        for begin in range(0, len(whole), select.PIPE_BUF):
            # POSIX, select: a pipe that is ready takes PIPE_BUF bytes at once.
            if not select.select((), (self._fd,), (), 0)[1]:
                self._lost, self._is_torn = 1, self._is_torn or begin > 0
                return
            os.write(self._fd, whole[begin : begin + select.PIPE_BUF])
        self._is_torn = False


def _escaped(value: Field) -> Field:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case list():
            return [text.encode(errors="backslashreplace").decode() for text in value]
        case _:
            return value


def to_stderr(clock: Clock, level: Level = "info") -> LineLog:
    return LineLog(clock, 2, level, may_block=True)


def to_file(clock: Clock, path: Path, level: Level = "info") -> LineLog:
    """Append to `path`, readable by its owner alone; falls back to stderr, with one line that says why."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > ROTATE_BYTES:
            path.replace(path.with_name(path.name + ".1"))
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        print(f"acp-broker: cannot write the log {path}: {error.strerror}; logging to stderr", file=sys.stderr)  # noqa: T201
        return to_stderr(clock, level)
    return LineLog(clock, fd, level)
