"""Small files of ours that nobody else may read, and the short lock on what they say together.

The lock is the kernel's (flock): it ends with its holder, however that ends. It is held for bookkeeping alone, never
while anybody is asked anything.
"""

import errno
import fcntl
import os
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acp_broker.errors import StoreError

# What is longer is none of ours.
MOST_BYTES = 1_048_576
# Bookkeeping is done within milliseconds; a holder that takes longer is stopped, or its disk is.
LOCK_S = 3.0
_LOCK_PAUSE_S = 0.01
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Locked(StoreError):  # noqa: N818 - what it says, not what went wrong
    """Another process has the short lock for longer than bookkeeping takes."""


def read(path: Path, *, is_secret: bool = True) -> tuple[bytes, float] | None:
    """What a file holds, and when it was written (wall clock); None where there is none.

    `is_secret`: it must be one that nobody else can read. Raises StoreError, which says what is wrong with it and what
    to do.
    """
    try:
        fd = os.open(path, _READ)
        try:
            status = os.fstat(fd)
            _distrust(path, status, is_secret=is_secret)
            data = _all(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreError(f"{path} is a link; move it away") from None
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise StoreError(f"{path} is longer than anything of ours; move it away")
    return data, status.st_mtime


def replace(path: Path, data: bytes, *, beside: Path, is_durable: bool = True) -> None:
    """Put a whole file in its place: nobody ever finds half of it. Raises StoreError; what was there stays then.

    Written `beside` first, for whoever has the lock. `is_durable`: on the disk when this returns.
    """
    try:
        _write(beside, data, is_durable=is_durable)
        beside.replace(path)
        if is_durable:
            sync(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror} ({error.filename or beside})") from error


def put(ready: Path, path: Path) -> None:
    """Bring a file that is written already to its place. Raises StoreError."""
    try:
        sync(ready)
        ready.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def _write(path: Path, data: bytes, *, is_durable: bool) -> None:
    """A new file, in place of what a dead writer may have left there. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
        if is_durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Raises StoreError; one that is gone already is fine."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror}") from error


@contextmanager
def locked(path: Path, limit_s: float = LOCK_S) -> Iterator[None]:
    """The lock, as soon as its holder lets go. Blocks: use a thread. Raises Locked, StoreError.

    Its file is left where it is, or two could hold two.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = _taken(path, time.monotonic() + limit_s)
    except OSError as error:
        what = "is a link; move it away" if error.errno == errno.ELOOP else error.strerror
        raise StoreError(f"cannot lock {path}: {what}") from error
    try:
        yield
    finally:
        os.close(fd)


def _taken(path: Path, until: float) -> int:
    while True:
        fd = _opened(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Somebody may have put another file in its place meanwhile: that one is the lock.
            if os.path.samestat(os.fstat(fd), path.lstat()):
                return fd
        except BlockingIOError:
            if time.monotonic() >= until:
                raise Locked(f"another process has {path} locked, and does not let go; is it stopped?") from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        time.sleep(_LOCK_PAUSE_S)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        # Read-only is enough to lock, and all that a full or read-only disk needs once the file is there.
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _distrust(path: Path, status: os.stat_result, *, is_secret: bool) -> None:
    """Raises StoreError for what others have made, or can read."""
    name = shlex.quote(str(path))
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is no file; move it away")
    if status.st_uid != os.geteuid():
        raise StoreError(f"{path} belongs to uid {status.st_uid}: sudo chown {os.geteuid()} {name}")
    if is_secret and status.st_mode & 0o077:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise StoreError(f"others can read or write {path} (mode {mode}): chmod 600 {name}")


def _all(fd: int) -> bytes:
    parts, left = [], MOST_BYTES + 1
    while left and (part := os.read(fd, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
