"""Readers and writers over real descriptors: order, partial writes, peers that are slow or gone."""

import fcntl
import os
import select
import socket
from collections.abc import Callable, Iterator

import anyio
import pytest

from acp_broker.edge import pipes
from acp_broker.edge.pipes import InheritedSocket, OwnPipe, Polled, Reader, Sink, Writer, inherited_sink
from acp_broker.edge.stdio import StdioChannel
from acp_broker.wire.framing import MAX_LINE_BYTES

pytestmark = pytest.mark.anyio

# More than any pipe or socket buffer takes at once.
MUCH = 4 * 1024 * 1024
Pair = tuple[int, int]


def a_pipe() -> Pair:
    listen, speak = os.pipe()
    return listen, speak


def a_socket() -> Pair:
    listen, speak = socket.socketpair()
    return listen.detach(), speak.detach()


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    listen, speak = getattr(request, "param", a_pipe)()
    yield listen, speak
    for fd in (listen, speak):
        try:
            os.close(fd)
        except OSError:
            continue


async def taken(fd: int, size: int) -> bytes:
    """So many bytes, read as they come."""
    data = b""
    with anyio.fail_after(20):
        while len(data) < size:
            await anyio.wait_readable(fd)
            data += os.read(fd, 65536)
    return data


@pytest.mark.parametrize(
    ("pair", "sink"),
    [(a_pipe, inherited_sink), (a_socket, inherited_sink), (a_pipe, Polled), (a_socket, Polled)],
    indirect=["pair"],
)
async def test_what_a_slow_reader_does_not_take_is_kept_in_order(pair: Pair, sink: Callable[[int], Sink]) -> None:
    """A write never waits, whatever the reader does; `pending` says what is still ours."""
    listen, speak = pair
    writer = Writer(sink(speak))
    messages = [bytes([number]) * (MUCH // 8) for number in range(8)]
    for message in messages:
        writer.write(message)
    kept = writer.pending
    got = await taken(listen, MUCH)

    assert 0 < kept < MUCH
    assert (b"".join(messages), 0) == (got, writer.pending)
    writer.close()


async def test_those_who_wait_are_told_each_time_that_everything_was_taken(pair: Pair) -> None:
    """That is when a cursor may advance; what it writes then keeps its place."""
    listen, speak = pair
    writer = Writer(inherited_sink(speak))
    more = [b"b" * MUCH, b"c" * MUCH]
    told = []

    def drained() -> None:
        told.append(writer.pending)
        if more:
            writer.write(more.pop(0))

    writer.when_drained(drained)
    writer.write(b"a" * MUCH)
    got = await taken(listen, 3 * MUCH)
    await anyio.wait_all_tasks_blocked()

    assert [0, 0, 0] == told
    assert b"a" * MUCH + b"b" * MUCH + b"c" * MUCH == got
    writer.close()


@pytest.mark.parametrize("pair", [a_pipe, a_socket], indirect=True)
async def test_a_reader_that_is_gone_ends_the_writing(pair: Pair) -> None:
    """What nobody can read is dropped, not kept; those who wait for it are told."""
    listen, speak = pair
    writer = Writer(inherited_sink(speak))
    told = []
    writer.when_drained(lambda: told.append(writer.pending))
    writer.write(b"x" * MUCH)
    os.close(listen)
    with anyio.fail_after(20):
        while writer.pending:
            await anyio.lowlevel.checkpoint()
    writer.write(b"y")

    assert (0, [0]) == (writer.pending, told)


@pytest.mark.parametrize(("make", "kind"), [(a_pipe, OwnPipe), (a_socket, InheritedSocket)])
def test_a_sink_leaves_what_it_was_given_blocking(make: Callable[[], Pair], kind: type) -> None:
    """O_NONBLOCK on an open file that our parent shares makes the parent's own writes fail."""
    listen, speak = make()
    sink = inherited_sink(speak)
    flags = fcntl.fcntl(speak, fcntl.F_GETFL)
    sink.close()
    os.close(listen)
    os.close(speak)

    assert (kind, 0) == (type(sink), flags & os.O_NONBLOCK)


async def test_lines_are_handed_over_by_reads_and_the_last_one_without_its_newline(pair: Pair) -> None:
    """One call per read, so that a burst costs one step; a half line at the end is the reader's to judge."""
    listen, speak = pair
    os.write(speak, b"one\ntwo\nthr")
    heard: list[list[bytes]] = []

    def on_lines(lines: list[bytes]) -> None:
        heard.append(lines)
        if len(heard) == 1:
            os.write(speak, b"ee")
            os.close(speak)

    await Reader(listen, MAX_LINE_BYTES).run(on_lines)

    assert [[b"one", b"two"], [b"three"]] == heard


async def test_a_reader_that_was_stopped_before_it_began_reads_nothing(pair: Pair) -> None:
    """A signal may come while the broker is still starting."""
    reader = Reader(pair[0], MAX_LINE_BYTES)
    reader.stop()
    with anyio.fail_after(5):
        await reader.run(lambda _: pytest.fail("it read"))


async def test_a_stopped_reader_leaves_the_rest_unread(pair: Pair) -> None:
    """A signal ends the conversation as if the other side had; run returns."""
    listen, speak = pair
    reader = Reader(listen, MAX_LINE_BYTES)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.run, lambda _: reader.stop())
        await anyio.wait_all_tasks_blocked()
        os.write(speak, b"stop\n")
    os.write(speak, b"more\n")

    assert [listen] == select.select([listen], [], [], 0)[0]


async def test_last_words_wait_for_a_reader_that_goes_on_reading(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the whole would cut off the one that reads steadily."""
    monkeypatch.setattr(pipes, "LAST_WORDS_S", 0.1)
    listen, speak = pair
    channel = StdioChannel(listen, speak)
    channel.write(b"x" * (MUCH // 2))

    async def read_in_crumbs() -> None:
        while channel.pending:
            await anyio.wait_readable(listen)
            os.read(listen, 256)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_in_crumbs)
        await channel.drained()
        left = channel.pending
        tasks.cancel_scope.cancel()

    assert 0 == left


async def test_last_words_do_not_wait_for_one_that_reads_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor that hangs must not keep us from leaving."""
    monkeypatch.setattr(pipes, "LAST_WORDS_S", 0.05)
    channel = StdioChannel(*pair)
    channel.write(b"x" * MUCH)
    with anyio.fail_after(20):
        await channel.drained()

    assert channel.pending
