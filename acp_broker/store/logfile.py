"""The file of one session log: its descriptor, the lease on it, and whole lines in and out.

Offsets are bytes of the file. It is opened when it is needed, and closed while its session rests; reading wakes nobody.
"""

import os
from pathlib import Path

from acp_broker.errors import StoreError
from acp_broker.store import owned

# One read of the file for a reader that lags.
READ_BYTES = 256 * 1024


class LogFile:
    """`size`: how much of the file was whole when it was last ours, and where our next write goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.is_at_rest = False
        self.is_held = False
        self._fd = -1

    def create(self) -> None:
        """Make it, readable by its owner alone. Raises StoreError."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = owned.make(self.path)
        except OSError as error:
            raise StoreError(f"cannot create the session log {self.path}: {error.strerror}") from error

    def take_up(self) -> None:
        """Open one that is there. Raises StoreError."""
        self.is_at_rest = True
        try:
            self.size = owned.whole_records(self._opened())
        except OSError as error:
            raise self._cannot("open", error) from error

    def hold(self) -> bool:
        """Have the lease until `let_go`; whether another process has written since it was ours: see `grow`.

        Raises StoreError; SessionInUse while another process has it.
        """
        try:
            fd = self._opened()
            seen = owned.hold(fd, self.path)
        except OSError as error:
            raise self._cannot("open", error) from error
        self.is_held = True
        if not seen.st_nlink:
            self.let_go()
            raise StoreError(f"the session log {self.path} was deleted; open a new session")
        return seen.st_size != self.size

    def grow(self) -> int:
        """Take in what another process has written, less a record that it did not finish; how many bytes that is.

        Only for who has the lease. Raises StoreError.
        """
        before = self.size
        try:
            self.size = owned.whole(self._fd, before)
        except OSError as error:
            raise self._cannot("read", error) from error
        return self.size - before

    def let_go(self) -> None:
        self.is_held = False
        owned.let_go(self._fd)

    def write(self, data: bytes) -> None:
        """Add whole lines. Raises StoreError; nothing of them is in the file then."""
        fd = self._fd
        try:
            taken = os.write(fd, data)
            while taken < len(data):
                taken += os.write(fd, data[taken:])
        except OSError as error:
            # The part of a record that did fit is cut off: a reader never sees half of one.
            _cut(fd, self.size)
            raise self._cannot("write", error) from error
        self.size += len(data)

    def is_deleted(self) -> bool:
        return owned.is_deleted(self._fd)

    def lines(self, offset: int, size: int) -> bytes:
        """Whole lines from there on, about so many bytes of them, or READ_BYTES if that is less. Raises OSError."""
        size = min(size, READ_BYTES)
        fd = self._reading()
        chunk = os.pread(fd, size, offset)
        end = chunk.rfind(b"\n")
        # A record longer than that is read again, twice as much each time: one of 32 MiB costs 64 MiB of reading.
        while end < 0 and len(chunk) == size:
            size *= 2
            chunk = os.pread(fd, size, offset)
            end = chunk.find(b"\n")
        self._read_it(fd)
        return chunk[: end + 1]

    def record_with(self, offset: int) -> int | None:
        """Where the record begins that this byte is in; None behind the end. Raises StoreError."""
        try:
            fd = self._reading()
            try:
                return owned.record_with(fd, offset)
            finally:
                self._read_it(fd)
        except OSError as error:
            raise self._cannot("read", error) from error

    def rest(self) -> None:
        """Keep no descriptor until it is next held."""
        if self._fd >= 0:
            self.close()
            self.is_at_rest = True

    def close(self) -> None:
        """Closing twice does nothing."""
        self.is_at_rest = self.is_held = False
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _opened(self) -> int:
        if self.is_at_rest:
            self._fd = owned.open_(self.path)
            self.is_at_rest = False
        if self._fd < 0:  # somebody was late
            raise StoreError(f"the session log {self.path} was closed for good; load the session, if it is still there")
        return self._fd

    def _reading(self) -> int:
        """A descriptor to read from, until `_read_it`. Raises OSError."""
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW) if self.is_at_rest else self._fd

    def _read_it(self, fd: int) -> None:
        if fd != self._fd:
            os.close(fd)

    def _cannot(self, what: str, error: OSError) -> StoreError:
        return StoreError(f"cannot {what} the session log {self.path}: {error.strerror}")


def _cut(fd: int, size: int) -> None:
    try:
        os.ftruncate(fd, size)
    except OSError:  # read-only by now: a torn last record is cut off by whoever reads the log
        return
