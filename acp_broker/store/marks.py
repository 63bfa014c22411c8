"""Marks on sessions that all processes of a state folder see: that clients have one open, that somebody waits for one.

A mark is a lock of the kernel and no data: a process has a shared lock (POSIX, fcntl) on one byte of a file for each
session that it has marked. They end with the process, however it ends, and cost no descriptor each.
"""

import errno
import fcntl
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from acp_broker.core.names import SessionId

# Sessions that clients have open: none is deleted by its age alone.
ATTENDED = "attended.lock"
# Sessions whose lease somebody waits for: who has it gives way between two turns.
AWAITED = "awaited.lock"
# Of a session's digest: as many as an offset has room for.
_DIGITS = 15


class Marks:
    """The marks of one file. One for each process: POSIX gives all its locks back when any descriptor of the file is
    closed. Where the file cannot be had, no session is known to be marked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Below 0: not opened yet.
        self._fd: int | None = -1

    def add(self, session: SessionId) -> None:
        """Mark it, until `remove`."""
        with suppress(OSError):
            fcntl.lockf(self._opened(), fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _byte(session))

    def remove(self, session: SessionId) -> None:
        with suppress(OSError):
            fcntl.lockf(self._opened(), fcntl.LOCK_UN, 1, _byte(session))

    def is_elsewhere(self, session: SessionId) -> bool:
        """Whether another process has marked it. Not for what is marked here: that mark would be lost."""
        try:
            fcntl.lockf(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(session))
        except (BlockingIOError, PermissionError):  # POSIX leaves it open which of them
            return True
        except OSError:
            return False
        self.remove(session)
        return False

    def close(self) -> None:
        """Give all marks back; what is marked later is not."""
        if self._fd is not None and self._fd >= 0:
            os.close(self._fd)
        self._fd = None

    def _opened(self) -> int:
        """Raises OSError."""
        if self._fd is None:
            raise OSError(errno.EBADF, "closed for good")
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return self._fd


def _byte(session: SessionId) -> int:
    return int(sha256(session.encode()).hexdigest()[:_DIGITS], 16)
