"""Server-sent events out of bytes: WHATWG HTML, 9.2.6, as they come, in any pieces. No I/O."""

from typing import NamedTuple

from acp_broker.errors import WireError

# One event holds a token or two; a whole picture in one is no answer of a language model.
MAX_EVENT_BYTES = 16 * 1024 * 1024
# What a line costs beside its bytes: a flood of empty ones fills the memory, too.
_LINE_BYTES = 16
# A line that is longer is put together once, and not with each read.
_LONG_BYTES = 65_536
_BARE = (b"{", b"[")


class Event(NamedTuple):
    """`data` are its data lines, joined by line feeds; `name` is empty where the stream names none."""

    name: str
    data: bytes


class EventStream:
    """Feed it what was read; comments (keep-alives) and unknown fields are passed over."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        # The line that is not whole yet, as it was read.
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._bare: list[bytes] = []
        self._bare_size = 0
        self._has_begun = False

    def feed(self, read: bytes) -> list[Event]:
        """The events that these bytes complete. Raises WireError for one that is too large."""
        events: list[Event] = []
        for line in self._whole(read):
            if not line:
                if self._data:
                    events.append(Event(self._name, b"\n".join(self._data)))
                self._name, self._data, self._size = "", [], 0
            elif line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                self._data.append(value)
                self._size += len(value) + _LINE_BYTES
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode("utf-8", "replace")
            elif line.startswith(_BARE) or (self._bare and not line.startswith(b":")):
                self._keep_bare(line)
        if self._rest_size + self._size > self._max:
            raise WireError(f"an event of more than {self._max} bytes")
        return events

    def bare(self) -> bytes:
        """JSON that was written in place of events, between or behind them: a whole answer, or an error of Google's."""
        rest = b"".join(self._rest)
        return b"".join((*self._bare, rest)) if self._bare or rest.startswith(_BARE) else b""

    def _keep_bare(self, line: bytes) -> None:
        if self._bare_size <= self._max:
            self._bare.append(line)
            self._bare_size += len(line) + _LINE_BYTES

    def _whole(self, read: bytes) -> list[bytes]:
        """The lines that these bytes complete."""
        if self._rest_size > _LONG_BYTES and not _has_end(self._rest[-1][-1:] + read):
            self._rest.append(read)
            self._rest_size += len(read)
            return []
        *lines, rest = self._lines(b"".join((*self._rest, read)))
        self._rest, self._rest_size = [rest], len(rest)
        return lines

    def _lines(self, text: bytes) -> list[bytes]:
        """Lines end with LF, CRLF or CR; what follows the last end is not whole yet."""
        if not self._has_begun and text:
            if text.startswith(b"\xef\xbb") and len(text) < 3:
                return [text]
            text = text.removeprefix(b"\xef\xbb\xbf")
            self._has_begun = True
        if b"\r" not in text:
            return text.split(b"\n")
        # Its LF may still be on the way.
        held = b"\r" if text.endswith(b"\r") else b""
        lines = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        lines[-1] += held
        return lines


def _has_end(text: bytes) -> bool:
    """Whether a line may end in it."""
    return b"\n" in text or b"\r" in text
