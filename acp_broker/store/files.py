"""The state folder: where sessions' logs live, small files written whole, and fsync off the hot path."""

import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from acp_broker.core.names import SessionId
from acp_broker.errors import StoreError
from acp_broker.store.log import SessionLog
from acp_broker.store.marks import ATTENDED, AWAITED, Marks
from acp_broker.store.past import Listed

# Accepted turns and answers are on the disk within a second.
SYNC_EVERY_S = 0.5
# What Broker.new_id makes.
_OURS = re.compile(r"acpb-[0-9a-f]{24}")


class StateFolder:
    """One state folder. Files are readable by their owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attended, self.awaited = Marks(path / ATTENDED), Marks(path / AWAITED)
        self._dirty: set[str] = set()
        self._woken = anyio.Event()

    def prepare(self) -> None:
        """Make the folder, or close the one that is there to others. Raises StoreError when it cannot be used."""
        try:
            for folder in (self.path, self.path / "sessions", self.path / "log"):
                if folder.exists() and not folder.is_dir():
                    raise StoreError(f"{folder} is no folder; set ACP_BROKER_HOME to one, or move the file away")
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.path, self.path / "sessions", self.path / "log"):
                _close_to_others(folder)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise StoreError(f"the state folder {self.path} is not writable; set ACP_BROKER_HOME to one that is")
        except OSError as error:
            raise StoreError(f"cannot use the state folder {self.path}: {error.strerror}") from error

    def new_log(self, session: SessionId, first: bytes) -> SessionLog:
        """Create a session's log. Raises StoreError."""
        log = self._log(session, self._log_path(session))
        log.create(first, self._mark(log.path))
        self._mark(log.path.parent)()
        return log

    def old_log(self, session: SessionId) -> SessionLog | None:
        """The log of a session that an earlier broker made, open; None where there is none of that name.

        Raises StoreError.
        """
        path = self.log_path(session)
        if path is None:
            return None
        log = self._log(session, path)
        log.take_up(self._mark(path))
        return log

    def sessions(self) -> list[Listed]:
        """The sessions on the disk, the one written last first. Raises StoreError.

        Blocks: use a thread, one at a time.
        """
        # SQLite is as much to load as all of our own store, and most brokers never list.
        from acp_broker.store.index import Index  # noqa: PLC0415

        return Index(self.path).listed()

    def log_path(self, session: SessionId) -> Path | None:
        """Where the log of a session is; None where there is none."""
        # The name came from outside: one that is none of ours must not become a path.
        path = self._log_path(session)
        return path if _OURS.fullmatch(session) and path.is_file() else None

    def _log(self, session: SessionId, path: Path) -> SessionLog:
        log = SessionLog(path)
        log.when_attended = lambda: self.attended.add(session) if log.readers else self.attended.remove(session)
        return log

    def _log_path(self, session: SessionId) -> Path:
        return self.path / "sessions" / f"{session}.jsonl"

    async def sync_is_due(self) -> None:
        """Wait until something was written, and then so long that each file is synced at most twice a second."""
        await self._woken.wait()
        await anyio.sleep(SYNC_EVERY_S)

    async def sync(self) -> None:
        """Bring everything written so far to the disk, in a thread. Raises StoreError that names what could not be."""
        dirty, self._dirty = self._dirty, set()
        self._woken = anyio.Event()
        if dirty:
            await anyio.to_thread.run_sync(_sync_all, dirty)

    def read_small(self, name: str) -> bytes | None:
        """A small file of ours, or None when there is none or it cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def write_small(self, name: str, data: bytes) -> None:
        """Replace a small file whole: write beside it, fsync, rename. Blocks: use a thread. Raises StoreError."""
        target = self.path / name
        beside = target.with_name(f".{name}.{secrets.token_hex(4)}")
        try:
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
            _sync(self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise StoreError(f"cannot write {target}: {error.strerror}") from error

    def _mark(self, path: Path) -> Callable[[], None]:
        """What to call when this file was written; for a folder, when there is a new name in it."""

        name = str(path)  # a path's hash is a call of Python, and this one is asked for at every write

        def written() -> None:
            if name not in self._dirty:
                self._dirty.add(name)
                self._woken.set()

        return written


def _close_to_others(folder: Path) -> None:
    """Take from group and others what they may do there. A folder like /tmp, which is everybody's, stays as it is."""
    try:
        seen = folder.stat()
    except FileNotFoundError:
        return
    if seen.st_uid == os.geteuid() and seen.st_mode & 0o077 and not seen.st_mode & stat.S_ISVTX:
        folder.chmod(0o700)


def _sync_all(paths: set[str]) -> None:
    faults: list[str] = []
    for path in paths:
        try:
            _sync(path)
        except FileNotFoundError:  # deleted meanwhile
            continue
        except OSError as error:
            faults.append(f"{path}: {error.strerror}")
    if faults:
        raise StoreError(f"cannot bring to the disk: {', '.join(faults)}")


def _sync(path: Path | str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
