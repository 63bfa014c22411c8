"""An agent that is reached over WebSocket: for each connection a process of its own, as a small gateway would do it."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


class Served:
    """Where it listens, and what it has seen. Set `answer`, and nobody is let in."""

    def __init__(self, command: Sequence[str]) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.heard: list[str] = []
        self.connections: list[ServerConnection] = []
        self.answer: Response | None = None
        self._command = command

    def refuse(self, status: int, body: str = "", **headers: str) -> None:
        named = Headers({name.replace("_", "-"): value for name, value in headers.items()})
        self.answer = Response(status, HTTPStatus(status).phrase, named, body.encode())

    def judge(self, _: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return self.answer

    async def serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        pipe = subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, limit=1 << 26)
        assert child.stdin is not None
        assert child.stdout is not None
        telling = asyncio.create_task(self._tell(child.stdout, connection))
        try:
            async for message in connection:
                self.heard.append(str(message))
                child.stdin.write(str(message).encode() + b"\n")
        except ConnectionClosed:
            pass
        finally:
            telling.cancel()
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def _tell(self, stdout: asyncio.StreamReader, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while line := await stdout.readline():
                await connection.send(line.decode().rstrip("\n"))
        connection.transport.abort()  # its agent has ended


@asynccontextmanager
async def served(
    command: Sequence[str], on: Callable[[Served], None] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Served]:
    """Inside, it is there. `on` may set it up before anybody comes."""
    agent = Served(command)
    if on is not None:
        on(agent)
    ways = {"process_request": agent.judge, "max_size": None, "close_timeout": 1, "ssl": tls}
    async with serve(agent.serve, "127.0.0.1", 0, **ways) as server:
        agent.url = f"{'ws' if tls is None else 'wss'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/acp"
        yield agent
