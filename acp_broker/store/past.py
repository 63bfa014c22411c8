"""What a session's log tells of it, for whoever takes it up again: read once, whole, and in a thread.

`Past` is built from records alone. Nothing here changes a file.
"""

from pathlib import Path

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from acp_broker.core.names import BackendId, SessionId, TurnId
from acp_broker.errors import StoreError
from acp_broker.store.reading import read_records
from acp_broker.store.records import Record
from acp_broker.store.told import ended, started


class Kept(Struct):
    """A runtime's own memory of the session: under which id, how many of the session's turns are in it, and of which
    later ones the prompt."""

    fingerprint: str
    runtime_session: str | None
    turns: int = 0
    prompts: set[TurnId] = field(default_factory=set)


class Asked(Struct):
    """A prompt that came with a key, and the message that answered it, if any did."""

    digest: str
    turn: TurnId
    frame: Raw | None = None


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
    keyed: dict[str, Asked] = field(default_factory=dict)
    kept: dict[BackendId, Kept] = field(default_factory=dict)
    # Who was started last in the latest turn, and whether it may have read the prompt.
    by: BackendId | None = None
    is_submitted: bool = False


class Listed(Struct, frozen=True):
    """A session that is on the disk. `at`: when it was last written, in seconds since the epoch; `size`: its log's.

    `title` is what its agent called it, else how its first prompt begins; `backend` who was asked last.
    """

    session: SessionId
    cwd: str
    at: float
    size: int
    title: str | None = None
    turns: int = 0
    backend: BackendId | None = None


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


def _learn(found: Past, record: Record) -> None:
    match record.record:
        case "accepted" if record.turn is not UNSET:
            _accepted(found, TurnId(record.turn), record)
        case "step" if record.commands is not UNSET:
            _stepped(found, record, started(record.commands))
        case "remembered" if record.backend is not UNSET and record.fingerprint is not UNSET:
            session = record.runtime_session if record.runtime_session is not UNSET else None
            found.kept[BackendId(record.backend)] = Kept(record.fingerprint, session)
        case "answer" if record.turn is not UNSET:
            _answered(found, TurnId(record.turn), record)
        case "interrupted" if record.turn is not UNSET:
            found.unanswered.pop(TurnId(record.turn), None)
        case "chosen" if record.chosen is not UNSET:
            found.chosen = record.chosen
    for params in record.updates or ():
        _look(found, params)


def _stepped(found: Past, record: Record, by: BackendId | None) -> None:
    if by is not None:
        found.by, found.is_submitted = by, False
    event = bytes(record.event) if record.event is not UNSET else b""
    found.is_submitted |= bool(record.updates) or b'"submitted"' in event
    if found.is_submitted and found.by in found.kept and found.turns:
        found.kept[found.by].prompts.add(found.turns[-1])


def _accepted(found: Past, turn: TurnId, record: Record) -> None:
    found.turns.append(turn)
    found.unanswered[turn] = None
    found.by = None
    if record.key is not UNSET and record.digest is not UNSET:
        found.keyed[record.key] = Asked(record.digest, turn)


def _answered(found: Past, turn: TurnId, record: Record) -> None:
    found.unanswered.pop(turn, None)
    asked = next((one for one in reversed(found.keyed.values()) if one.turn == turn), None)
    if asked is not None and record.frame is not UNSET:
        asked.frame = record.frame
    if found.by in found.kept and found.is_submitted and ended(record.frame) != "failed":
        found.kept[found.by].turns = len(found.turns)
        found.kept[found.by].prompts.clear()


def _look(found: Past, params: Raw) -> None:
    try:
        update = _shown(params).update
    except msgspec.DecodeError:
        return
    found.ids.update(one for one in (update.message, update.call) if one is not None)
    if update.kind == "session_info_update" and update.title is not None:
        found.title = update.title
