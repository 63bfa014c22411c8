"""An ACP agent on two pipes and a client of it that is never the bottleneck: raw reads and writes, counted newlines."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from time import perf_counter
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Raw, Struct

# What a pipe holds; a larger buffer costs more than the read itself.
READ_BYTES = 64 * 1024
LEAVE_S = 10.0


class _Answer(Struct):
    id: int | None = None
    result: Raw = Raw(b"null")


class _Opened(Struct):
    session: str = msgspec.field(name="sessionId")


class Took(Struct, frozen=True):
    """Seconds from the moment the prompt is about to be written: to the first bytes that come back, to the last."""

    first_s: float
    all_s: float


class Peer:
    """One process that is an ACP agent, with one session. Use it with `with`: it is ended on the way out."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.started_at = perf_counter()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, bufsize=0)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        self._last_id = 0
        self._session = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def initialize(self) -> float:
        """Seconds from the start of the process to the answer."""
        capabilities = {"fs": {"readTextFile": True, "writeTextFile": True}, "terminal": True}
        self._ask("initialize", {"protocolVersion": 1, "clientCapabilities": capabilities})
        return perf_counter() - self.started_at

    def open(self, cwd: str) -> None:
        opened = self._ask("session/new", {"cwd": cwd, "mcpServers": []})
        self._session = msgspec.json.decode(opened, type=_Opened).session

    def prompt(self, text: str, lines: int) -> Took:
        """Run one turn that is answered with so many lines."""
        request = self._request(
            "session/prompt", {"sessionId": self._session, "prompt": [{"type": "text", "text": text}]}
        )
        began = perf_counter()
        os.write(self._in, request)
        chunk = self._read()
        first = perf_counter()
        lines -= chunk.count(b"\n")
        while lines > 0:
            lines -= self._read().count(b"\n")
        return Took(first - began, perf_counter() - began)

    def _ask(self, method: str, params: object) -> Raw:
        os.write(self._in, self._request(method, params))
        heard = b""
        while True:
            heard += self._read()
            *lines, heard = heard.split(b"\n")
            for line in lines:
                answer = msgspec.json.decode(line, type=_Answer)
                if answer.id == self._last_id:
                    return answer.result

    def _request(self, method: str, params: object) -> bytes:
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        return msgspec.json.encode(request) + b"\n"

    def _read(self) -> bytes:
        chunk = os.read(self._out, READ_BYTES)
        if not chunk:
            raise EOFError("the agent under measurement ended")
        return chunk
