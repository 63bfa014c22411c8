"""A WebSocket way in for tests: it echoes or keeps what it hears, on time that stands still, and tells its log."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from websockets.asyncio.client import connect

from acp_broker.broker.guard import guarded
from acp_broker.edge.channel import Channel
from acp_broker.edge.peers import PeerLimits, Seats
from acp_broker.edge.websocket import Guest, WebSocketListener, WebSocketWay, websocket_listener
from tests.support.clock import FakeClock

TOKEN = "right-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 20.0


class Door:
    """A listener under test. `channels` are those that are served now, `batches` what each read brought."""

    def __init__(self, **way: object) -> None:
        self.limits = PeerLimits()
        self.token = TOKEN
        self.most_seats = 10
        self.health = (200, b'{"state":"ok"}')
        self.seats = Seats(lambda: self.most_seats)
        self.clock = FakeClock()
        self.way = WebSocketWay(
            **{
                "host": "127.0.0.1",
                "port": 0,
                "token": lambda: self.token,
                "limits": lambda: self.limits,
                "seats": self.seats,
                "health": lambda: self.health,
                **way,
            }
        )
        self.logged: list[dict[str, object]] = []
        self.channels: list[Channel] = []
        self.guests: list[Guest] = []
        self.batches: list[list[bytes]] = []
        self.on_lines: Callable[[Channel, list[bytes]], None] = lambda channel, lines: None
        self.serve: Callable[[Channel, Guest], Awaitable[None]] = self._serve
        self.listener: WebSocketListener

    @property
    def lines(self) -> list[bytes]:
        return [line for batch in self.batches for line in batch]

    @property
    def port(self) -> int:
        return int(self.listener.address.rsplit(":")[-1].split("/")[0])

    def log(self, event: str, **fields: object) -> None:
        self.logged.append({"event": event, **fields})

    def events(self, name: str) -> list[dict[str, object]]:
        return [one for one in self.logged if one["event"] == name]

    async def _serve(self, channel: Channel, guest: Guest) -> None:
        def heard(lines: list[bytes]) -> None:
            self.batches.append(lines)
            self.on_lines(channel, lines)

        self.channels.append(channel)
        self.guests.append(guest)
        try:
            await channel.run(heard)
        finally:
            self.channels.remove(channel)


def has_ipv6() -> bool:
    """Whether this machine has the loopback address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


async def until(is_so: Callable[[], bool]) -> None:
    """Let the event loop run until it is so."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():  # noqa: ASYNC110 - what it waits for sets no event
            await asyncio.sleep(0)


@asynccontextmanager
async def open_door(**way: object) -> AsyncIterator[Door]:
    """Nothing of what happens inside may reach the event loop as a fault, nor leave a task, a timer or a seat."""
    door = Door(**way)
    faults: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    before = asyncio.all_tasks()
    guard = partial(guarded, log=door.log)
    async with websocket_listener(
        door.way, lambda *who: door.serve(*who), door.clock, door.log, guard
    ) as door.listener:
        yield door
    assert [] == faults
    assert 0 == door.seats.taken
    assert [] == door.clock.armed
    assert set() == asyncio.all_tasks() - before


def client(door: Door, **how: object) -> connect:
    """The client of `websockets`, with a right token and no keepalive of its own."""
    defaults = {"additional_headers": BEARER, "ping_interval": None, "proxy": None, "open_timeout": DEADLINE_S}
    return connect(door.listener.address, **{**defaults, **how})


def echo(channel: Channel, lines: list[bytes]) -> None:
    channel.write(b"".join(line + b"\n" for line in lines))


class Raw:
    """A peer that may break every rule: a socket, and the frames that come from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def rest(self) -> bytes:
        """Everything until the broker closes, or resets, the connection."""
        data = b""
        async with asyncio.timeout(DEADLINE_S):
            with suppress(OSError):
                while part := await self.reader.read(65_536):
                    data += part
        return data

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of an HTTP answer."""
        async with asyncio.timeout(DEADLINE_S):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode().split("\r\n")[:-2]
        return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ") for line in lines)}

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame of the broker: short ones only."""
        async with asyncio.timeout(DEADLINE_S):
            first, length = await self.reader.readexactly(2)
            return first & 15, await self.reader.readexactly(length)

    async def closing(self) -> int:
        """The code of the close frame that comes next, after which nothing may come."""
        opcode, payload = await self.frame()
        assert (8, b"") == (opcode, await self.rest())
        return int.from_bytes(payload[:2], "big")

    def reset(self) -> None:
        """Vanish as a crashed machine's kernel makes its programs vanish."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def raw(door: Door, trusted: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    """It buffers two megabytes of what it does not read, and then reads no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=2**20, ssl=trusted)
    try:
        yield Raw(reader, writer)
    finally:
        # What it still has to send may never be taken.
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def request(line: str = "GET /acp HTTP/1.1", *more: str, **headers: str | None) -> bytes:
    """A right handshake; `Host="x"` replaces a header or adds one, None leaves it out, an underscore is a dash."""
    right = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        **BEARER,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [line, *(f"{name}: {value}" for name, value in right.items() if value is not None), *more]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@asynccontextmanager
async def upgraded(door: Door, trusted: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    """A raw peer behind a right handshake, served already."""
    before = len(door.guests)
    async with raw(door, trusted) as peer:
        peer.send(request())
        assert 101 == (await peer.head())[0]
        await until(lambda: len(door.guests) > before)
        yield peer


def frame(payload: bytes, opcode: int = 1, *, first: int = 0x80, mask: int = 0x80) -> bytes:
    """A short frame of a client, masked with zeros; `first` holds FIN and the reserved bits."""
    length = (
        bytes([mask | len(payload)]) if len(payload) < 126 else bytes([mask | 126]) + len(payload).to_bytes(2, "big")
    )
    return bytes([first | opcode]) + length + (b"\0\0\0\0" if mask else b"") + payload
