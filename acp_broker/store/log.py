"""The session log: an append-only file that everything is written to before anybody is shown it.

`append` collects, `commit` writes what was collected with one write and then tells the readers. A write that fails
(a full disk, a folder that became read-only) is undone, named, and from then on the log is kept in memory alone: the
running turn can finish, and whoever starts the next one asks `fault` first.
"""

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from acp_broker.errors import SessionInUse, StoreError
from acp_broker.store import owned, records

# What is kept in memory for readers that keep up; one that falls further behind reads the file.
TAIL_BYTES = 1024 * 1024
# One read of the file for a reader that lags.
READ_BYTES = 256 * 1024


class Entry(Struct, gc=False):
    """Frames that ended at position `end`; `to`: as `records.frames` says whom for."""

    start: int
    end: int
    to: int | None
    frames: bytes


# The tail of every log that remembers nothing: an empty deque of its own would cost each of them 760 bytes.
_NOTHING: deque[Entry] = deque()


class SessionLog:
    """One session's log. Positions are bytes from its beginning; they only grow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
        # Where what readers may have by now ends: what was appended and waits for a write is behind it.
        self.shown = 0
        self.fault: str | None = None
        # Another process has written what nobody here has read; whoever reads it says so.
        self.is_behind = False
        self._fd = -1
        self.is_at_rest = False
        self._is_held = False
        self._written = 0
        # (position, file offset) of each stretch that is in the file without a gap; a failed write makes a new one.
        self._stretches: list[tuple[int, int]] = [(0, 0)]
        self._lines: list[bytes] = []
        self._fresh: list[Entry] = []
        self._tail = _NOTHING
        self._tail_bytes = 0
        self._readers: list[Callable[[], None]] = []
        self._on_write: Callable[[], None] | None = None

    def create(self, first: bytes, on_write: Callable[[], None] | None = None) -> None:
        """Make the file, readable by its owner alone, and write its first record. Raises StoreError."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = owned.make(self.path)
        except OSError as error:
            raise StoreError(f"cannot create the session log {self.path}: {error.strerror}") from error
        self._on_write = on_write
        self.append(first)
        self.commit()
        if self.fault is not None:
            raise StoreError(self.fault)

    def take_up(self, on_write: Callable[[], None] | None = None) -> None:
        """Go on with the file of a session that is in no memory. Raises StoreError."""
        self._on_write = on_write
        self.is_at_rest = True
        try:
            self._written = self.end = self.shown = owned.whole_records(self._opened())
        except OSError as error:
            raise StoreError(f"cannot open the session log {self.path}: {error.strerror}") from error

    def hold(self) -> bool:
        """Have the lease on the file until `let_go`; whether we are behind what is in it.

        Raises StoreError, also while a disk that has failed still does; SessionInUse while another process has it.
        """
        if not self._is_held:
            try:
                self._hold()
            except OSError as error:
                raise StoreError(f"cannot open the session log {self.path}: {error.strerror}") from error
            try:
                self.recover()
            except StoreError:
                self._release()
                raise
        return self.is_behind

    def let_go(self) -> None:
        """Write what is pending, and let other processes have the lease."""
        self.commit()
        if self._is_held:
            self._release()

    def append(self, line: bytes, frames: bytes = b"", to: int | None = None) -> None:
        """Add one record, and the frames that readers are shown of it after `commit`."""
        start = self.end
        self.end = start + len(line)
        self._lines.append(line)
        if frames:
            self._fresh.append(Entry(start, self.end, to, frames))

    def commit(self) -> None:
        """Write what was appended, then let every reader advance. Never raises: a failed write sets `fault`.

        While another process has the lease, it waits, for a later commit.
        """
        is_ours = self._is_held
        if not self._lines or not (is_ours or self._may_write()):
            return
        data = self._lines[0] if len(self._lines) == 1 else b"".join(self._lines)
        self._lines.clear()
        self.shown = self.end
        if self.fault is None:
            self._write(data)
        if self._is_held and not is_ours:
            self._release()
        if self._fresh:
            if self._tail is _NOTHING:
                self._tail = deque()
            self._tail.extend(self._fresh)
            self._tail_bytes += sum(len(entry.frames) for entry in self._fresh)
            self._fresh.clear()
            for reader in self._readers:
                reader()
            self._trim()

    def recover(self) -> None:
        """Try the disk again after a fault. Raises StoreError, with the new fault's text, while it still fails.

        What could not be written before is not in the file; a record says how many bytes that is.
        """
        if self.fault is None:
            return
        if owned.is_deleted(self._fd):
            raise StoreError(self.fault)
        self.fault = None
        lost = self.end - self._position(self._written)
        before, self._written = self._written, owned.whole(self._fd, self._written)
        self.is_behind |= self._written > before
        self._stretches.append((self.end, self._written))
        self.append(records.line("opened", format=records.FORMAT, lost=lost))
        self.commit()
        if self.fault is not None:
            self._stretches.pop()
            raise StoreError(self.fault)

    @property
    def is_pending(self) -> bool:
        """Whether something that was appended waits until another process lets go of the lease."""
        return bool(self._lines)

    @property
    def readers(self) -> int:
        """How many are attached."""
        return len(self._readers)

    def attach(self, reader: Callable[[], None]) -> None:
        self._readers.append(reader)

    def detach(self, reader: Callable[[], None]) -> None:
        self._readers.remove(reader)

    def read(self, position: int, reader: int) -> tuple[int, bytes]:
        """The frames for frontend `reader` from `position` on, and the position after them.

        From memory while it reaches back that far, else one stretch of the file. Returns the same position when
        there is nothing more.
        """
        if position >= self.shown:
            return position, b""
        tail = self._tail
        remembered = tail[0].start if tail else self._position(self._written)
        if position < remembered:
            return self._read_file(position, remembered, reader)
        fresh: list[bytes] = []
        for entry in reversed(tail):
            if entry.end <= position:
                break
            if entry.to is None or records.is_for(entry.to, reader):
                fresh.append(entry.frames)
        if len(fresh) == 1:
            return self.shown, fresh[0]
        fresh.reverse()
        return self.shown, b"".join(fresh)

    def records(self, until: int | None = None) -> Iterator[records.Record]:
        """Every whole record in the file, from its beginning, or those before position `until`."""
        return read_records(self.path, None if until is None else self._offset(until))

    def forget(self) -> None:
        """Keep no words in memory: a reader that has not had them reads the file."""
        self.commit()
        if self.fault is None:
            self._tail, self._tail_bytes = _NOTHING, 0

    def rest(self) -> None:
        """Keep no descriptor either until it is next written; from then on another process may go on with it."""
        self.forget()
        if self.fault is None and self._fd >= 0:
            self.close()
            self.is_at_rest = True

    def close(self) -> None:
        """Write what is pending and close the file; closing twice does nothing."""
        self.commit()
        self.is_at_rest = self._is_held = False
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _opened(self) -> int:
        if self.is_at_rest:
            self._fd = owned.open_(self.path)
            self.is_at_rest = False
        return self._fd

    def _hold(self) -> None:
        fd = self._opened()
        owned.hold(fd, self.path)
        self._is_held = True
        if owned.is_deleted(fd):
            self._release()
            raise StoreError(f"the session log {self.path} was deleted; open a new session")
        if self.fault is None:
            self._catch_up(owned.whole(fd, self._written))

    def _release(self) -> None:
        self._is_held = False
        owned.let_go(self._fd)

    def _may_write(self) -> bool:
        """Take the lease for one write; False while another process has it. Without a file it needs none."""
        if self.fault is not None:
            return True
        try:
            self._hold()
        except SessionInUse:
            return False
        except StoreError as error:
            self.fault = str(error)
        except OSError as error:
            self.fault = f"cannot write the session log {self.path}: {error.strerror}"
        return True

    def _catch_up(self, size: int) -> None:
        """Take what another process wrote while the file was not ours into our positions, before what is new."""
        growth, self._written = size - self._written, size
        if not growth:
            return
        # What is remembered stands before it: whoever has not had that reads the file.
        self._tail, self._tail_bytes = _NOTHING, 0
        self.is_behind = True
        self.end += growth
        self.shown += growth
        for entry in self._fresh:
            entry.start += growth
            entry.end += growth

    def _write(self, data: bytes) -> None:
        fd = self._fd
        try:
            taken = os.write(fd, data)
            while taken < len(data):
                taken += os.write(fd, data[taken:])
        except OSError as error:
            self.fault = f"cannot write the session log {self.path}: {error.strerror}"
            # The part of a record that did fit is cut off: a reader never sees half of one.
            _cut(fd, self._written)
            return
        self._written += len(data)
        if self._on_write is not None:
            self._on_write()

    def _trim(self) -> None:
        # Unwritten entries can be read nowhere else: while the disk fails, the tail keeps them all.
        written_to = self._position(self._written)
        while self._tail_bytes > TAIL_BYTES and len(self._tail) > 1 and self._tail[0].end <= written_to:
            self._tail_bytes -= len(self._tail.popleft().frames)

    def _position(self, offset: int) -> int:
        start, base = self._stretches[-1]
        return start + offset - base

    def _offset(self, position: int) -> int:
        """Where in the file that position is; for one that a failed write left out, where the next one is."""
        index = bisect_right(self._stretches, position, key=lambda stretch: stretch[0]) - 1
        start, base = self._stretches[index]
        after = self._stretches[index + 1][1] if index + 1 < len(self._stretches) else self._written
        return min(base + position - start, after)

    def _read_file(self, position: int, limit: int, reader: int) -> tuple[int, bytes]:
        index = bisect_right(self._stretches, position, key=lambda stretch: stretch[0]) - 1
        start, base = self._stretches[index]
        if index + 1 < len(self._stretches):
            after, end = self._stretches[index + 1]
            if position - start >= end - base:  # in what a failed write left out
                return min(after, limit), b""
            limit = min(limit, start + end - base)
        offset = base + position - start
        size = min(READ_BYTES, limit - position)
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW) if self.is_at_rest else self._fd
        chunk = os.pread(fd, size, offset)
        end = chunk.rfind(b"\n")
        # A record longer than that is read again, twice as much each time: one of 32 MiB costs 64 MiB of reading.
        while end < 0 and len(chunk) == size:
            size *= 2
            chunk = os.pread(fd, size, offset)
            end = chunk.find(b"\n")
        if fd != self._fd:
            os.close(fd)
        whole = chunk[: end + 1]
        # Not splitlines: raw JSON may hold a carriage return between two tokens.
        shown = [records.frames(records.read(line)) for line in whole.split(b"\n") if line]
        parts = [item[1] for item in shown if item is not None and records.is_for(item[0], reader)]
        return position + len(whole), b"".join(parts)


def _cut(fd: int, size: int) -> None:
    try:
        os.ftruncate(fd, size)
    except OSError:  # read-only by now: a torn last record is cut off by whoever reads the log
        return


def read_records(path: Path, size: int | None = None) -> Iterator[records.Record]:
    """Every whole record of a log file, in order, or of its first `size` bytes. A torn last line is left out.

    Raises StoreError for a file that cannot be read, a format that is newer than ours, and a line in the middle that
    is no record.
    """
    try:
        opened = path.open("rb")
    except OSError as error:
        raise StoreError(f"cannot read the session log {path}: {error.strerror}") from error
    with opened as file:
        read = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") or (size is not None and read >= size):
                return
            read += len(line)
            try:
                record = records.read(line)
            except msgspec.DecodeError as error:
                if not file.read(1):
                    return
                raise StoreError(f"{path}, line {number}: no record of a session log: {error}") from error
            if isinstance(record.format, int) and record.format > records.FORMAT:
                raise StoreError(f"{path} was written by a newer acp-broker (format {record.format}); update this one")
            yield record
