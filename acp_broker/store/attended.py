"""Which sessions clients have open, in all processes of a state folder: so that none is deleted by its age alone.

One file of locks, and no data: a process has a shared lock (POSIX, fcntl) on one byte of it for each session that
somebody attends there. The kernel gives them back when the process ends, however it ends; they cost no descriptor each.
"""

import errno
import fcntl
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from acp_broker.core.names import SessionId

FILE = "attended.lock"
# Of a session's digest: as many as an offset has room for.
_DIGITS = 15


class Attended:
    """Of one state folder. One for each process: POSIX gives all its locks back when any descriptor of the file is
    closed. Where the file cannot be had, nobody is known to attend anything.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        # Below 0: not opened yet.
        self._fd: int | None = -1

    def add(self, session: SessionId) -> None:
        """Somebody attends it here, until `remove`."""
        with suppress(OSError):
            fcntl.lockf(self._opened(), fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _byte(session))

    def remove(self, session: SessionId) -> None:
        with suppress(OSError):
            fcntl.lockf(self._opened(), fcntl.LOCK_UN, 1, _byte(session))

    def is_elsewhere(self, session: SessionId) -> bool:
        """Whether somebody attends it in another process. Not for what is attended here: it would be given back."""
        try:
            fcntl.lockf(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(session))
        except (BlockingIOError, PermissionError):  # POSIX leaves it open which of them
            return True
        except OSError:
            return False
        self.remove(session)
        return False

    def close(self) -> None:
        """Nobody attends anything here any more; clients may leave later still."""
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
