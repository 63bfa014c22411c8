"""A session's log file, owned by the one process that has it open: a flock on the open file says so.

The kernel lets go of it when the process ends, however it ends, so an owner that died blocks nobody. What runs in
this process shares it; whoever wants the file from another process is refused and told so.
"""

import fcntl
import os
from pathlib import Path

from acp_broker.errors import SessionInUse

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
# One look backwards for the end of the last record.
_LOOK_BYTES = 64 * 1024


def make(path: Path) -> int:
    """Create the file, readable by its owner alone. Raises OSError."""
    return _owned(os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600), path)


def take(path: Path) -> int:
    """Open a file that is there. Raises OSError, and SessionInUse while another process has it."""
    return _owned(os.open(path, _FLAGS), path)


def remove(path: Path) -> None:
    """Delete a file that nobody has open. Raises OSError, and SessionInUse while a process has it."""
    fd = take(path)
    try:
        path.unlink()
    finally:
        os.close(fd)


def whole(fd: int) -> int:
    """Cut off a torn last record: what a dead owner did not finish writing. The size then. Raises OSError."""
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        start = max(0, end - _LOOK_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(fd, end)
    return end


def _owned(fd: int, path: Path) -> int:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise SessionInUse(f"this session is open in another process of acp-broker ({path})") from error
    return fd
