"""What the code takes each case for: the bytes come from a socket, a backend of the real kind reads them."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module

import anyio
import msgspec
from anyio.lowlevel import checkpoint
from msgspec import Struct

from acp_broker.clock import SystemClock
from acp_broker.core.failures import Failure
from acp_broker.errors import BackendFailure
from backends import KINDS
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, setup, turn
from tests.support.provider_failures import PROVIDERS, Case, Provider
from tests.support.provider_failures.case import WALL

# Of the event loop: to notice the bytes, to read them, to hear them, and to spare.
_TURNS = 8


class Seen(Struct, frozen=True):
    """What came of a case: a failure, or a stop reason; and the words that were shown."""

    of: Failure | str
    words: str

    @property
    def kind(self) -> str:
        return self.of if isinstance(self.of, str) else self.of.kind.value


class _Clock(SystemClock):
    def wall(self) -> float:
        return WALL


@cache
def seen() -> dict[tuple[str, str], Seen]:
    """Of every case, by its provider's name and its own."""
    return anyio.run(_seen)


async def _seen() -> dict[tuple[str, str], Seen]:
    with anyio.fail_after(DEADLINE_S):
        return {(one.name, case.what): await see(one, case) for one in PROVIDERS for case in one.cases}


async def see(provider: Provider, case: Case) -> Seen:
    """Run one case."""
    client = FakeClient()
    module = import_module(KINDS[str(provider.entry["kind"])])
    async with _answering(case) as url:
        entry = msgspec.convert({**provider.entry, "baseUrl": f"{url}/v1"}, module.config)
        tools = FakeTools(clock=_Clock(), setup=setup("/"), environment={}, credential="key")
        async with module.open(entry, tools) as backend:
            try:
                of: Failure | str = (await backend.run(turn(), client)).stop_reason
            except BackendFailure as error:
                of = error.failure
    return Seen(of, "".join(client.texts))


def _parts(answer: bytes) -> Iterator[bytes]:
    """The head, then the body chunk by chunk: an answer whose words and error come at once has shown no words."""
    head, mark, body = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        yield answer
        return
    yield head + mark
    while body:
        size, line, _ = body.partition(b"\r\n")
        end = len(size + line) + int(size, 16) + len(line)
        yield body[:end]
        body = body[end:]


@asynccontextmanager
async def _answering(case: Case) -> AsyncIterator[str]:
    """A server that answers everything with these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        try:
            await say(writer)
        except ConnectionError:
            """The client has heard enough."""
        writer.close()

    async def say(writer: asyncio.StreamWriter) -> None:
        *parts, last = _parts(case.answer)
        for part in parts:
            writer.write(part)
            await writer.drain()
            # The client is in this loop: what was sent is read and heard by then.
            for _ in range(_TURNS):
                await checkpoint()
        writer.write(last)
        await writer.drain()
        if case.end == "reset":
            # What was sent must have been read: a reset throws away what was not.
            await asyncio.sleep(0.02 if case.answer else 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
