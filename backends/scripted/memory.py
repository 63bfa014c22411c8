"""The file through which a new process knows the sessions of an earlier one: a JSON line per record, only appended."""

import os
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Raw, Struct


class Record(Struct, frozen=True, omit_defaults=True):
    """A session began, a turn of it began, or an update was shown in it."""

    session: str
    what: Literal["new", "turn", "shown"]
    update: Raw = Raw(b"null")


class Memory:
    """Several processes may share one file: each record is one append."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def keep(self, record: Record) -> None:
        os.write(self._fd, msgspec.json.encode(record) + b"\n")

    def records_of(self, session_id: str) -> list[Record]:
        """Everything that was kept of a session, oldest first; empty for one that nobody began."""
        records = msgspec.json.decode(b"[" + b",".join(self._path.read_bytes().splitlines()) + b"]", type=list[Record])
        return [record for record in records if record.session == session_id]
