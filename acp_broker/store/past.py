"""What a session's log tells of it, for whoever takes it up again: read once, whole, and in a thread.

`Past` is built from records alone. Nothing here changes a file.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from acp_broker.core.names import BackendId, SessionId, TurnId
from acp_broker.errors import StoreError
from acp_broker.store.log import read_records
from acp_broker.store.records import Record
from acp_broker.store.told import ended, started


class Kept(Struct):
    """A runtime's own memory of the session: under which id, and how many of the session's turns are in it."""

    fingerprint: str
    runtime_session: str | None
    turns: int = 0


class Past(Struct):
    """`unanswered` are the turns that were accepted and never got their reply, oldest first.

    `turns` are all that were accepted, `ids` the message and tool-call ids that its frontends know. `chosen` is what
    the user had set last, `kept` what runtimes remember.
    """

    session: SessionId
    cwd: str
    directories: tuple[str, ...] = ()
    title: str | None = None
    turns: list[TurnId] = field(default_factory=list)
    unanswered: dict[TurnId, None] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    chosen: Raw | None = None
    kept: dict[BackendId, Kept] = field(default_factory=dict)
    # Who was started last in the latest turn.
    by: BackendId | None = None


class Listed(Struct, frozen=True):
    """A session that is on the disk: when it was last written, in seconds since the epoch; how long its log is."""

    session: SessionId
    cwd: str
    at: float
    size: int


class _Update(Struct):
    kind: str | UnsetType = field(name="sessionUpdate", default=UNSET)
    message: str | None = field(name="messageId", default=None)
    call: str | None = field(name="toolCallId", default=None)
    title: str | None = None


class _Shown(Struct):
    update: _Update


_shown = msgspec.json.Decoder(_Shown).decode


def past(path: Path) -> Past:
    """Read a whole log. Raises StoreError for one that cannot be read, is no session log, or is newer than we are."""
    told = read_records(path)
    first = next(told, None)
    if first is None or first.record != "opened" or first.session is UNSET or first.cwd is UNSET:
        raise StoreError(f"{path}: no session log: its first line does not say which session was opened where")
    directories = () if first.directories is UNSET else first.directories
    found = Past(SessionId(first.session), first.cwd, directories)
    for record in told:
        _learn(found, record)
    return found


class Shelf:
    """The session logs of a folder. Each is opened once, to see whose it is: the first line of a log never changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[SessionId, str]] = {}

    def listed(self) -> list[Listed]:
        """The sessions, the one written last first. What is no session log is left out. Raises StoreError."""
        try:
            with os.scandir(self._folder) as entries:
                here = [entry for entry in entries if entry.name.endswith(".jsonl")]
        except FileNotFoundError:  # it is made with the first session
            return []
        except OSError as error:
            raise StoreError(f"cannot list the sessions in {self._folder}: {error.strerror}") from error
        known, self._known = self._known, {}
        found = [one for entry in here if (one := self._look(entry, known)) is not None]
        return sorted(found, key=lambda one: (-one.at, one.session))

    def _look(self, entry: "os.DirEntry[str]", known: Mapping[str, tuple[SessionId, str]]) -> Listed | None:
        try:
            if not entry.is_file(follow_symlinks=False):
                return None
            status = entry.stat()
        except OSError:  # deleted a moment ago
            return None
        whose = known.get(entry.name) or _whose(Path(entry.path))
        if whose is None:
            return None
        self._known[entry.name] = whose
        return Listed(*whose, status.st_mtime, status.st_size)


def _whose(path: Path) -> tuple[SessionId, str] | None:
    first = _first(path)
    if first is None or first.session is UNSET or first.cwd is UNSET:
        return None
    return SessionId(first.session), first.cwd


def _first(path: Path) -> Record | None:
    try:
        return next(read_records(path), None)
    except StoreError:  # whoever opens it is told what is wrong with it
        return None


def _learn(found: Past, record: Record) -> None:
    match record.record:
        case "accepted" if record.turn is not UNSET:
            found.turns.append(TurnId(record.turn))
            found.unanswered[TurnId(record.turn)] = None
            found.by = None
        case "step" if record.commands is not UNSET:
            found.by = started(record.commands) or found.by
        case "remembered" if record.backend is not UNSET and record.fingerprint is not UNSET:
            session = record.runtime_session if record.runtime_session is not UNSET else None
            found.kept[BackendId(record.backend)] = Kept(record.fingerprint, session)
        case "answer" if record.turn is not UNSET:
            found.unanswered.pop(TurnId(record.turn), None)
            if found.by in found.kept and ended(record.frame) != "failed":
                found.kept[found.by].turns = len(found.turns)
        case "interrupted" if record.turn is not UNSET:
            found.unanswered.pop(TurnId(record.turn), None)
        case "chosen" if record.chosen is not UNSET:
            found.chosen = record.chosen
    for params in record.updates or ():
        try:
            update = _shown(params).update
        except msgspec.DecodeError:
            continue
        found.ids.update(one for one in (update.message, update.call) if one is not None)
        if update.kind == "session_info_update" and update.title is not None:
            found.title = update.title
