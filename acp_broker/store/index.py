"""What is found fast of the sessions on the disk: an index in SQLite over their logs, and never the truth.

It is brought up to date whenever it is asked, from what the logs have grown by since; each log is read once, in all
processes together. One that is missing, broken, or of another version is made anew from the logs. Blocks: use a thread.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from acp_broker.core.names import BackendId, SessionId
from acp_broker.errors import StoreError
from acp_broker.store.past import Listed
from acp_broker.store.records import Record, read
from acp_broker.store.told import prompt_text, started

FILE = "index.db"
VERSION = 1
# Another process brings it up to date at the same time: it is as fast as we are.
BUSY_S = 5.0
# As much of a first prompt as stands for a title that nobody gave.
TITLE_CHARACTERS = 80

_TABLE = """
CREATE TABLE sessions (
  name TEXT PRIMARY KEY, session TEXT NOT NULL, cwd TEXT NOT NULL, at REAL NOT NULL, size INTEGER NOT NULL,
  done INTEGER NOT NULL, title TEXT, first TEXT, turns INTEGER NOT NULL, backend TEXT
) WITHOUT ROWID
"""
_COLUMNS = "name, session, cwd, at, size, done, title, first, turns, backend"


class _Row(Struct, array_like=True):
    """One log, as far as it was read: up to byte `done`."""

    name: str
    session: str
    cwd: str
    at: float
    size: int
    done: int = 0
    title: str | None = None
    first: str | None = None
    turns: int = 0
    backend: str | None = None


class _Update(Struct):
    kind: str | UnsetType = field(name="sessionUpdate", default=UNSET)
    title: str | None = None


class _Shown(Struct):
    update: _Update


_shown = msgspec.json.Decoder(_Shown).decode


class Index:
    """The sessions of the folder `home`/sessions, indexed in `home`."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._folder = home / "sessions"

    def listed(self) -> list[Listed]:
        """The sessions, the one written last first. What is no session log is left out. Raises StoreError."""
        if not self._folder.exists():  # it is made with the first session
            return []
        try:
            rows = self._refreshed(self._path)
        except sqlite3.OperationalError:  # a full disk, a read-only one: what cannot be kept is found out all the same
            rows = self._refreshed(None)
        except sqlite3.DatabaseError:
            self.remove()
            rows = self._refreshed(self._path)
        found = [
            Listed(
                SessionId(row.session),
                row.cwd,
                row.at,
                row.size,
                row.title or row.first,
                row.turns,
                BackendId(row.backend) if row.backend is not None else None,
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: (-one.at, one.session))

    def remove(self) -> None:
        """Forget everything: the next look reads all logs again. Raises StoreError."""
        try:
            for ending in ("", "-wal", "-shm"):
                self._path.with_name(FILE + ending).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove the index {self._path}: {error.strerror}") from error

    def _refreshed(self, path: Path | None) -> list[_Row]:
        with closing(_opened(path)) as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM sessions").fetchall()  # noqa: S608 - our own names
            known = {row.name: row for row in (_Row(*values) for values in rows)}
            here = dict(self._looked_at(known))
            news = [row for row in here.values() if row is not known.get(row.name)]
            gone = [(name,) for name in known.keys() - here.keys()]
            if news or gone:
                database.execute("BEGIN IMMEDIATE")
                marks = ", ".join("?" * len(_Row.__struct_fields__))
                insert = f"INSERT OR REPLACE INTO sessions ({_COLUMNS}) VALUES ({marks})"  # noqa: S608
                database.executemany(insert, [msgspec.structs.astuple(row) for row in news])
                database.executemany("DELETE FROM sessions WHERE name = ?", gone)
                database.execute("COMMIT")
            return list(here.values())

    def _looked_at(self, known: dict[str, _Row]) -> Iterator[tuple[str, _Row]]:
        try:
            with os.scandir(self._folder) as entries:
                # Ours are ASCII; what others put there may not even be UTF-8, which SQLite refuses.
                here = [entry for entry in entries if entry.name.endswith(".jsonl") and entry.name.isascii()]
        except OSError as error:
            raise StoreError(f"cannot list the sessions in {self._folder}: {error.strerror}") from error
        for entry in here:
            try:
                row = _look(entry, known.get(entry.name))
            except OSError:  # deleted a moment ago
                continue
            if row is not None:
                yield entry.name, row


def _look(entry: "os.DirEntry[str]", known: _Row | None) -> _Row | None:
    """The row of a log by now; `known` itself where nothing was written since. None for what is no session log."""
    if not entry.is_file(follow_symlinks=False):
        return None
    status = entry.stat()
    if known is not None and (known.at, known.size) == (status.st_mtime, status.st_size):
        return known
    row = _Row(entry.name, "", "", status.st_mtime, status.st_size)
    # A log only grows. One that is shorter than what was read of it is another one.
    if known is not None and known.done <= status.st_size:
        row = msgspec.structs.replace(known, at=status.st_mtime, size=status.st_size)
    with open(entry.path, "rb") as file:  # noqa: PTH123 - the entry's own name
        file.seek(row.done)
        for line in file:
            if not line.endswith(b"\n"):
                break
            row.done += len(line)
            if _may_tell(line):
                try:
                    _learn(row, read(line))
                except msgspec.DecodeError:  # whoever opens it is told what is wrong with it
                    break
    return row if row.session else None


def _may_tell(line: bytes) -> bool:
    """Whether a record can be one that the index is made of: most are words, and are not even decoded."""
    if line.startswith(b'{"record":"step"'):
        return b'"Start"' in line or b'"session_info_update"' in line
    return True


def _learn(row: _Row, record: Record) -> None:
    if record.record == "opened" and record.session is not UNSET and record.cwd is not UNSET:
        row.session, row.cwd = record.session, record.cwd
    elif record.record == "accepted":
        row.turns += 1
        if row.first is None:
            first = prompt_text(record.prompt).strip().partition("\n")[0]
            row.first = first[:TITLE_CHARACTERS] or None
    if record.commands is not UNSET:
        row.backend = started(record.commands) or row.backend
    for params in record.updates or ():
        try:
            update = _shown(params).update
        except msgspec.DecodeError:
            continue
        if update.kind == "session_info_update" and update.title is not None:
            row.title = update.title


def _opened(path: Path | None) -> sqlite3.Connection:
    """The database, with an empty table where there was none of this version. Raises sqlite3.Error."""
    if path is not None:
        try:
            # SQLite would make it readable by others, if our umask lets it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error
    database = sqlite3.connect(path if path is not None else ":memory:", timeout=BUSY_S, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        if database.execute("PRAGMA user_version").fetchone() != (VERSION,):
            database.execute("BEGIN IMMEDIATE")
            if database.execute("PRAGMA user_version").fetchone() != (VERSION,):
                database.execute("DROP TABLE IF EXISTS sessions")
                database.execute(_TABLE)
                database.execute(f"PRAGMA user_version={VERSION}")
            database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database
