"""A port on loopback that can be closed, so that connecting is refused, and opened again."""

import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from anyio.abc import TaskGroup

Welcome = Callable[[socket.socket], Coroutine[Any, Any, None]]


class Door:
    """Open from the start; closed for good by `close`. Not for use across threads."""

    def __init__(self, port: int = 0) -> None:
        # Never listens: while the door is shut, nobody else is given the port.
        self._holder = _bound(port)
        self.port: int = self._holder.getsockname()[1]
        self._listener: socket.socket | None = None
        self._moved = anyio.Event()
        self.open()

    def open(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(128)
            self._moved.set()

    def shut(self) -> None:
        if self._listener is not None:
            anyio.notify_closing(self._listener)
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        self.shut()
        self._holder.close()

    async def let_in(self, tasks: TaskGroup, welcome: Welcome) -> None:
        """Give every connection to a task of its own; until cancelled."""
        while True:
            if (listener := self._listener) is None:
                self._moved = anyio.Event()
                await self._moved.wait()
                continue
            try:
                await anyio.wait_readable(listener)
                tasks.start_soon(welcome, listener.accept()[0])
            except (anyio.ClosedResourceError, BlockingIOError, ConnectionError):
                continue


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Two sockets on one port, of which one listens: Linux wants the first option for it, macOS the second.
    option = socket.SO_REUSEPORT if sys.platform == "darwin" else socket.SO_REUSEADDR
    sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    return sock
