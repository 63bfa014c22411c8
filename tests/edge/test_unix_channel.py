"""What one client of the unix socket may cost: how fast it may speak, and how long it may take nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
import pytest
from anyio import Event, create_task_group

from acp_broker.edge.handed import Handed
from acp_broker.edge.peers import PeerLimits
from acp_broker.edge.throttle import WEIGHT_BYTES
from acp_broker.edge.unix_channel import UnixChannel
from acp_broker.wire.framing import Overlong
from tests.support.clock import FakeClock, settled

pytestmark = pytest.mark.anyio

DEADLINE_S = 20.0
# More than any socket buffer takes at once.
MUCH = 4 * 1024 * 1024


class Connection:
    """A channel that is served, and its peer's end. `batches` is what it handed over."""

    def __init__(self, *, is_handed: bool = False, limits: PeerLimits | None = None) -> None:
        self.limits = limits or PeerLimits()
        self.clock = FakeClock()
        self.logged: list[tuple[str, dict[str, object]]] = []
        self.batches: list[list[bytes]] = []
        self.over = Event()
        self.on_batch: Callable[[], None] = lambda: None
        self._came = Event()
        ours, self.relay = socket.socketpair()
        self.ours = ours.fileno()
        self.channel = UnixChannel(ours, "unix 7", lambda: self.limits, self.clock, self.log)
        self.peer = self.relay
        if is_handed:
            theirs, self.peer = socket.socketpair()
            with theirs:
                self.channel.take(Handed(theirs.fileno(), theirs.fileno()))
        self.peer.setblocking(False)

    @property
    def lines(self) -> list[bytes]:
        return [line for batch in self.batches for line in batch]

    def log(self, event: str, **fields: object) -> None:
        self.logged.append((event, fields))

    async def run(self) -> None:
        await self.channel.run(self._on_lines)
        self.over.set()

    def _on_lines(self, lines: list[bytes]) -> None:
        self.batches.append(lines)
        self.on_batch()
        self._came.set()
        self._came = Event()

    async def until(self, count: int) -> None:
        """Wait until so many lines were handed over."""
        while len(self.lines) < count:
            await self._came.wait()

    async def take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            await anyio.wait_readable(self.peer)
            data += self.peer.recv(size - len(data))
        return data


@pytest.fixture(params=[False, True], ids=["relayed", "handed"])
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    """By the socket of a relay, and by what the relay has handed over."""
    connection = Connection(is_handed=request.param)
    async with create_task_group() as tasks:
        tasks.start_soon(connection.run)
        with anyio.fail_after(DEADLINE_S):
            yield connection
        connection.channel.release()
        tasks.cancel_scope.cancel()
    connection.peer.close()
    connection.relay.close()
    assert [] == connection.clock.armed


async def test_a_flood_waits_unread(connection: Connection) -> None:
    """What passes the limit waits in the client's own buffers, and then in the client; it is said once."""
    connection.limits = PeerLimits(messages_per_s=10)
    connection.peer.send(b"x\n" * 100)
    await connection.until(100)
    connection.peer.send(b"y\n" * 10)
    await settled()
    before = len(connection.lines)
    # Three seconds' worth were free: 100 messages are paid for after 7 s.
    await connection.clock.advance(7)
    await connection.until(110)

    assert (100, [("frontend_throttled", {"frontend": "unix 7", "messages_per_s": 10})]) == (before, connection.logged)


async def test_a_long_message_counts_for_many(connection: Connection) -> None:
    """A few that are as long as they may be are as much work as a flood of short ones."""
    connection.limits = PeerLimits(messages_per_s=1)
    connection.peer.send(b"x" * 100_000 + b"\n")
    await connection.until(1)

    assert ["frontend_throttled"] == [event for event, _ in connection.logged]


async def test_much_at_once_is_handed_over_in_pieces(connection: Connection) -> None:
    """Sixty thousand bytes may be thirty thousand messages: others have their turn in between."""
    connection.peer.send(b"x\n" * 600)
    await connection.until(600)

    assert [256, 256, 88] == [len(batch) for batch in connection.batches]


