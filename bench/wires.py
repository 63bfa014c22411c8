"""Two ways to an ACP agent: pipes, and a WebSocket. Raw reads and writes, messages counted and hardly looked at."""

import base64
import os
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import urlsplit

# What a pipe holds; a larger buffer costs more than the read itself.
READ_BYTES = 64 * 1024
LEAVE_S = 10.0
# A whole message in one frame: FIN, and the opcode.
_TEXT = 0x81
_ENDED = "the agent under measurement ended"


class Wire(Protocol):
    def send(self, message: bytes) -> None: ...

    def count(self) -> int:
        """Wait for one read; how many messages have ended in it."""

    def listen(self) -> list[bytes]:
        """The same, and the messages."""

    def read(self) -> bytes:
        """What one read brings, whatever it is."""

    def fileno(self) -> int:
        """Of the side that is read."""

    def close(self) -> None: ...


class Pipes:
    """One message per line."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._rest = b""

    def send(self, message: bytes) -> None:
        os.write(self._write_fd, message + b"\n")

    def count(self) -> int:
        return self.read().count(b"\n")

    def listen(self) -> list[bytes]:
        *lines, self._rest = (self._rest + self.read()).split(b"\n")
        return lines

    def fileno(self) -> int:
        return self._read_fd

    def close(self) -> None:
        """Theirs, who opened them."""

    def read(self) -> bytes:
        chunk = os.read(self._read_fd, READ_BYTES)
        if not chunk:
            raise EOFError(_ENDED)
        return chunk


class WebSocket:
    """RFC 6455, by hand: one message per text frame, as the broker sends them. Pings are passed over."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._shake(parts.netloc, parts.path, token)

    def send(self, message: bytes) -> None:
        size = len(message)
        length = struct.pack("!B", 0x80 | size) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
        # A client must mask; with zeros there is nothing to be done.
        self._socket.sendall(bytes([_TEXT]) + length + bytes(4) + message)

    def count(self) -> int:
        data = self._rest + self.read()
        at, messages, have = 0, 0, len(data)
        while at + 4 <= have:
            size = data[at + 1]
            if size < 126:
                end = at + 2 + size
            elif size == 126:
                end = at + 4 + (data[at + 2] << 8 | data[at + 3])
            else:
                end = at + 10 + int.from_bytes(data[at + 2 : at + 10])
            if end > have:
                break
            messages += data[at] == _TEXT
            at = end
        self._rest = data[at:]
        return messages

    def listen(self) -> list[bytes]:
        self._rest += self.read()
        heard: list[bytes] = []
        while (message := self._message()) is not None:
            heard += [message] if message else []
        return heard

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def _message(self) -> bytes | None:
        """The next one, empty for what is no text; None where it is not there as a whole."""
        data = self._rest
        if len(data) < 2:
            return None
        wide = {126: 2, 127: 8}.get(data[1], 0)
        start = 2 + wide
        end = start + (int.from_bytes(data[2:start]) if wide else data[1])
        if len(data) < max(start, end):
            return None
        self._rest = data[end:]
        return data[start:end] if data[0] == _TEXT else b""

    def _shake(self, host: str, path: str, token: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            f"Authorization: Bearer {token}",
        ]
        self._socket.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        while b"\r\n\r\n" not in self._rest:
            self._rest += self.read()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    def read(self) -> bytes:
        chunk = self._socket.recv(READ_BYTES)
        if not chunk:
            raise EOFError(_ENDED)
        return chunk


class Program(Pipes):
    """A process of ours that is the agent, or the way to it; it ends with the wire."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, bufsize=0)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.pid = self._process.pid
        super().__init__(self._process.stdout.fileno(), self._process.stdin.fileno())

    def close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()
