"""Reading and writing file descriptors of any kind on the event loop, without a task per read or write.

We never set O_NONBLOCK on a descriptor that we inherited: the flag lives in the open file description, which our
parent may share. A `Sink` therefore writes through a description of its own, or asks the kernel first.
"""

import asyncio
import errno
import os
import select
import socket
import stat
from collections import deque
from collections.abc import Callable
from typing import Protocol

import anyio

from acp_broker.edge.channel import LAST_WORDS_S, OnLines
from acp_broker.wire.framing import Lines

# One read: what a pipe usually holds. For a larger buffer the C library asks the kernel each time, which costs 7 us.
READ_BYTES = 64 * 1024
# POSIX: a pipe that polls as writable takes this much without blocking (Linux: 4096, others at least 512).
SAFE_WRITE_BYTES = select.PIPE_BUF

Write = Callable[[memoryview], int]
# Of a descriptor, so many bytes at most; raises BlockingIOError where there are none.
Read = Callable[[int, int], bytes]


class Sink(Protocol):
    """Where bytes go: `fd` to poll, and a write that returns what was taken or raises BlockingIOError."""

    fd: int

    def write(self, data: memoryview) -> int: ...

    def close(self) -> None: ...


class OwnPipe:
    """One end of a pipe that is ours alone and non-blocking."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def write(self, data: memoryview) -> int:
        return os.write(self.fd, data)

    def close(self) -> None:
        os.close(self.fd)


class InheritedSocket:
    """A socket that we share with our parent: each send says for itself that it must not wait."""

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)
        try:
            self._socket = socket.socket(fileno=self.fd)
        except OSError:  # it can be looked at, and not be used (O_PATH)
            os.close(self.fd)
            raise

    def write(self, data: memoryview) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT)

    def read(self, _fd: int, size: int) -> bytes:
        return self._socket.recv(size, socket.MSG_DONTWAIT)

    def close(self) -> None:
        self._socket.close()


class Polled:
    """Any other descriptor: poll, then write no more than what cannot block. Files never block and take all."""

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)
        self._limit = None if stat.S_ISREG(os.fstat(fd).st_mode) else SAFE_WRITE_BYTES
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLOUT)

    def write(self, data: memoryview) -> int:
        if self._limit is None:
            return os.write(self.fd, data)
        if not self._poll.poll(0):
            raise BlockingIOError
        return os.write(self.fd, data[: self._limit])

    def close(self) -> None:
        os.close(self.fd)


def inherited_sink(fd: int) -> Sink:
    """A sink for a descriptor that we inherited, chosen by what fstat says it is."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return InheritedSocket(fd)
    if stat.S_ISFIFO(mode) or os.isatty(fd):
        try:
            # Linux: opening the pipe or terminal once more gives a description of our own.
            return OwnPipe(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError:
            return Polled(fd)
    return Polled(fd)


class Writer:
    """An ordered, never waiting writer over a sink; keeps what the sink does not take at once."""

    def __init__(self, sink: Sink) -> None:
        self._sink: Sink | None = sink
        self._queue: deque[memoryview] = deque()
        self._drained: list[Callable[[], None]] = []
        self.pending = 0

    def write(self, data: bytes) -> None:
        """Write now what fits, the rest later; dropped once the reader is gone."""
        if self._sink is None:
            return
        self._queue.append(memoryview(data))
        self.pending += len(data)
        if len(self._queue) == 1:
            self._flush(self._sink)
            if self._queue and self._sink is not None:
                self._watch(self._sink)

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._drained.append(callback)

    async def drained(self) -> None:
        """Wait until the reader has taken everything, or is gone, or takes nothing for LAST_WORDS_S."""
        empty = anyio.Event()
        self.when_drained(empty.set)
        left = self.pending
        while left:
            with anyio.move_on_after(LAST_WORDS_S):
                await empty.wait()
            before, left = left, self.pending
            if left >= before:
                return

    def close(self) -> None:
        """Give up what is pending and close."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        asyncio.get_running_loop().remove_writer(sink.fd)
        self._queue.clear()
        self.pending = 0
        sink.close()
        self._tell()

    def _watch(self, sink: Sink) -> None:
        try:
            asyncio.get_running_loop().add_writer(sink.fd, self._writable)
        except PermissionError:  # epoll takes no regular files; those never refuse a write
            self._writable()

    def _writable(self) -> None:
        if self._sink is None:
            return
        self._flush(self._sink)
        if self._sink is not None and not self._queue:
            asyncio.get_running_loop().remove_writer(self._sink.fd)
            self._tell()

    def _flush(self, sink: Sink) -> None:
        queue = self._queue
        try:
            while queue:
                taken = sink.write(queue[0])
                self.pending -= taken
                if taken == len(queue[0]):
                    queue.popleft()
                else:
                    queue[0] = queue[0][taken:]
        except BlockingIOError:
            return
        except OSError:  # the reader is gone, or its device is: nobody is left to tell
            self.close()

    def _tell(self) -> None:
        for callback in self._drained:
            callback()


class Reader:
    """Reads a descriptor until its end and hands over the lines of each read, in one call."""

    def __init__(self, fd: int, max_line_bytes: int, read: Read = os.read) -> None:
        self._fd = fd
        self._read = read
        self._lines = Lines(max_line_bytes)
        self._ended: asyncio.Future[None] | None = None
        self._on_lines: OnLines
        self._is_stopped = False
        self.is_paused = False

    async def run(self, on_lines: OnLines) -> None:
        """Returns at the end of input; a last line without its newline is handed over too."""
        if self._is_stopped:
            return
        self._on_lines = on_lines
        self._ended = asyncio.get_running_loop().create_future()
        if not self.is_paused:
            self._listen()
        try:
            await self._ended
        finally:
            asyncio.get_running_loop().remove_reader(self._fd)

    def stop(self) -> None:
        """End `run` as if the input had ended here; before it began, too."""
        self._is_stopped = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def pause(self) -> None:
        """Read nothing, and see no end of input, until `resume`."""
        self.is_paused = True
        asyncio.get_running_loop().remove_reader(self._fd)

    def resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            if self._is_running():
                self._listen()

    def _is_running(self) -> bool:
        return self._ended is not None and not self._ended.done()

    def _listen(self) -> None:
        try:
            asyncio.get_running_loop().add_reader(self._fd, self._readable)
        except PermissionError:  # a regular file or /dev/null: always readable, not for epoll
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self.is_paused or not self._is_running():
            return
        self._readable()
        asyncio.get_running_loop().call_soon(self._next)

    def _readable(self) -> None:
        try:
            chunk = self._read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            chunk = b""
        if chunk:
            lines = self._lines.feed(chunk)
            if lines:
                self._on_lines(lines)
            return
        asyncio.get_running_loop().remove_reader(self._fd)
        rest = self._lines.close()
        if rest:
            self._on_lines([rest])
        self.stop()
