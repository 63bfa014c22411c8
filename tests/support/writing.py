"""A server that answers one request of each connection, or each, with the very bytes that a test wants."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from tests.support.provider.door import Door
from tests.support.provider.wire import Gone, Wire


class Writing:
    """`say` writes more to the latest connection, `end` says that no more will come on any.

    `connections` were made, `open` are those that the client has not closed, `bodies` came with the requests.
    `is_lasting`: each request of a connection is answered. `is_leaving`: behind its answer nothing comes.
    """

    def __init__(self, *writes: bytes) -> None:
        self.door = Door()
        self._writes = writes
        self._wire: Wire | None = None
        self.connections = 0
        self.open: list[socket.socket] = []
        self.bodies: list[bytes] = []
        self.is_lasting = False
        self.is_leaving = False
        self.left = anyio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.door.port}/v1"

    async def say(self, data: bytes) -> None:
        assert self._wire is not None
        await self._wire.send(data)

    def reset(self) -> None:
        """Close the latest connection with RST."""
        assert self._wire is not None
        anyio.notify_closing(self.open[-1])
        self._wire.reset()

    def end(self) -> None:
        for sock in self.open:
            sock.shutdown(socket.SHUT_WR)

    async def answer(self, sock: socket.socket) -> None:
        self.connections += 1
        self.open.append(sock)
        try:
            self._wire = wire = Wire(sock)
            await self._one(wire)
            while self.is_lasting:
                await self._one(wire)
            await wire.gone()
        except (Gone, anyio.ClosedResourceError):
            pass
        finally:
            self.open.remove(sock)
            sock.close()
            self.left.set()

    async def _one(self, wire: Wire) -> None:
        self.bodies.append((await wire.request()).body)
        for data in self._writes:
            await wire.send(data)
        if self.is_leaving:
            self.end()


@asynccontextmanager
async def writing(*writes: bytes) -> AsyncIterator[Writing]:
    """It keeps the connection for as long as the client does."""
    server = Writing(*writes)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.door.let_in, tasks, server.answer)
            yield server
            tasks.cancel_scope.cancel()
    finally:
        server.door.close()
