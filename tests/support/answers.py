"""Answers in HTTP/1.1 as they are written, and who asks for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from backends.http.client import connected
from tests.support.client import DEADLINE_S
from tests.support.provider.wire import head
from tests.support.writing import Writing

WHOLE = head(200, "text/plain", 2, {}) + b"hi"
STREAM = head(200, "text/plain", None, {})


async def asked(server: Writing, count: int = 1, body: bytes = b"{}") -> list[tuple[int, bytes]]:
    """So many requests, one after the other: status and body of each answer."""
    answers = []
    async with connected(server.url, {}) as client:
        with anyio.fail_after(DEADLINE_S):
            for _ in range(count):
                async with client.post(f"{server.url}/x", {}, body, lambda: None) as response:
                    answers.append((response.status_code, await response.aread()))
    return answers


@asynccontextmanager
async def deaf(answer: bytes, *, is_leaving: bool = False) -> AsyncIterator[str]:
    """The address of a server that answers a request's head, reads nothing more, and keeps the connection."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.max_size = 1
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        writer.write(answer)
        if is_leaving:
            writer.write_eof()
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        over.set()
        server.close()
