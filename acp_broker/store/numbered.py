"""A session's log as it is read by numbers: whole records, each with where it stands in the file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from acp_broker.store import reading
from acp_broker.store.logfile import LogFile
from acp_broker.store.stretches import Stretches


class ByNumber:
    """The records of one log for who reads them whole. `watchers`: who is called after each write."""

    def __init__(self, file: LogFile, stretches: Stretches) -> None:
        self.watchers: list[Callable[[], None]] = []
        self._file = file
        self._stretches = stretches
        # The lines that they can read nowhere else, each with its position.
        self._unwritten: list[tuple[int, bytes]] = []
        # The record that is told of just now, and its position.
        self._newest: tuple[int, reading.Numbered] | None = None

    @contextmanager
    def newest(self, position: int, record: reading.Numbered) -> Iterator[None]:
        """While it is told of, this record at `position` is not read back from the file: it may be megabytes."""
        self._newest = position, record
        try:
            yield
        finally:
            self._newest = None

    def keep(self, position: int, lines: bytes) -> None:
        """Lines that the file did not take, the first of which is at `position`."""
        self._unwritten.append((position, lines))

    def offset(self, position: int) -> int:
        """Where in the file that position is; for one that a failed write left out, where the next one is."""
        return self._stretches.offset(position, self._file.size)

    def position_of(self, number: int) -> int | None:
        """Where the record begins that has this number in it; None behind the end of the file. Raises StoreError.

        It may be behind the log's end: another process has written it, and we have yet to read that.
        """
        start = self._file.record_with(number)
        return None if start is None else self._stretches.found(start)

    def read(self, position: int, shown: int) -> tuple[int, list[reading.Numbered]]:
        """Some records from `position` on, and the position after them; the same one at `shown`.

        From the file, which a system remembers well; from memory what the file has not.
        """
        if position >= shown:
            return position, []
        if self._newest is not None and self._newest[0] == position:
            return shown, [self._newest[1]]
        offset, left, after = self._stretches.place(position, self._file.size)
        if left > 0:
            try:
                lines = self._file.lines(offset, left)
            except OSError:  # the file is gone, or its disk: what is new is in memory, and shown all the same
                return position + left, []
            return position + len(lines), reading.split(lines, offset)
        end = shown if after is None else after
        for start, lines in self._unwritten:
            if position <= start < end:
                return start + len(lines), reading.split(lines, None)
        return end, []

    def forget(self) -> None:
        self._unwritten.clear()
