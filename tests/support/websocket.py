"""A WebSocket way in for tests: it echoes or keeps what it hears, on time that stands still, and tells its log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
from websockets.asyncio.client import ClientConnection, connect

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
        self._changed = asyncio.Event()
        self.listener: WebSocketListener

    @property
    def lines(self) -> list[bytes]:
        return [line for batch in self.batches for line in batch]

    @property
    def port(self) -> int:
        return int(self.listener.address.rsplit(":")[-1].split("/")[0])

    def log(self, event: str, **fields: object) -> None:
        self.logged.append({"event": event, **fields})
        self._wake()

    def events(self, name: str) -> list[dict[str, object]]:
        return [one for one in self.logged if one["event"] == name]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something that happens here makes it so."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()

    async def _serve(self, channel: Channel, guest: Guest) -> None:
        def heard(lines: list[bytes]) -> None:
            self.batches.append(lines)
            self.on_lines(channel, lines)
            self._wake()

        self.channels.append(channel)
        self.guests.append(guest)
        self._wake()
        try:
            await channel.run(heard)
        finally:
            self.channels.remove(channel)
            self._wake()


@asynccontextmanager
async def open_door(**way: object) -> AsyncIterator[Door]:
    door = Door(**way)
    async with websocket_listener(door.way, lambda *who: door.serve(*who), door.clock, door.log) as door.listener:
        yield door
    assert door.seats.taken == 0


def client(door: Door, **how: object) -> connect:
    """The client of `websockets`, with a right token and no keepalive of its own."""
    defaults = {"additional_headers": BEARER, "ping_interval": None, "proxy": None, "open_timeout": DEADLINE_S}
    return connect(door.listener.address, **{**defaults, **how})


def echo(channel: Channel, lines: list[bytes]) -> None:
    channel.write(b"".join(line + b"\n" for line in lines))


async def hear(peer: ClientConnection) -> object:
    async with asyncio.timeout(DEADLINE_S):
        return msgspec.json.decode(await peer.recv())
