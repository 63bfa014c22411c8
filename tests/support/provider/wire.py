"""HTTP/1.1 on one accepted socket, byte by byte: a fault may need what no HTTP library would do."""

import re
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus

import anyio
from msgspec import Struct

_MOST_HEAD = 1 << 20
_MOST_BODY = 1 << 27


class Gone(Exception):
    """The client went away."""


class Request(Struct, frozen=True):
    """Header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


class Wire:
    """One connection; whoever makes it closes it. Every method but the closing ones raises Gone."""

    def __init__(self, sock: socket.socket, on_silence: Callable[[], None] = lambda: None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._on_silence = on_silence
        self._read = b""

    async def request(self) -> Request:
        head = await self._until(b"\r\n\r\n", _MOST_HEAD)
        first, *lines = head.decode("latin-1").split("\r\n")
        try:
            method, target, _ = first.split(" ")
        except ValueError as other:  # TLS, for one
            raise Gone from other
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("expect", "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return Request(method, target, headers, await self._body(headers))

    async def send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._sock.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._sock)
            except OSError as gone:
                raise Gone from gone

    async def gone(self) -> None:
        """Wait until the client closes. What it sends meanwhile is thrown away."""
        self._on_silence()
        while True:
            await self._receive()

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        """Close with RST: the client sees ECONNRESET and not the end of a body."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self._exactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int((await self._until(b"\r\n", _MOST_HEAD)).partition(b";")[0], 16):
            body += await self._exactly(size)
            await self._exactly(2)
        while await self._until(b"\r\n", _MOST_HEAD):
            pass
        return body

    async def _until(self, mark: bytes, most: int) -> bytes:
        while mark not in self._read:
            if len(self._read) > most:
                raise Gone
            self._read += await self._receive()
        found, _, self._read = self._read.partition(mark)
        return found

    async def _exactly(self, size: int) -> bytes:
        if size > _MOST_BODY:
            raise Gone
        parts, length = [self._read], len(self._read)
        while length < size:
            parts.append(await self._receive())
            length += len(parts[-1])
        read = b"".join(parts)
        self._read = read[size:]
        return read[:size]

    async def _receive(self) -> bytes:
        while True:
            try:
                data = self._sock.recv(1 << 18)
            except BlockingIOError:
                await anyio.wait_readable(self._sock)
            except OSError as gone:
                raise Gone from gone
            else:
                if not data:
                    raise Gone
                return data


def head(status: int, kind: str, length: int | None, more: dict[str, str]) -> bytes:
    """The head of an answer. Without a length the body goes in chunks."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"HTTP/1.1 {status} {_reason(status)}", f"content-type: {kind}", framing]
    lines += (f"{name}: {value}" for name, value in more.items())
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a body; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Overloaded" if re.fullmatch("5..", str(status)) else "Error"
