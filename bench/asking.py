"""Who asks a provider, or what stands before it, and waits for words: raw sockets, and httpx2."""

import asyncio
import selectors
import socket
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol
from urllib.parse import urlsplit

import httpx2
import msgspec
from msgspec import Struct

from bench.peer import Peer
from bench.responder import MARK
from bench.wires import READ_BYTES


class Took(Struct, frozen=True):
    """Seconds: for each of those who asked together, to its first word; until all were answered."""

    firsts: Sequence[float]
    all_s: float


class Line(Protocol):
    """A connection that has one request at a time. `ended` stands at the end of an answer, and nowhere else."""

    ended: bytes

    def fresh(self) -> None:
        """Begin another conversation."""

    def ask(self, show: str) -> None: ...

    def read(self) -> bytes: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Asker(Protocol):
    """`pids`: the processes between it and the provider."""

    pids: tuple[int, ...]

    def fresh(self) -> None:
        """Begin another conversation: what was said before is not sent again."""

    def ask(self, show: str, count: int = 1) -> Took:
        """So many at once; returns when all are answered."""

    def close(self) -> None: ...


class Post:
    """HTTP/1.1 by hand, kept alive."""

    ended = b"\r\n0\r\n\r\n"

    def __init__(self, url: str, key: str = "none") -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {key}\r\n"
        self._address = (parts.hostname, parts.port)
        self._socket = self._connected()

    def fresh(self) -> None:
        """On a new connection: servers close those that nobody has used for some seconds."""
        self._socket.close()
        self._socket = self._connected()

    def ask(self, show: str) -> None:
        content = body(show)
        head = f"{self._head}content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        self._socket.sendall(head.encode() + content)

    def read(self) -> bytes:
        return self._socket.recv(READ_BYTES)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def _connected(self) -> socket.socket:
        connected = socket.create_connection(self._address)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected


class Turn:
    """A session of the broker's."""

    ended = b'"stopReason":'

    def __init__(self, peer: Peer, cwd: str) -> None:
        self._peer = peer
        self._cwd = cwd

    def fresh(self) -> None:
        self._peer.open(self._cwd)

    def ask(self, show: str) -> None:
        self._peer.begin(f"show:{show}")

    def read(self) -> bytes:
        return self._peer.wire.read()

    def fileno(self) -> int:
        return self._peer.wire.fileno()

    def close(self) -> None:
        self._peer.wire.close()


class Raw:
    """Many lines, one thread: what comes back is searched and thrown away."""

    def __init__(self, lines: Sequence[Line], pids: tuple[int, ...] = ()) -> None:
        self.pids = pids
        self._lines = lines

    def fresh(self) -> None:
        for line in self._lines:
            line.fresh()

    def ask(self, show: str, count: int = 1) -> Took:
        asked: dict[Line, float] = {}
        firsts: dict[Line, float] = {}
        tails = dict.fromkeys(self._lines[:count], b"")
        with selectors.DefaultSelector() as selector:
            for line in tails:
                selector.register(line, selectors.EVENT_READ, line)
            began = perf_counter()
            for line in tails:
                asked[line] = perf_counter()
                line.ask(show)
            while tails:
                for key, _ in selector.select():
                    line = key.data
                    read = line.read()
                    if not read:
                        raise EOFError("the connection under measurement ended")
                    seen = tails[line] + read
                    if line not in firsts and MARK in seen:
                        firsts[line] = perf_counter() - asked[line]
                    tails[line] = seen[-len(line.ended) :]
                    if line.ended in seen:
                        selector.unregister(line)
                        del tails[line]
        return Took(list(firsts.values()), perf_counter() - began)

    def close(self) -> None:
        for line in self._lines:
            line.close()


class Httpx:
    """The library that the broker itself asks with, used as its documentation says."""

    def __init__(self, url: str, pids: tuple[int, ...] = ()) -> None:
        self.pids = pids
        self._url = url
        self._runner = asyncio.Runner()
        self._client = httpx2.AsyncClient(trust_env=False, timeout=60)

    def fresh(self) -> None:
        """Every request is one."""

    def ask(self, show: str, count: int = 1) -> Took:
        async def together() -> Took:
            began = perf_counter()
            firsts = await asyncio.gather(*(self._ask(show) for _ in range(count)))
            return Took(firsts, perf_counter() - began)

        return self._runner.run(together())

    async def _ask(self, show: str) -> float:
        first, seen = 0.0, b""
        headers = {"content-type": "application/json", "authorization": "Bearer none"}
        began = perf_counter()
        async with self._client.stream("POST", self._url, content=body(show), headers=headers) as response:
            async for read in response.aiter_bytes():
                seen = seen[-len(MARK) :] + read
                if not first and MARK in seen:
                    first = perf_counter() - began
        return first

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


def body(show: str) -> bytes:
    """As the broker's own: it asks for a stream, and for what was used."""
    said = [{"role": "user", "content": f"show:{show}"}]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode({"messages": said, **options, "model": "drill-model"})
