"""A server that answers one request of each connection with the very bytes that a test wants."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from tests.support.provider.door import Door
from tests.support.provider.wire import Gone, Wire


class Writing:
    """`say` writes more to the latest connection."""

    def __init__(self, *writes: bytes) -> None:
        self.door = Door()
        self._writes = writes
        self._wire: Wire | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.door.port}/v1"

    async def say(self, data: bytes) -> None:
        assert self._wire is not None
        await self._wire.send(data)

    async def answer(self, sock) -> None:
        try:
            self._wire = Wire(sock)
            await self._wire.request()
            for data in self._writes:
                await self._wire.send(data)
            await self._wire.gone()
        except Gone:
            pass
        finally:
            sock.close()


@asynccontextmanager
async def writing(*writes: bytes) -> AsyncIterator[Writing]:
    """It keeps the connection for as long as the client does."""
    server = Writing(*writes)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.door.let_in, tasks, server.answer)
        yield server
        tasks.cancel_scope.cancel()
    server.door.close()
