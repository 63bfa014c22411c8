"""A WebSocket client by hand (RFC 6455), cheap enough for hundreds in one process, and free to misbehave.

Every byte that it sends is the test's own. It masks with a key of zeros, which is legal and leaves the text readable.
"""

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
UNREAD_BYTES = 64 * 1024
_FIN = 0x80
_MASKED = 0x80
_NO_MASK = bytes(4)


def frame(opcode: int, data: bytes = b"", *, head: int = _FIN) -> bytes:
    """One masked frame; `head` holds the bits beside the opcode."""
    size = len(data)
    if size < 126:
        length = bytes([_MASKED | size])
    elif size < 65_536:
        length = struct.pack("!BH", _MASKED | 126, size)
    else:
        length = struct.pack("!BQ", _MASKED | 127, size)
    return bytes([head | opcode]) + length + _NO_MASK + data


def request(url: str, headers: Mapping[str, str]) -> bytes:
    """The opening handshake; `headers` come last, and replace nothing."""
    parts = urlsplit(url)
    lines = {
        "Host": parts.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET {parts.path} HTTP/1.1\r\n{head}\r\n".encode()


class WebSocket(asyncio.Protocol):
    """One connection. `status` is the HTTP status of the handshake; `code` is the close code, None until it came."""

    def __init__(self, on_message: Callable[[bytes], None]) -> None:
        self.status: int | None = None
        self.code: int | None = None
        self.pongs = 0
        self.answers_pings = True
        self.transport: asyncio.Transport
        self.answered = asyncio.Event()
        self.closed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._on_message = on_message
        self._rest = bytearray()
        self._parts = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def pause_writing(self) -> None:
        self._has_room.clear()

    def resume_writing(self) -> None:
        self._has_room.set()

    def connection_lost(self, why: Exception | None) -> None:
        self._has_room.set()
        self.answered.set()
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if self.status is None and not self._take_head():
            return
        while self.status == 101 and self._take_frame():
            continue

    def write(self, *messages: Mapping[str, object]) -> None:
        """Each as one text frame, all in one write."""
        encoded = (json.dumps({"jsonrpc": "2.0", **message}).encode() for message in messages)
        self.transport.write(b"".join(frame(TEXT, one) for one in encoded))

    async def flush(self) -> None:
        """Wait until the server has room for more."""
        await asyncio.sleep(0)
        await self._has_room.wait()

    def vanish(self) -> None:
        """Be gone without a word: a reset instead of a close."""
        if not self.closed.is_set():
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def abort(self) -> None:
        if not self.closed.is_set():
            self.transport.abort()

    async def close(self) -> None:
        """Close as the protocol wants it, and wait for the server to hang up."""
        self.transport.write(frame(CLOSE, struct.pack("!H", 1000)))
        await self.closed.wait()
        self.transport.close()

    def _take_head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            return False
        self.status = int(self._rest[:end].split(b" ", 2)[1])
        del self._rest[: end + 4]
        self.answered.set()
        return True

    def _take_frame(self) -> bool:
        rest = self._rest
        if len(rest) < 2:
            return False
        size, start = rest[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            if len(rest) < start:
                return False
            size = int.from_bytes(rest[2:start])
        end = start + size
        if len(rest) < end:
            return False
        head, data = rest[0], bytes(rest[start:end])
        del rest[:end]
        self._on_frame(head, data)
        return True

    def _on_frame(self, head: int, data: bytes) -> None:
        match head & 0x0F:
            case 0 | 1:
                self._parts += data
                if head & _FIN:
                    whole, self._parts = self._parts, b""
                    self._on_message(whole)
            case 8:
                self.code = int.from_bytes(data[:2]) if data else 1005
                self.transport.write(frame(CLOSE, data[:2]))
            case 9 if self.answers_pings:
                self.transport.write(frame(PONG, data))
            case 10:
                self.pongs += 1


async def connected(url: str, on_message: Callable[[bytes], None]) -> WebSocket:
    """A TCP connection; nothing is said on it yet. The kernel keeps little of what is not read."""
    parts = urlsplit(url)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_BYTES)
    raw.setblocking(False)
    try:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, (parts.hostname, parts.port))
        _, made = await loop.create_connection(lambda: WebSocket(on_message), sock=raw)
    except BaseException:
        raw.close()
        raise
    return made


async def shaken(
    url: str, headers: Mapping[str, str], on_message: Callable[[bytes], None] = lambda _: None
) -> WebSocket:
    """After the handshake, whichever way it went."""
    made = await connected(url, on_message)
    made.transport.write(request(url, headers))
    try:
        await made.answered.wait()
    except asyncio.CancelledError:
        made.abort()
        raise
    return made
