"""A session's log file, and the lease on it: a flock on the open file says which process may write.

It is held from the acceptance of a turn to its answer, and for each single write between turns. The kernel lets go of
it when its holder ends, however it ends, so one that died blocks nobody.
"""

import fcntl
import os
from pathlib import Path

from acp_broker.errors import SessionInUse, StoreError

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
# One look backwards for the end of the last record.
_LOOK_BYTES = 64 * 1024


def make(path: Path) -> int:
    """Create the file, readable by its owner alone. Raises OSError."""
    return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)


def open_(path: Path) -> int:
    """Open a file that is there. Raises OSError."""
    return os.open(path, _FLAGS)


def hold(fd: int, path: Path) -> os.stat_result:
    """Take the lease; how the file is then. Raises SessionInUse while another process has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SessionInUse(f"a turn of this session runs in another process of acp-broker ({path})") from error
    return os.fstat(fd)


def let_go(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)


def remove(path: Path) -> None:
    """Delete a session's log; one that is gone already is fine. Raises StoreError; SessionInUse while a turn runs."""
    try:
        fd = open_(path)
        try:
            hold(fd, path)
            path.unlink(missing_ok=True)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"cannot delete the session log {path}: {error.strerror}") from error


def whole(fd: int, known: int) -> int:
    """The file's size, once a torn last record is cut off: what a dead holder did not finish. Raises OSError.

    `known` is a size at which it was whole. Only for who has the lease: a living holder may be in the middle of it.
    """
    size = os.fstat(fd).st_size
    end = _end(fd, size, known)
    if end < size:
        os.ftruncate(fd, end)
    return end


def whole_records(fd: int) -> int:
    """How many bytes of the file are whole records by now. Raises OSError."""
    return _end(fd, os.fstat(fd).st_size, 0)


def record_with(fd: int, offset: int) -> int | None:
    """Where the record begins that has this offset in it; None where no whole record has. Raises OSError."""
    return _end(fd, offset, 0) if 0 <= offset < whole_records(fd) else None


def is_deleted(fd: int) -> bool:
    return os.fstat(fd).st_nlink == 0


def _end(fd: int, size: int, known: int) -> int:
    end = size
    while end > known:
        start = max(known, end - _LOOK_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return end
