"""The unix socket by which `acp-broker stdio` and `acp-broker status` reach the daemon: each connection, once it has
said hello as edge/meeting.py writes it down, is a Channel.

It belongs to one user: the folder and the socket are closed to others, and the kernel is asked who each peer is.
"""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal
from weakref import WeakSet

import anyio
import msgspec
from anyio import CancelScope, Semaphore, create_task_group
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from msgspec import Struct

from acp_broker.clock import Clock, SystemClock
from acp_broker.edge import meeting, ownership
from acp_broker.edge.handed import Handed
from acp_broker.edge.peers import PeerLimits, Seats
from acp_broker.edge.sparing import SparingLog
from acp_broker.edge.unix_channel import UnixChannel

# A relay says hello in the millisecond in which it connects. One that is stopped in between may take its time.
HELLO_S = 5.0
# So many may be connected and not have said hello yet; more wait in the kernel's queue.
UNHEARD = 64
# When the system has no descriptors left for us, those who leave give some back.
FULL_S = 0.5
# How long those who are still connected may take to leave when the listener ends.
END_S = 10.0
# Linux: by what a process has open, a pipe is opened anew.
CAN_TAKE_PIPES = Path("/proc/self/fd").is_dir()


Log = Callable[..., None]
# Awaits it; what it raises is logged, and raised no further.
Guarded = Callable[[Awaitable[None]], Awaitable[object]]


class Hello(Struct, frozen=True):
    """What a client says of itself. `environment` is as `os.environ` of its own process would be here."""

    version: str
    config: str
    pid: int
    environment: dict[str, str]
    asks: Literal["frontend", "status"]
    # It can hand over the pipes that its editor gave it.
    pipes: bool = False


Answer = Callable[[Hello], bytes | None]


@asynccontextmanager
async def unix_listener(
    home: Path,
    answer: Answer,
    serve: Callable[[UnixChannel, Hello], Awaitable[None]],
    limits: Callable[[], PeerLimits],
    seats: Seats,
    log: Log,
    guarded: Guarded,
    *,
    about: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Path]:
    """Listen for the relays of a state folder; gives the socket's path.

    `answer` gives the one line for a client that is not served (`refusal(...)`, a status), or None: then `serve` has
    it until it returns. `about` is what daemon.json says of us beside socket and pid. At the end every channel is
    closed, and `serve` has END_S to return. `guarded` has each connection to itself: a fault in one ends no other.
    Raises UsageError when another daemon owns the state folder.
    """
    clock = clock or SystemClock()
    with ownership.owned(home, about or {}, os.environ) as listening:
        tasks = await create_task_group().__aenter__()
        sparing = SparingLog(log, clock)
        door = _Door(answer, serve, limits, seats, clock, sparing, guarded, tasks)
        accepting = CancelScope()
        tasks.start_soon(door.accept, listening, accepting)
        try:
            yield Path(listening.getsockname())
        finally:
            accepting.cancel()
            with CancelScope(shield=True):
                await door.emptied()
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)
            sparing.flush()


def refusal(why: str) -> bytes:
    """The line for a client that is not served."""
    return meeting.line(refused=why)


