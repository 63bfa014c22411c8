"""An HTTP server on loopback for tests: says the very bytes that a test gives it, and keeps what it was asked."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

from msgspec import Struct


class Asked(Struct, frozen=True):
    """One request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: str

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body, keep_blank_values=True, strict_parsing=True))


# None: nothing, the connection stays open.
Answer = bytes | None


class TokenServer:
    """`answers` are given in turn, the last one for ever; before each, `meanwhile` happens."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}/token"
        self.answers: list[Answer] = []
        self.asked: list[Asked] = []
        self.on_asked: Callable[[], object] = lambda: None
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def said(content: object, status: int = 200, **headers: str) -> bytes:
    """A response with this JSON, or these bytes."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n{more}\r\n"
    return head.encode() + body


@asynccontextmanager
async def token_server(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[TokenServer]:
    """Listens until the end of the block, and closes whatever is open then."""
    talking: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        try:
            server.asked.append(await _request(reader))
            server.on_asked()
            if server.meanwhile is not None:
                await server.meanwhile()
            answer = server.next_answer()
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            talking.discard(task)
            writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    server = TokenServer(listener.sockets[0].getsockname()[1], "https" if tls else "http")
    server.answers = list(answers)
    try:
        yield server
    finally:
        listener.close()
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = first.split(" ", 2)
    return Asked(method, target, headers, body.decode())
