"""Bytes to lines: one JSON-RPC message per line, split on the newline byte only (ACP v1, transports, "stdio").

Linear in the bytes fed: a chunk is searched once, and a long line is joined once, when its end arrives.
"""

# 32 MiB: what the official TypeScript SDK caps a message at, so that two peers agree on what is too long.
MAX_LINE_BYTES = 32 * 1024 * 1024
# How much of an overlong line is kept: enough to hold the id, which hardly anybody writes behind the params.
HEAD_BYTES = 1024


class Overlong(bytes):
    """Stands for a line that passed the limit; holds its first HEAD_BYTES. The rest of the line is discarded."""


class Lines:
    """A buffer that gives back complete lines; holds at most `max_line_bytes` of an unfinished one."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._discarding = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add bytes as they arrived; return the lines they completed, without the newline, blank ones left out.

        A line that passes the limit is given back at once as `Overlong`; what follows of it is discarded.
        """
        end = chunk.rfind(b"\n")
        if end < 0:
            return self._keep(chunk)
        head = chunk[:end]
        if self._parts or self._discarding:
            first, newline, head = head.partition(b"\n")
            lines = self._keep(first) + self._finish()
            more = head.split(b"\n") if newline else []
        else:
            lines, more = [], head.split(b"\n")
        if end > self._max:
            more = [line if len(line) <= self._max else Overlong(line[:HEAD_BYTES]) for line in more]
        lines += more
        rest = chunk[end + 1 :]
        if rest:
            lines += self._keep(rest)
        return [line for line in lines if line and (not line.isspace() or isinstance(line, Overlong))]

    def close(self) -> bytes:
        """What is left at end of input: a line without its newline, or nothing."""
        rest = b"".join(self._parts)
        self._parts, self._size, self._discarding = [], 0, False
        return rest.strip()

    def _keep(self, part: bytes) -> list[bytes]:
        if self._discarding:
            return []
        self._parts.append(part)
        self._size += len(part)
        if self._size <= self._max:
            return []
        head = b"".join(self._parts)[:HEAD_BYTES]
        self._parts, self._size, self._discarding = [], 0, True
        return [Overlong(head)]

    def _finish(self) -> list[bytes]:
        line = b"".join(self._parts)
        whole = not self._discarding
        self._parts, self._size, self._discarding = [], 0, False
        return [line] if whole else []