async def test_what_a_client_has_asked_for_counts_as_what_it_sends(connection: Connection) -> None:
    """A short request may be for a long answer."""
    connection.limits = PeerLimits(messages_per_s=10)
    await settled()
    # Three seconds' worth are free, of 16 KiB each.
    waits = [connection.channel.charge(10 * WEIGHT_BYTES) for _ in range(5)]
    connection.peer.send(b"x\n")
    await connection.clock.advance(1.9)
    before = len(connection.lines)
    await connection.clock.advance(0.1)
    await connection.until(1)

    assert ([0, 0, 0, 1, 2], 0) == (waits, before)


async def test_who_is_charged_after_it_has_left_waits_for_nothing(connection: Connection) -> None:
    """What it had asked for may still be on its way."""
    await settled()
    connection.peer.close()
    await connection.over.wait()
    connection.channel.charge(WEIGHT_BYTES * 1_000_000)

    assert [] == connection.clock.armed


async def test_who_is_paused_is_not_listened_to(connection: Connection) -> None:
    """Whoever is handed the lines may need a while for one of them."""
    connection.limits = PeerLimits(messages_per_s=10)
    connection.peer.send(b"x\n" * 40)
    await connection.until(40)
    connection.channel.pause()
    connection.peer.send(b"y\n")
    # The throttle rings meanwhile: it reads on only where nobody else wants it not to.
    await connection.clock.advance(60)
    before = len(connection.lines)
    connection.channel.resume()
    await connection.until(41)

    assert 40 == before


async def test_a_pause_in_the_middle_of_a_batch_holds_behind_it(connection: Connection) -> None:
    """It is the handing over itself that asks for it."""
    connection.on_batch = connection.channel.pause
    connection.peer.send(b"x\n" * 600)
    await connection.until(256)
    await settled()
    before = len(connection.lines)
    connection.on_batch = lambda: None
    connection.channel.resume()
    await connection.until(600)

    assert 256 == before


async def test_what_a_paused_client_sends_waits_with_it(connection: Connection) -> None:
    """Else it fills our memory."""
    connection.on_batch = connection.channel.pause
    connection.peer.send(b"x\n")
    await connection.until(1)
    sent = 0
    with suppress(BlockingIOError):
        while sent < MUCH:
            sent += connection.peer.send(b"y" * 1023 + b"\n")
            await settled()

    assert sent < MUCH


async def test_the_end_of_a_paused_client_is_seen_once_it_is_resumed(connection: Connection) -> None:
    """It stands behind what is not heard yet."""
    await settled()
    connection.channel.pause()
    connection.peer.close()
    await settled()
    before = connection.over.is_set()
    connection.channel.resume()
    await connection.over.wait()

    assert not before


async def test_who_does_not_take_answers_is_not_listened_to(connection: Connection) -> None:
    """Else every answer to a client that reads none costs our memory."""
    connection.limits = PeerLimits(queued_bytes=1000)
    connection.channel.write(b"x" * MUCH)
    connection.peer.send(b"one\n")
    await settled()
    connection.peer.send(b"two\n")
    await settled()
    before = connection.lines
    await connection.take(MUCH)
    await connection.until(2)

    assert ([], [b"one", b"two"]) == (before, connection.lines)


async def test_who_takes_nothing_is_cut_off(connection: Connection) -> None:
    """A stopped client must not hold its seat, and what it was not told, for ever."""
    connection.channel.write(b"x" * MUCH)
    pending = connection.channel.pending
    await connection.clock.advance(29)
    before = connection.over.is_set()
    await connection.clock.advance(1)
    await connection.over.wait()

    stalled = ("frontend_stalled", {"frontend": "unix 7", "pending": pending, "seconds": 30.0})
    assert (False, [stalled], 0) == (before, connection.logged, connection.channel.pending)


async def test_who_takes_a_little_is_not_cut_off(connection: Connection) -> None:
    """A slow terminal is slow, not gone."""
    connection.channel.write(b"x" * MUCH)
    for _ in range(4):
        await connection.take(300_000)
        await settled()
        await connection.clock.advance(20)

    assert ([], False) == (connection.logged, connection.over.is_set())