def allowed(environment: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """The variables whose name one of the patterns fits; `*` and `?` stand for anything, upper case is not lower."""
    return {
        name: value for name, value in environment.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


class _Door:
    """Everybody who is connected."""

    def __init__(
        self,
        answer: Answer,
        serve: Callable[[UnixChannel, Hello], Awaitable[None]],
        limits: Callable[[], PeerLimits],
        seats: Seats,
        clock: Clock,
        log: Log,
        guarded: Guarded,
        tasks: TaskGroup,
    ) -> None:
        self._answer = answer
        self._serve = serve
        self._limits = limits
        self._seats = seats
        self._clock = clock
        self._log = log
        self._guarded = guarded
        self._tasks = tasks
        self._unheard = Semaphore(UNHEARD)
        self._channels: set[UnixChannel] = set()
        # Each waits for the pipes of a relay.
        self._waits: WeakSet[CancelScope] = WeakSet()
        self._empty = anyio.Event()

    async def accept(self, listening: socket.socket, until: CancelScope) -> None:
        with until:
            while True:
                await self._unheard.acquire()
                self._tasks.start_soon(self._guard, await self._next(listening))

    async def _next(self, listening: socket.socket) -> socket.socket:
        while True:
            await anyio.wait_readable(listening)
            try:
                return listening.accept()[0]
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:
                self._log("accept_failed", way="unix", why=error.strerror, retry_s=FULL_S)
                await anyio.sleep(FULL_S)

    async def emptied(self) -> None:
        """Let everybody leave."""
        await checkpoint()  # who was accepted a moment ago is in by now
        for channel in tuple(self._channels):
            channel.close("the broker ends")
        for wait in self._waits:
            wait.cancel()
        with anyio.move_on_after(END_S):
            while self._channels:
                self._empty = anyio.Event()
                await self._empty.wait()

    async def _guard(self, sock: socket.socket) -> None:
        await self._guarded(self._receive(sock))

    async def _receive(self, sock: socket.socket) -> None:
        with sock:
            sock.setblocking(False)  # noqa: FBT003
            try:
                uid = meeting.peer_uid(sock)
                if uid not in (os.geteuid(), 0):
                    raise _Unwelcome(f"it is of another user ({uid})")
                hello = await _hello(sock)
            except (_Unwelcome, OSError) as error:
                self._log("client_refused", way="unix", why=str(error))
                return
            finally:
                self._unheard.release()
            channel = UnixChannel(sock, f"unix {hello.pid}", self._limits, self._clock, self._log)
            await self._meet(channel, sock, hello)

    async def _meet(self, channel: UnixChannel, sock: socket.socket, hello: Hello) -> None:
        self._channels.add(channel)
        try:
            said = self._answer(hello)
            if said is not None:
                channel.write(said)
            elif self._seats.take():
                try:
                    if await self._welcome(channel, sock, hello):
                        await self._serve(channel, hello)
                finally:
                    self._seats.leave()
            else:
                self._log("client_refused", way="unix", pid=hello.pid, why="no seat is left")
                channel.write(refusal("it serves as many clients as it may (limits.connections)"))
            await channel.drained()
        finally:
            channel.release()
            self._channels.discard(channel)
            self._empty.set()

    async def _welcome(self, channel: UnixChannel, sock: socket.socket, hello: Hello) -> bool:
        """Whether it can be served now."""
        takes = hello.pipes and CAN_TAKE_PIPES
        channel.write(meeting.line(welcome=True, **({"pipes": True} if takes else {})))
        if takes:
            try:
                handed = await self._handed(sock)
                channel.write(b"\n")
                channel.take(handed)
            except (_Unwelcome, OSError) as error:
                self._log("client_refused", way="unix", pid=hello.pid, why=str(error))
                return False
        return True

    async def _handed(self, sock: socket.socket) -> Handed:
        """The editor's pipes, which a relay gives whom it was told to. Raises _Unwelcome, OSError."""
        fds: list[int] = []
        try:
            with anyio.move_on_after(HELLO_S) as wait:
                self._waits.add(wait)
                await anyio.wait_readable(sock)
                _, fds, _, _ = socket.recv_fds(sock, 1, 3)
            if len(fds) != 2 or not all(map(meeting.is_pipe, fds)):
                raise _Unwelcome("it did not give the pipes that it has")
            return Handed(*fds)
        finally:
            for fd in fds:
                os.close(fd)


class _Unwelcome(Exception):  # noqa: N818 - it is not our error
    """A client that did not say hello as it must."""


async def _hello(sock: socket.socket) -> Hello:
    """Raises _Unwelcome, OSError."""
    heard = b""
    with anyio.move_on_after(HELLO_S):
        while not heard.endswith(b"\n"):
            if len(heard) > meeting.LINE_BYTES:
                raise _Unwelcome(f"its hello is longer than {meeting.LINE_BYTES} bytes")
            await anyio.wait_readable(sock)
            chunk = meeting.taken(sock)
            if not chunk:
                raise _Unwelcome("it left without a hello")
            heard += chunk
        return _read(heard)
    raise _Unwelcome(f"it said no hello within {HELLO_S:g} s")


def _read(line: bytes) -> Hello:
    try:
        hello = msgspec.convert(meeting.read(line), Hello)
        if any("=" in name for name in hello.environment):
            raise ValueError("a variable's name with = in it")
        return msgspec.structs.replace(
            hello,
            config=_here(hello.config),
            environment={_here(name): _here(value) for name, value in hello.environment.items()},
        )
    except ValueError as error:
        raise _Unwelcome(f"its hello cannot be read: {error}") from error


def _here(text: str) -> str:
    """A text of the environment as this process would have it: it is bytes, and each side has its own locale for them.

    Raises ValueError for what no environment can hold.
    """
    raw = text.encode(errors="surrogateescape")
    if b"\0" in raw:
        raise ValueError("a null byte in a variable")
    return os.fsdecode(raw)
