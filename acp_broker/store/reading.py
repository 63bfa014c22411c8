"""A session log's records, read back from its file."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from acp_broker.errors import StoreError
from acp_broker.store import records

# A record, and the number of the first thing that it shows: where it stands in the file. None: it is in none.
Numbered = tuple[int | None, records.Record]


def read_records(path: Path, size: int | None = None) -> Iterator[records.Record]:
    """Every whole record of a log file, in order, or of its first `size` bytes. A torn last line is left out.

    Raises StoreError for a file that cannot be read, a format that is newer than ours, and a line in the middle that
    is no record.
    """
    return (record for _, record in numbered_records(path, 0, size))


def numbered_records(path: Path, start: int, size: int | None = None) -> Iterator[Numbered]:
    """The same from offset `start` on, where a record begins; each with where it stands."""
    try:
        opened = path.open("rb")
    except OSError as error:
        raise StoreError(f"cannot read the session log {path}: {error.strerror}") from error
    with opened as file:
        read = file.seek(start)
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") or (size is not None and read >= size):
                return
            try:
                record = records.read(line)
            except msgspec.DecodeError as error:
                if not file.read(1):
                    return
                where = f"line {number}" if not start else f"byte {read}"
                raise StoreError(f"{path}, {where}: no record of a session log: {error}") from error
            if isinstance(record.format, int) and record.format > records.FORMAT:
                raise StoreError(f"{path} was written by a newer acp-broker (format {record.format}); update this one")
            yield read, record
            read += len(line)


def last_records(path: Path, size: int) -> int:
    """Where the first whole record of the last `size` bytes begins; 0 for a smaller file. Raises StoreError."""
    try:
        with path.open("rb") as file:
            behind = file.seek(0, 2) - size
            if behind <= 0:
                return 0
            file.seek(behind)
            file.readline()
            return file.tell()
    except OSError as error:
        raise StoreError(f"cannot read the session log {path}: {error.strerror}") from error


def split(lines: bytes, start: int | None) -> list[Numbered]:
    """The records in whole lines, the first of which stands at offset `start`."""
    found: list[Numbered] = []
    # Not splitlines: raw JSON may hold a carriage return between two tokens.
    for line in lines.split(b"\n")[:-1]:
        found.append((start, records.read(line)))
        if start is not None:
            start += len(line) + 1
    return found
