"""Our own stdin and stdout as a Channel: pipe, socket, terminal, file or /dev/null, and left as they were.

After `claim`, nothing else in the process can reach the frontend: whatever prints goes to stderr.
"""

import os
import sys
from collections.abc import Callable

from acp_broker.edge.channel import OnLines
from acp_broker.edge.pipes import Reader, Writer, inherited_sink
from acp_broker.wire.framing import MAX_LINE_BYTES


class StdioChannel:
    """Lines from one descriptor, lines to another."""

    def __init__(self, read_fd: int, write_fd: int, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._reader = Reader(read_fd, max_line_bytes)
        self._writer = Writer(inherited_sink(write_fd))

    @property
    def pending(self) -> int:
        return self._writer.pending

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._writer.when_drained(callback)

    async def run(self, on_lines: OnLines) -> None:
        await self._reader.run(on_lines)

    async def drained(self) -> None:
        """Wait until the frontend has taken everything, or is gone, or takes nothing for LAST_WORDS_S."""
        await self._writer.drained()

    def close(self, why: str) -> None:  # noqa: ARG002 - a pipe carries no reason
        """End `run` as if the frontend had closed its side."""
        self._reader.stop()


def claim() -> tuple[int, int]:
    """Take fd 0 and fd 1 for the protocol; return the descriptors to read and write.

    Afterwards fd 0 is /dev/null and fd 1 is stderr, for us and for every child that would inherit them.
    """
    for fd in (0, 1, 2):
        _ensure_open(fd)
    read_fd, write_fd = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    if sys.stderr is None:  # Python found fd 2 closed when it started; it is /dev/null by now
        sys.stderr = os.fdopen(2, "w", closefd=False)
    sys.stdout = sys.stderr
    return read_fd, write_fd


def _ensure_open(fd: int) -> None:
    # Started with a closed descriptor (`0<&-`), the next file we open would silently become stdin or stdout.
    try:
        os.fstat(fd)
    except OSError:
        lowest = os.open(os.devnull, os.O_RDWR)
        assert lowest == fd, "POSIX: open returns the lowest descriptor that is free"
        os.set_inheritable(fd, True)  # noqa: FBT003 - it takes no keyword