async def test_who_has_taken_everything_may_be_quiet(connection: Connection) -> None:
    """An editor over night: nothing waits for it."""
    connection.channel.write(b"x" * MUCH)
    await connection.take(MUCH)
    await settled()
    await connection.clock.advance(3600)

    assert ([], False) == (connection.logged, connection.over.is_set())


async def test_one_that_vanishes_while_nobody_listens_to_it_is_seen(connection: Connection) -> None:
    """Its end of input comes behind what it said, and that is not read."""
    connection.limits = PeerLimits(queued_bytes=1000)
    connection.channel.write(b"x" * MUCH)
    connection.peer.send(b"one\n")
    await settled()
    connection.peer.close()

    await connection.over.wait()


async def test_what_is_closed_before_it_is_served_ends_at_once() -> None:
    """The daemon may end in that very moment."""
    connection = Connection()
    connection.channel.close("the daemon ends")
    with anyio.fail_after(DEADLINE_S):
        await connection.run()
    connection.channel.release()
    connection.peer.close()

    assert [] == connection.batches


@pytest.mark.parametrize("connection", [True], indirect=True)
@pytest.mark.parametrize("how", ["close", "shutdown"])
async def test_the_end_of_the_relay_is_the_end_of_its_editor(connection: Connection, how: str) -> None:
    """The editor has killed it, or asked it to end, and may keep its own ends of the pipes."""
    await settled()
    if how == "close":
        connection.relay.close()
    else:
        connection.relay.shutdown(socket.SHUT_WR)
    await connection.over.wait()
    is_heard_of = asyncio.get_running_loop().remove_reader(connection.ours)
    connection.channel.write(b"last words")

    assert (False, b"last words") == (is_heard_of, await connection.take(10))


@pytest.mark.parametrize("connection", [True], indirect=True)
async def test_what_was_handed_over_is_given_back(connection: Connection) -> None:
    """The editor waits for the end of what it reads."""
    await settled()
    connection.channel.release()
    await anyio.wait_readable(connection.peer)

    assert not asyncio.get_running_loop().remove_reader(connection.ours)
    assert (b"", b"") == (connection.peer.recv(1), connection.relay.recv(1))


@pytest.mark.parametrize("is_handed", [False, True])
async def test_a_line_without_end_is_not_kept(is_handed: bool) -> None:
    """Only that it was too long is handed over."""
    connection = Connection(is_handed=is_handed, limits=PeerLimits(max_message_bytes=10))
    async with create_task_group() as tasks:
        tasks.start_soon(connection.run)
        with anyio.fail_after(DEADLINE_S):
            connection.peer.send(b"x" * 100_000 + b"\nshort\n")
            await connection.until(2)
        connection.channel.release()
    connection.peer.close()
    connection.relay.close()

    assert [Overlong, bytes] == [type(line) for line in connection.lines]


async def test_what_somebody_else_has_read_is_not_waited_for() -> None:
    """A shell may have given the same stdin to others too; one of them is before us."""
    ours, relay = socket.socketpair()
    stdin, editor = socket.socketpair()
    taken, lines, loop = [], [], asyncio.get_running_loop()
    channel = UnixChannel(ours, "unix 7", PeerLimits, FakeClock(), lambda *_, **__: None)
    channel.take(Handed(stdin.fileno(), stdin.fileno()))
    others = [stdin.dup(), stdin.dup()]

    def take(other: socket.socket) -> None:
        with suppress(BlockingIOError):
            taken.append(other.recv(100, socket.MSG_DONTWAIT))

    # Whatever the order in which the kernel tells: one has asked before us, and one behind us.
    loop.add_reader(others[0], take, others[0])
    async with create_task_group() as tasks:
        tasks.start_soon(channel.run, lines.extend)
        await settled()
        loop.add_reader(others[1], take, others[1])
        editor.send(b"theirs\n")
        await settled()
        for other in others:
            loop.remove_reader(other)
        editor.send(b"ours\n")
        editor.close()
    channel.release()
    for sock in (relay, stdin, *others):
        sock.close()

    assert ([b"theirs\n"], [b"ours"]) == (taken, lines)
