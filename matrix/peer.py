"""A client of one ACP agent that writes down every line, and when it came or went."""

import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from time import monotonic

import anyio
import msgspec
from anyio.abc import Process
from msgspec import Raw, Struct

# After its stdin was closed; then its group is killed.
LEAVE_S = 1.0
CAPABILITIES = {"fs": {"readTextFile": True, "writeTextFile": True}, "terminal": True}
_NO_SUCH_METHOD = {"code": -32601, "message": "not in this client"}


class Line(Struct, frozen=True):
    """`at_s`: since the process was started."""

    at_s: float
    is_of_agent: bool
    text: bytes


class Reply(Struct, frozen=True):
    """What a request was answered with, the other is empty; `at_s` as of a Line."""

    at_s: float
    result: Raw
    error: Raw


class _Frame(Struct):
    id: Raw = Raw()
    method: str | None = None
    result: Raw = Raw()
    error: Raw = Raw()


class GoneError(Exception):
    """The agent's process has ended."""


class Peer:
    """`lines` is the whole conversation, in order."""

    def __init__(self, process: Process) -> None:
        self.lines: list[Line] = []
        self._process = process
        self._began = monotonic()
        self._replies: dict[int, Reply] = {}
        self._changed = anyio.Event()
        self._is_over = False
        self._last_id = -1

    async def begin(self, method: str, params: object) -> int:
        """Send a request; its id."""
        self._last_id += 1
        await self._write({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        return self._last_id

    async def tell(self, method: str, params: object) -> None:
        await self._write({"jsonrpc": "2.0", "method": method, "params": params})

    async def reply(self, request: int, within_s: float) -> Reply | None:
        """Its answer, or None if there was none in that time. Raises GoneError."""
        with anyio.move_on_after(within_s):
            while request not in self._replies:
                if self._is_over:
                    raise GoneError
                await self._changed.wait()
        return self._replies.get(request)

    async def pause(self, seconds: float) -> None:
        """Listen for what comes behind an answer."""
        with anyio.move_on_after(seconds):
            while not self._is_over:
                await self._changed.wait()

    async def read(self) -> None:
        """Read it to its end."""
        rest = b""
        assert self._process.stdout is not None
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for chunk in self._process.stdout:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    await self._heard(line)
        self._is_over = True
        self._wake()

    async def _heard(self, line: bytes) -> None:
        self.lines.append(Line(monotonic() - self._began, is_of_agent=True, text=line))
        try:
            frame = msgspec.json.decode(line, type=_Frame)
        except msgspec.DecodeError:  # a banner on stdout
            return
        if not frame.id:
            return
        if frame.method is not None:
            await self._write({"jsonrpc": "2.0", "id": frame.id, "error": _NO_SUCH_METHOD})
        elif bytes(frame.id).isdigit():
            self._replies[int(bytes(frame.id))] = Reply(self.lines[-1].at_s, frame.result, frame.error)
            self._wake()

    async def _write(self, message: object) -> None:
        line = msgspec.json.encode(message)
        self.lines.append(Line(monotonic() - self._began, is_of_agent=False, text=line))
        assert self._process.stdin is not None
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._process.stdin.send(line + b"\n")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@asynccontextmanager
async def talking(command: Sequence[str], environ: Mapping[str, str], cwd: Path, stderr: Path) -> AsyncIterator[Peer]:
    """An agent, or the broker, in a process group of its own; ended on the way out."""
    with stderr.open("wb") as sink:
        process = await anyio.open_process(
            command, env=environ, cwd=cwd, stdin=PIPE, stdout=PIPE, stderr=sink, start_new_session=True
        )
    peer = Peer(process)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.read)
            yield peer
            await _leave(process)
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _kill(process)


async def _leave(process: Process) -> None:
    assert process.stdin is not None
    with suppress(anyio.BrokenResourceError):
        await process.stdin.aclose()
    with anyio.move_on_after(LEAVE_S):
        await process.wait()


async def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.aclose()
