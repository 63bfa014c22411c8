"""The lines of a session log: what each record holds, and the frames that a frontend is shown of it.

One JSON object per line. `record` names its kind; `at` is wall time in seconds. The log is the truth: a frontend's
frames are made from records and from nothing else, so that a cursor may read them from memory or from the file.

    opened    format, session, cwd, directories, broker: always the first line; `format` is what a reader must know.
              A later one: another process goes on with the session, or a full disk had room again
    accepted  turn, by, at, prompt, rest [, key, digest], rules: the prompt that was taken, from which frontend, and the
              rules that its machine steps by; `key` and `digest`: the frontend's own name for it, and what tells it
              from another prompt
    step      turn, now, event, commands [, updates]: one step of the machine; `updates` are the notification params
              it showed, in order; `now` is the turn's stopwatch
    shown     updates: shown outside of any step (settings, notices of our own)
    sent      to, frame: one message for one frontend: an agent's request, its withdrawal, an extension
    interrupted  turn, at [, over]: the broker was stopped while this turn ran, and steps that follow end it; `over`:
              it was killed, and nothing follows
    chosen    chosen: the modes and options that the user has set, all of them
    remembered  backend, fingerprint, runtime_session: under which id a runtime has begun a memory of its own of this
              session, with none of its turns in it
    answer    to, turn, at, frame: the reply to the prompt
"""

from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

FORMAT = 1

_OPEN = b'{"jsonrpc":"2.0","method":"session/update","params":'
_BETWEEN = b"}\n" + _OPEN
_CLOSE = b"}\n"
_INTERRUPTED = "[acp-broker] interrupted: the broker ended before this turn had its answer; nothing ran it again\n\n"


class Record(Struct):
    """Any record, read back; only the members its kind has are set."""

    record: Literal["opened", "accepted", "step", "shown", "sent", "interrupted", "chosen", "remembered", "answer"]
    at: float | UnsetType = UNSET
    format: int | UnsetType = UNSET
    session: str | UnsetType = UNSET
    cwd: str | UnsetType = UNSET
    directories: tuple[str, ...] | UnsetType = UNSET
    chosen: Raw | UnsetType = UNSET
    backend: str | UnsetType = UNSET
    fingerprint: str | UnsetType = UNSET
    runtime_session: str | UnsetType | None = UNSET
    turn: str | UnsetType = UNSET
    by: int | UnsetType = UNSET
    over: bool | UnsetType = UNSET
    now: float | UnsetType = UNSET
    prompt: Raw | UnsetType = UNSET
    key: str | UnsetType = UNSET
    digest: str | UnsetType = UNSET
    rules: Raw | UnsetType = UNSET
    event: Raw | UnsetType = UNSET
    commands: Raw | UnsetType = UNSET
    updates: list[Raw] | UnsetType = UNSET
    to: int | UnsetType = UNSET
    frame: Raw | UnsetType = UNSET


read = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode
# The newline is part of it: added to what may be megabytes, it would copy them.
_lines = msgspec.json.Encoder().encode_lines


def line(record: str, **members: object) -> bytes:
    """One record as its line."""
    return _lines(({"record": record, **members},))


def step_line(turn: str, now: float, event: bytes, commands: bytes, updates: list[bytes]) -> bytes:
    """A step; `event` and `commands` are JSON already. Kept apart from `line`: it is written for every read."""
    head = b'{"record":"step","turn":"%b","now":%.6f,"event":%b,"commands":%b' % (turn.encode(), now, event, commands)
    if not updates:
        return head + b"}\n"
    return b"".join((head, b',"updates":[', b",".join(updates), b"]}\n"))


def update_frames(updates: list[bytes]) -> bytes:
    """The `session/update` notifications for these params, one line each."""
    return b"".join((_OPEN, _BETWEEN.join(updates), _CLOSE))


def prompt_params(session: str, turn: str, prompt: Raw) -> list[bytes]:
    """A prompt's blocks as the params that frontends other than its own are shown."""
    name, message = _encode(session), _encode(f"prompt-{turn}")
    return [
        b'{"sessionId":%b,"update":{"sessionUpdate":"user_message_chunk","messageId":%b,"content":%b}}'
        % (name, message, bytes(block))
        for block in msgspec.json.decode(prompt, type=list[Raw])
    ]


def interruption(session: str, turn: str) -> bytes:
    """Words of ours about a turn that a broker's end has interrupted, as params."""
    content = {"type": "text", "text": _INTERRUPTED}
    update = {"sessionUpdate": "agent_message_chunk", "messageId": f"interrupted-{turn}", "content": content}
    return _encode({"sessionId": session, "update": update})


def frames(record: Record, session: str) -> tuple[int | None, bytes] | None:
    """Whom a record of this session is for and the lines it becomes; None for what nobody is shown.

    Whom: a frontend's number, None for everybody, or, negative, everybody but that frontend.
    """
    if record.updates:
        return None, update_frames([bytes(params) for params in record.updates])
    if record.record == "accepted" and isinstance(record.prompt, Raw):
        by = None if record.by is UNSET else -record.by
        return by, update_frames(prompt_params(session, str(record.turn), record.prompt))
    if record.over is True:
        return None, update_frames([interruption(session, str(record.turn))])
    if record.frame is not UNSET and record.to is not UNSET:
        return record.to, bytes(record.frame) + b"\n"
    return None


def is_for(to: int | None, reader: int) -> bool:
    """Whether a reader is among those whom `frames` names."""
    return to is None or to == reader or (to < 0 and -to != reader)
