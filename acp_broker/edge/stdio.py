"""Our own stdin and stdout as a Channel: pipe, socket, terminal, file or /dev/null, and left as they were.

They are what edge/descriptors.py claimed.
"""

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

    def pause(self) -> None:
        self._reader.pause()

    def resume(self) -> None:
        self._reader.resume()

    def charge(self, size: int) -> float:  # noqa: ARG002 - nobody else waits for what this client costs
        return 0.0

    async def run(self, on_lines: OnLines) -> None:
        await self._reader.run(on_lines)

    async def drained(self) -> None:
        """Wait until the frontend has taken everything, or is gone, or takes nothing for LAST_WORDS_S."""
        await self._writer.drained()

    def close(self, why: str) -> None:  # noqa: ARG002 - a pipe carries no reason
        """End `run` as if the frontend had closed its side."""
        self._reader.stop()
