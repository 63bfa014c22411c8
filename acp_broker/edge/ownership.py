"""Who serves a state folder: the one process that holds its lock. It alone has a socket, and says where.

The lock is the kernel's (flock): it ends with its holder, however that ends. Its file stays, or two could hold two.
"""

import fcntl
import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from acp_broker.edge import meeting
from acp_broker.errors import UsageError

LOCK_FILE = "daemon.lock"
# unix(7): 108 bytes on Linux, 104 on macOS, with a null at the end.
LONGEST_PATH_BYTES = 103
BACKLOG = 128


@contextmanager
def owned(home: Path, about: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[socket.socket]:
    """A non-blocking socket that listens for this state folder. `about` is what daemon.json says beside where and who.

    Afterwards nobody finds it any more, and somebody else may own the folder. Raises UsageError: somebody else does.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the state folder {home}: {error.strerror}") from error
    lock = _lock(home)
    try:
        with _listening(address(home, environ)) as listening:
            announced = home / meeting.DAEMON_FILE
            _announce(announced, {**about, "socket": listening.getsockname(), "pid": os.getpid()})
            try:
                yield listening
            finally:
                announced.unlink(missing_ok=True)
    finally:
        os.close(lock)


def check_unowned(home: Path) -> None:
    """Raises UsageError where somebody else owns the folder by now: for whoever is about to touch what is theirs."""
    if (home / LOCK_FILE).exists():
        os.close(_lock(home))


def address(home: Path, environ: Mapping[str, str]) -> Path:
    """Where the socket of a state folder goes: a short path in a folder of ours alone, which is made if need be.

    Raises UsageError.
    """
    name = f"{sha256(os.fsencode(home.resolve())).hexdigest()[:16]}.sock"
    places = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - what is made in it is checked
    own = [place / f"acp-broker-{os.geteuid()}" for place in places]
    runtime = Path(environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and _is_ours(runtime, 0o022):
        own.insert(0, runtime / "acp-broker")
    folder = next(folder for folder in own if len(os.fsencode(folder / name)) <= LONGEST_PATH_BYTES)
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder} for the socket: {error.strerror}") from error
    if not _is_ours(folder, 0o077):
        raise UsageError(f"{folder}, for the socket, is not a folder of yours alone; remove it, or set XDG_RUNTIME_DIR")
    return folder / name


def _is_ours(folder: Path, others: int) -> bool:
    """Whether it is a folder, no link to one, that belongs to us and gives others none of these permissions."""
    try:
        seen = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and not seen.st_mode & others


def _lock(home: Path) -> int:
    path = home / LOCK_FILE
    try:
        # O_CLOEXEC: a child that had it would hold the folder after we are gone.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UsageError(f"cannot open {path}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise UsageError(f"another acp-broker serve (pid {holder}) already runs for {home}") from error
    except OSError as error:
        os.close(fd)
        raise UsageError(f"cannot lock {path}: {error.strerror}; the state folder must be on a local disk") from error
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(fd)
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return fd


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Whatever lies at the path is stale: we hold the lock."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        # Between bind and a chmod others could connect. Nothing else runs here meanwhile that makes files.
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        bound = path.lstat()
        listening.listen(BACKLOG)
        listening.setblocking(False)  # noqa: FBT003 - it takes no keyword
    except OSError as error:
        listening.close()
        raise UsageError(f"cannot listen on {path}: {error.strerror}") from error
    try:
        yield listening
    finally:
        listening.close()
        _remove(path, bound)


def _remove(path: Path, bound: os.stat_result) -> None:
    """Remove our own socket; one that somebody put in its place is theirs."""
    try:
        seen = path.lstat()
    except FileNotFoundError:
        return
    if (seen.st_dev, seen.st_ino) == (bound.st_dev, bound.st_ino):
        path.unlink(missing_ok=True)


def _announce(path: Path, said: Mapping[str, object]) -> None:
    """Write it whole: who reads it meanwhile finds what was there before, or all of this."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(said).encode() + b"\n")
        beside.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
