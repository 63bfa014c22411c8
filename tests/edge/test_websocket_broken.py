"""WebSocket peers that break the rules, vanish, flood or never read: each harms only itself and is named in the log."""

import asyncio
import random
import zlib

import pytest

from acp_broker.edge.channel import Channel
from acp_broker.edge.gate import Gate
from acp_broker.edge.peers import PeerLimits
from acp_broker.edge.websocket_channel import MOST_AT_ONCE
from tests.support.clock import settled
from tests.support.websocket import (
    DEADLINE_S,
    Raw,
    client,
    echo,
    frame,
    open_door,
    raw,
    request,
    until,
    upgraded,
)

pytestmark = pytest.mark.anyio

MEGABYTE = 2**20
# A message that takes as long to send as the peer takes to read it.
LINE = b'"' + b"x" * 1000 + b'"\n'


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"{}", mask=0), 1002),
        (frame(b"{}", first=0xC0), 1002),
        (frame(b"{}", first=0xA0), 1002),
        (frame(b"{}", opcode=3), 1002),
        (frame(b"{}", opcode=0), 1002),
        (frame(b"{", first=0) + frame(b"}"), 1002),
        (frame(b"", opcode=9, first=0), 1002),
        (frame(b"x" * 126, opcode=9), 1002),
        (frame(b"\x03", opcode=8), 1002),
        (frame(b"\x03\xed", opcode=8), 1002),
        (frame(b'"\xff"'), 1007),
        (frame(b'"\xe2\x82', first=0) + frame(b'"', opcode=0), 1007),
        (frame(b"\x03\xe8\xff", opcode=8), 1007),
        (b"\x81\xff" + (2**40).to_bytes(8, "big"), 1009),
        (b"\x81\xff" + (2**63).to_bytes(8, "big"), 1009),
        (frame(b"x" * 40_000, first=0) + frame(b"x" * 40_000, opcode=0), 1009),
    ],
)
async def test_each_violation_gets_its_close_code(sent: bytes, code: int) -> None:
    """RFC 6455, section 7.4.1. An announced length counts, not what came of it: nothing of it is kept."""
    async with open_door() as door:
        door.limits = PeerLimits(max_message_bytes=65_536)
        async with upgraded(door) as peer:
            peer.send(sent)
            answered = await peer.closing()

    assert ([code], code) == ([one["code"] for one in door.events("websocket_broken")], answered)


async def test_what_came_before_a_violation_counts() -> None:
    """It was said by the rules."""
    async with open_door() as door, upgraded(door) as peer:
        peer.send(frame(b"{}") + frame(b"{}", mask=0) + frame(b"[]"))
        await peer.closing()

    assert [b"{}"] == door.lines


