"""A provider whose connection is lost behind an exact byte of its answer, well or by a reset."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio

from tests.support.provider.door import Door
from tests.support.provider.server import SHAPES
from tests.support.provider.shape import Answer
from tests.support.provider.wire import Gone, Request, Wire, chunk, head


class CutProvider:
    """`may` is how many bytes of each answer are sent; `length`: of how many, once it was asked.

    `is_bare`: its body has no length and no chunks, so that whatever was sent is a body that ended well.
    """

    def __init__(self, words: tuple[str, ...]) -> None:
        self.may = 0
        self.is_reset = self.is_bare = False
        self.length = 0
        self.requests = 0
        self._words = words
        self._door = Door()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._door.port}"

    def cuts(self, every: int) -> Iterator[int]:
        """Let it send none, then so many bytes more each time, the whole answer at last; it is asked between."""
        self.may = 0
        yield 0
        while self.may < self.length:
            self.may = min(self.may + every, self.length)
            yield self.may

    async def serve(self) -> None:
        async with anyio.create_task_group() as tasks:
            await self._door.let_in(tasks, self._talk)

    def close(self) -> None:
        self._door.close()

    async def _talk(self, sock: socket.socket) -> None:
        wire = Wire(sock)
        try:
            answer = whole_answer(await wire.request(), self._words, is_bare=self.is_bare)
            self.requests += 1
            self.length = len(answer)
            await wire.send(answer[: self.may])
            if self.is_reset:
                wire.reset()
        except Gone:
            pass
        finally:
            sock.close()


def whole_answer(request: Request, words: tuple[str, ...], *, is_bare: bool) -> bytes:
    """Every byte of it, from the status line to the last chunk."""
    for shape in SHAPES:
        if ask := shape.ask(request):
            reel = shape.reel(ask, Answer(words))
            pieces = [reel.opening, *reel.words, reel.ending, b""]
            start = head(200, "text/event-stream", None, {"connection": "close"})
            if is_bare:
                return start.replace(b"transfer-encoding: chunked\r\n", b"") + b"".join(pieces)
            return start + b"".join(map(chunk, pieces))
    raise AssertionError(f"nobody answers {request.target}")


@asynccontextmanager
async def cutting(*words: str) -> AsyncIterator[CutProvider]:
    """A server in this process; it ends with the block."""
    server = CutProvider(words)
    serving = asyncio.create_task(server.serve())
    try:
        yield server
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        server.close()
