"""The session log: an append-only file that everything is written to before anybody is shown it.

`append` collects, `commit` writes what was collected with one write and then tells the readers. A write that fails
(a full disk, a folder that became read-only) is undone, named, and from then on the log is kept in memory alone: the
running turn can finish, and whoever starts the next one asks `fault` first.
"""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from acp_broker.errors import SessionInUse, StoreError
from acp_broker.store import reading, records
from acp_broker.store.logfile import LogFile
from acp_broker.store.numbered import ByNumber
from acp_broker.store.stretches import Stretches
from acp_broker.store.tail import NOTHING, Entry, Tail

# What is kept in memory.
TAIL_BYTES = 1024 * 1024


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
        self._file = LogFile(path)
        self._stretches = Stretches()
        self._lines: list[bytes] = []
        self._fresh: list[Entry] = []
        self._tail = Tail()
        self._readers: list[Callable[[], None]] = []
        self.by_number = ByNumber(self._file, self._stretches)
        self._on_write: Callable[[], None] | None = None
        # Called when something has to wait until another process lets go of the lease.
        self.when_held_up: Callable[[], None] | None = None
        # Called when the first reader has come, and when the last one has left.
        self.when_attended: Callable[[], None] | None = None

    def create(self, first: bytes, on_write: Callable[[], None] | None = None) -> None:
        """Make the file, readable by its owner alone, and write its first record. Raises StoreError."""
        self._file.create()
        self._on_write = on_write
        self.append(first)
        self.commit()
        if self.fault is not None:
            raise StoreError(self.fault)

    def take_up(self, on_write: Callable[[], None] | None = None) -> None:
        """Go on with the file of a session that is in no memory. Raises StoreError."""
        self._on_write = on_write
        self._file.take_up()
        self.end = self.shown = self._tail.since = self._file.size

    def hold(self) -> bool:
        """Have the lease on the file until `let_go`; whether we are behind what is in it.

        Raises StoreError, also while a disk that has failed still does; SessionInUse while another process has it.
        """
        if not self._file.is_held:
            self._hold()
            if self.fault is not None:
                try:
                    self.recover()
                except StoreError:
                    self._file.let_go()
                    raise
        return self.is_behind

    def let_go(self) -> None:
        """Write what is pending, and let other processes have the lease."""
        self.commit()
        if self._file.is_held:
            self._file.let_go()

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
        is_ours = self._file.is_held
        if not self._lines or (not is_ours and self._is_held_up()):
            return
        data = self._lines[0] if len(self._lines) == 1 else b"".join(self._lines)
        self._lines.clear()
        self.shown = self.end
        if self.fault is None:
            self._write(data)
        if self._file.is_held and not is_ours:
            self._file.let_go()
        self._tell(data)

    def put(self, line: bytes, frames: bytes, to: int | None, record: records.Record | None = None) -> None:
        """Write one record, or raise StoreError: then nobody is shown it. Only for who has the lease.

        `record`: what the line says, as far as readers of records look at it.
        """
        self.commit()
        position, offset = self.end, self._file.size
        if self.fault is None:
            self._write(line)
        if self.fault is not None:
            raise StoreError(self.fault)
        self.append(line, frames, to)
        self._lines.clear()
        self.shown = self.end
        if record is None:
            self._tell(line)
            return
        with self.by_number.newest(position, (offset, record)):
            self._tell(line)

    def _tell(self, data: bytes) -> None:
        """Let readers advance to what is shown by now, the last of which is `data`."""
        if self._fresh:
            tail = self._tail
            if tail.entries is NOTHING:
                tail.entries = deque()
            for entry in self._fresh:
                tail.entries.append(entry)
                tail.bytes += len(entry.frames)
            self._fresh.clear()
            for reader in self._readers:
                reader()
            if tail.bytes > TAIL_BYTES:
                tail.trim(TAIL_BYTES, self._stretches.position(self._file.size))
        if self.by_number.watchers:
            if self.fault is not None:
                self.by_number.keep(self.shown - len(data), data)
            for watcher in self.by_number.watchers:
                watcher()

    def recover(self) -> None:
        """Try the disk again after a fault. Raises StoreError, with the new fault's text, while it still fails.

        What could not be written before is not in the file; a record says how many bytes that is.
        """
        if self.fault is None:
            return
        if self._file.is_deleted():
            raise StoreError(self.fault)
        self.fault = None
        lost = self.end - self._stretches.position(self._file.size)
        before = self._file.size
        self._stretches.begin(self.end, before)
        self._catch_up()
        self.append(records.line("opened", format=records.FORMAT, lost=lost))
        self.commit()
        if self.fault is not None:
            if self._file.size == before:  # else another process has written in it
                self._stretches.take_back()
            raise StoreError(self.fault)

    @property
    def is_at_rest(self) -> bool:
        """Whether it has no file open."""
        return self._file.is_at_rest

    @property
    def is_pending(self) -> bool:
        """Whether something that was appended waits until another process lets go of the lease."""
        return bool(self._lines)

    @property
    def readers(self) -> int:
        """How many are attached."""
        return len(self._readers) + len(self.by_number.watchers)

    @property
    def frame_readers(self) -> int:
        """How many of them read frames, not records."""
        return len(self._readers)

    def attach(self, reader: Callable[[], None], *, of_records: bool = False) -> None:
        """Have it called after each write that shows something; `of_records`: after each write."""
        (self.by_number.watchers if of_records else self._readers).append(reader)
        if self.when_attended is not None and self.readers == 1:
            self.when_attended()

    def detach(self, reader: Callable[[], None]) -> None:
        (self.by_number.watchers if reader in self.by_number.watchers else self._readers).remove(reader)
        if self.when_attended is not None and not self.readers:
            self.when_attended()

    def read(self, position: int, reader: int) -> tuple[int, bytes]:
        """The frames for frontend `reader` from `position` on, and the position after them.

        From memory while it reaches back that far, else one stretch of the file. Returns the same position when
        there is nothing more.
        """
        if position >= self.shown:
            return position, b""
        if position < self._tail.since:
            return self._read_file(position, self._tail.since, reader)
        fresh: list[bytes] = []
        for entry in reversed(self._tail.entries):
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
        return reading.read_records(self.path, None if until is None else self.by_number.offset(until))

    def forget(self) -> None:
        """Keep no words in memory: a reader that has not had them reads the file."""
        self.commit()
        if self.fault is None:
            self._tail.forget(self.shown)
            self.by_number.forget()

    def rest(self) -> None:
        """Keep no descriptor either until it is next written; from then on another process may go on with it."""
        self.forget()
        if self.fault is None:
            self._file.rest()

    def close(self) -> None:
        """Write what is pending and close the file; closing twice does nothing."""
        self.commit()
        self._file.close()

    def _hold(self) -> None:
        if self._file.hold() and self.fault is None:
            self._catch_up()

    def _is_held_up(self) -> bool:
        """Take the lease for one write; True while another process has it. Without a file it needs none."""
        if self.fault is not None:
            return False
        try:
            self._hold()
        except SessionInUse:
            if self.when_held_up is not None:
                self.when_held_up()
            return True
        except StoreError as error:
            self.fault = str(error)
        return False

    def _catch_up(self) -> None:
        """Take what another process wrote while the file was not ours into our positions, before what is new."""
        growth = self._file.grow()
        if not growth:
            return
        self.is_behind = True
        self.end += growth
        self.shown += growth
        # What is remembered stands before it: whoever has not had that reads the file.
        self._tail.forget(self._stretches.position(self._file.size))
        for entry in self._fresh:
            entry.start += growth
            entry.end += growth

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except StoreError as error:
            self.fault = str(error)
            return
        if self._on_write is not None:
            self._on_write()

    def _read_file(self, position: int, limit: int, reader: int) -> tuple[int, bytes]:
        offset, left, after = self._stretches.place(position, self._file.size)
        if left <= 0:  # in what a failed write left out
            return limit if after is None else min(after, limit), b""
        lines = self._file.lines(offset, min(left, limit - position))
        shown = [records.frames(record, self.path.stem) for _, record in reading.split(lines, offset)]
        parts = [item[1] for item in shown if item is not None and records.is_for(item[0], reader)]
        return position + len(lines), b"".join(parts)