async def test_a_bomb_of_zeros_is_not_blown_up() -> None:
    """64 KiB are allowed; these few bytes would be 100 MB."""
    deflate = zlib.compressobj(wbits=-12)
    bomb = (deflate.compress(b" " * 100 * MEGABYTE) + deflate.flush(zlib.Z_SYNC_FLUSH))[:60_000]
    async with open_door() as door, raw(door) as peer:
        door.limits = PeerLimits(max_message_bytes=65_536)
        peer.send(request(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"))
        await peer.head()
        peer.send(frame(bomb, first=0xC0))
        code = await peer.closing()

    assert 1009 == code


async def test_a_peer_that_closes_gets_its_own_code_back() -> None:
    """RFC 6455, section 5.5.1; and it is no violation."""
    async with open_door() as door, upgraded(door) as peer:
        peer.send(frame(b"\x03\xe8bye", opcode=8))
        answer = await peer.frame()
        rest = await peer.rest()

    assert ((8, b"\x03\xe8bye"), b"", []) == (answer, rest, door.logged)


async def test_a_peer_that_closes_without_a_close_frame_is_gone() -> None:
    """A killed bridge: its kernel ends the stream, nothing more."""
    async with open_door() as door, upgraded(door) as peer:
        peer.send(frame(b"{}"))
        peer.writer.write_eof()
        await until(lambda: not door.channels)

    assert ([b"{}"], []) == (door.lines, door.logged)


async def test_a_reset_in_the_middle_of_a_frame_ends_the_connection() -> None:
    """A crashed machine, or a router that forgot it."""
    async with open_door() as door, upgraded(door) as peer:
        peer.send(frame(b"x" * 1000)[:500])
        await settled()
        peer.reset()
        await until(lambda: not door.channels)

    assert ([], []) == (door.lines, door.logged)


async def test_a_peer_that_vanished_drops_what_is_pending() -> None:
    """Whoever waits for it to be drained goes on, and finds nothing pending."""
    async with open_door() as door, upgraded(door) as peer:
        channel, drained = door.channels[0], asyncio.Event()
        channel.when_drained(drained.set)
        channel.write(LINE * 10_000)
        pending = channel.pending
        peer.reset()
        async with asyncio.timeout(DEADLINE_S):
            await drained.wait()
        channel.write(LINE)

    assert (True, 0) == (pending > 0, channel.pending)


async def test_a_silent_peer_is_asked_for_a_sign_of_life() -> None:
    """A connection that nobody uses is not one that is dead."""
    async with open_door() as door, upgraded(door) as peer:
        for _ in range(5):
            await door.clock.advance(30)
            ping = await peer.frame()
            peer.send(frame(b"", opcode=10))
            await settled()

    assert ((9, b""), []) == (ping, door.logged)


async def test_a_half_open_connection_is_found() -> None:
    """The other machine is switched off: nothing comes any more, not even an error."""
    async with open_door() as door, upgraded(door) as peer:
        await door.clock.advance(59.9)
        before = len(door.channels)
        await door.clock.advance(0.1)
        await until(lambda: not door.channels)
        await peer.rest()

    assert (1, ["frontend_lost"]) == (before, [one["event"] for one in door.logged])


async def test_a_flood_has_to_wait() -> None:
    """Three seconds' worth at once, then as many per second as config allows; it is said once."""
    async with open_door() as door:
        door.limits = PeerLimits(messages_per_s=1000)
        async with upgraded(door) as peer:
            peer.send(frame(b"{}") * 20_000)
            await settled()
            first = len(door.lines)
            await door.clock.advance(2)
            later = len(door.lines)

    assert 3000 <= first < 3000 + 2 * MOST_AT_ONCE
    assert 5000 <= later < 5000 + 2 * MOST_AT_ONCE
    assert [1000] == [one["messages_per_s"] for one in door.events("frontend_throttled")]


async def test_a_flood_is_not_buffered() -> None:
    """What has to wait stays with the peer, whose own writes then wait."""
    async with open_door() as door:
        door.limits = PeerLimits(messages_per_s=10)
        async with upgraded(door) as peer:
            sent = await flood(peer, frame(b"{}") * 1000)
            kept = len(door.channels[0]._unread)

    assert sent < 100 * MEGABYTE
    assert kept <= 256 * 1024


async def test_a_big_read_of_tiny_messages_is_handed_over_in_parts() -> None:
    """Others have their turn in between."""
    async with open_door() as door, upgraded(door) as peer:
        peer.send(frame(b"{}") * 5000)
        await until(lambda: len(door.lines) == 5000)

    assert max(map(len, door.batches)) < 2 * MOST_AT_ONCE


async def test_small_messages_of_one_read_come_in_one_call() -> None:
    """A call costs more than a message."""
    async with open_door() as door, upgraded(door) as peer:
        peer.send(frame(b"{}") * 50)
        await until(lambda: len(door.lines) == 50)

    assert 1 == len(door.batches)


async def test_a_throttled_peer_may_still_leave() -> None:
    """Its messages come first, then its goodbye."""
    async with open_door() as door:
        door.limits = PeerLimits(messages_per_s=100)
        async with upgraded(door) as peer:
            peer.send(frame(b"{}") * 1000 + frame(b"", opcode=8))
            await settled()
            await door.clock.advance(10)
            closing = await peer.frame()

    assert (1000, (8, b"")) == (len(door.lines), closing)


async def test_long_messages_count_for_more_than_one() -> None:
    """Ten of them a second would keep this machine busy."""
    async with open_door() as door:
        door.limits = PeerLimits(messages_per_s=100)
        async with client(door) as peer:
            await peer.send(" " * 8 * MEGABYTE + "{}")
            await until(lambda: bool(door.events("frontend_throttled")))
            await peer.send("[]")
            await settled()
            before = len(door.lines)
            await door.clock.advance(10)
            await until(lambda: len(door.lines) == 2)

    assert 1 == before


@pytest.mark.parametrize("message", [bytes(8 * MEGABYTE), " " * 8 * MEGABYTE], ids=["binary", "blank"])
async def test_long_messages_that_say_nothing_count_too(message: bytes | str) -> None:
    """Compressed they are nothing to send, and as much work as any to unpack."""
    async with open_door() as door:
        door.limits = PeerLimits(messages_per_s=100)
        async with client(door) as peer:
            await peer.send(message)
            await until(lambda: bool(door.events("frontend_throttled")))
            await door.clock.advance(100)  # it is listened to again, and can say goodbye

    assert [] == door.lines


async def test_what_unpacks_to_much_is_unpacked_in_parts() -> None:
    """Others have their turn in between."""
    deflate = zlib.compressobj(wbits=-12)
    line = deflate.compress(b"x" * MEGABYTE) + deflate.flush(zlib.Z_SYNC_FLUSH)
    async with open_door() as door, raw(door) as peer:
        door.limits = PeerLimits(messages_per_s=10**9)
        peer.send(request(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"))
        await peer.head()
        # RFC 7692, section 7.2.1: a message is sent without its last four bytes.
        peer.send(frame(line[:-4], first=0xC0) * 8)
        await until(lambda: len(door.lines) == 8)

    assert max(map(len, door.batches)) < 4


@pytest.mark.parametrize("seed", range(30))
async def test_any_bytes_end_one_connection_at_most(seed: int) -> None:
    """Whatever comes, it is refused, and nothing but that connection ends."""
    chance = random.Random(seed)
    async with open_door() as door, upgraded(door) as peer, client(door) as honest:
        peer.send(chance.choice([b"", b"\x81", b"\x01\x82"]) + chance.randbytes(chance.randrange(1, 3000)))
        peer.writer.write_eof()
        await peer.rest()
        door.on_lines = echo
        await honest.send("{}")
        answer = await honest.recv()

    assert "{}" == answer


async def test_pings_count_as_messages() -> None:
    """Each costs an answer."""
    async with open_door() as door:
        door.limits = PeerLimits(messages_per_s=100)
        async with upgraded(door) as peer:
            peer.send(frame(b"", opcode=9) * 5000)
            await settled()
            await until(lambda: bool(door.events("frontend_throttled")))
            await door.clock.advance(100)  # it is listened to again, and can say goodbye

    assert [] == door.lines


async def test_a_flood_of_pings_whose_answers_nobody_reads_is_not_listened_to() -> None:
    """The answers wait here: no more than limits.queuedBytes of them; then it is cut off like any that stalls."""
    async with open_door() as door:
        door.limits = PeerLimits(messages_per_s=10**9, queued_bytes=65_536)
        async with upgraded(door) as peer:
            peer.writer.transport.pause_reading()
            await flood(peer, frame(b"x" * 100, opcode=9) * 100)
            pending = door.channels[0].pending
            await door.clock.advance(40)
            await until(lambda: not door.channels)

    assert 65_536 < pending < 65_536 + 512 * 1024
    assert ["frontend_stalled"] == [one["event"] for one in door.logged]


async def test_a_peer_that_never_reads_is_cut_off() -> None:
    """What it was sent is held for it, and only so long."""
    async with open_door() as door, upgraded(door) as peer:
        peer.writer.transport.pause_reading()
        door.channels[0].write(LINE * 10_000)
        await door.clock.advance(29.9)
        before = len(door.channels)
        await door.clock.advance(0.1)
        await until(lambda: not door.channels)

    assert (1, ["frontend_stalled"]) == (before, [one["event"] for one in door.logged])


async def test_a_peer_that_reads_slowly_stays() -> None:
    """A phone, or a bridge that is busy: what counts is that it takes anything at all."""
    async with open_door() as door, upgraded(door) as peer:
        door.channels[0].write(LINE * 80_000)
        for _ in range(5):
            await door.clock.advance(20)
            async with asyncio.timeout(DEADLINE_S):
                await peer.reader.readexactly(6 * MEGABYTE)
        left = door.channels[0].pending

    assert left > 0
    assert [] == door.logged


async def test_a_peer_that_has_read_everything_may_be_quiet() -> None:
    """Nothing waits for it."""
    async with open_door() as door, upgraded(door) as peer:
        door.limits = PeerLimits(stalled_s=10)
        door.channels[0].write(LINE * 80_000)
        waited = door.channels[0].pending
        async with asyncio.timeout(DEADLINE_S):
            while door.channels[0].pending:
                await peer.reader.read(MEGABYTE)
        await settled()
        await door.clock.advance(25)  # the first ping is a word more that it could take
        left = len(door.channels)

    assert waited > 0
    assert (1, []) == (left, door.logged)


async def test_who_does_not_read_is_not_listened_to() -> None:
    """Answers to what it says could only pile up here."""
    async with open_door() as door:
        door.limits = PeerLimits(queued_bytes=65_536)
        async with upgraded(door) as peer:
            transport = peer.writer.transport
            transport.pause_reading()
            door.channels[0].write(LINE * 10_000)
            peer.send(frame(b"{}"))
            await settled()
            before = list(door.lines)
            door.channels[0].when_drained(lambda: None)
            transport.resume_reading()
            reading = asyncio.create_task(peer.rest())
            await until(lambda: bool(door.lines))
            reading.cancel()

    assert ([], [b"{}"]) == (before, door.lines)


async def test_one_that_stalls_holds_up_nobody_else() -> None:
    """Each connection waits for itself."""
    async with open_door() as door, upgraded(door) as stalled, client(door) as honest:
        stalled.writer.transport.pause_reading()
        door.channels[0].write(LINE * 10_000)
        stalled.send(frame(b"{}") * 5000)
        door.on_lines = echo
        await honest.send("[]")
        answer = await honest.recv()

    assert "[]" == answer


async def test_a_peer_that_does_not_close_is_cut_off() -> None:
    """It was told; its descriptor is ours."""
    async with open_door() as door, upgraded(door) as peer:
        door.channels[0].close("enough")
        closing = await peer.frame()
        await settled()
        await door.clock.advance(2)
        await until(lambda: door.seats.taken == 0)

    assert (8, b"\x03\xe9enough") == closing


async def test_a_long_reason_is_cut_between_characters() -> None:
    """A close frame has room for 123 bytes of UTF-8 (RFC 6455, section 5.5)."""
    async with open_door() as door, upgraded(door) as peer:
        door.channels[0].close("\u20ac" * 100)
        _, payload = await peer.frame()

    assert "\u20ac" * 41 == payload[2:].decode()


async def test_last_words_are_sent_before_the_close_frame() -> None:
    """A broker that stops still answers what was asked of it: `close` ends the listening, not the speaking."""
    async with open_door() as door:

        async def serve(channel: Channel, guest: object) -> None:
            channel.close("stopping")
            await channel.run(lambda lines: None)
            channel.write(b"{}\n")

        door.serve = serve
        async with raw(door) as peer:
            peer.send(request())
            await peer.head()
            words = await peer.frame()
            code = await peer.closing()

    assert ((1, b"{}"), 1001) == (words, code)


async def test_leaving_the_listener_waits_for_nobody_for_ever() -> None:
    """Neither for a `serve` that does not return, nor for a peer that does not close, nor for half a handshake."""
    async with open_door() as door:
        hung = asyncio.Event()

        async def serve(channel: Channel, guest: object) -> None:
            hung.set()
            await asyncio.Event().wait()

        door.serve = serve
        async with raw(door) as stranger, raw(door) as peer:
            stranger.send(b"GET")
            peer.send(request())
            await peer.head()
            await hung.wait()
            ending = asyncio.create_task(door.listener.end())
            await settled()
            before = ending.done()
            await door.clock.advance(10)

    assert (False, True) == (before, ending.done())


async def test_a_fault_in_one_connection_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, found by one peer in a million: hundreds of others must not pay for it."""

    def judge(*_: object) -> None:
        raise RuntimeError("a bug")

    async with open_door() as door, upgraded(door) as other:
        with monkeypatch.context() as patch:
            patch.setattr(Gate, "judge", judge)
            async with raw(door) as peer:
                peer.send(request())
                await until(lambda: door.events("broker_fault") != [])
        other.send(frame(b"{}"))
        await until(lambda: door.lines != [])

    assert "a bug" in str(door.events("broker_fault")[0]["error"])


async def test_a_peer_that_was_reset_is_not_written_to(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio warns of each such write, on the stderr that our own log is on."""
    async with open_door() as door, upgraded(door) as peer:
        channel = door.channels[0]
        channel._link.pause()
        peer.reset()
        await settled()
        for _ in range(10):
            channel.write(LINE)
        await until(lambda: not door.channels)

    assert [] == [record.getMessage() for record in caplog.records]


async def flood(peer: Raw, data: bytes) -> int:
    """Send as much as is taken, past what the kernel buffers; returns how many bytes that were."""
    sent = 0
    for _ in range(1000):
        peer.send(data)
        sent += len(data)
        await settled()
        if peer.writer.transport.get_write_buffer_size() > MEGABYTE:
            break
    return sent
