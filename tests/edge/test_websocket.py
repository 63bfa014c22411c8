"""ACP over WebSocket with a client that keeps to the rules: the official one of the `websockets` library."""

import asyncio
import socket

import pytest
from websockets.exceptions import ConnectionClosed

from acp_broker.edge.peers import PeerLimits
from acp_broker.edge.throttle import WEIGHT_BYTES
from acp_broker.errors import UsageError
from tests.support.clock import settled
from tests.support.websocket import BEARER, DEADLINE_S, TOKEN, client, echo, has_ipv6, open_door, until, upgraded

pytestmark = pytest.mark.anyio


async def test_a_text_message_is_a_line_and_a_line_is_a_text_message() -> None:
    """One JSON-RPC message per text frame: what the broker writes at once is still one each."""
    async with open_door() as door, client(door) as peer:
        door.on_lines = lambda channel, lines: channel.write(b'{"a":1}\n{"b":2}\n')
        await peer.send('{"c":3}')
        answers = [await peer.recv(), await peer.recv()]

    assert (['{"a":1}', '{"b":2}'], [b'{"c":3}']) == (answers, door.lines)


async def test_messages_of_every_length_of_header_come_through() -> None:
    """RFC 6455 has three forms of length: 7, 16 and 64 bits."""
    lengths = [1, 125, 126, 127, 65_535, 65_536, 300_000]
    async with open_door() as door, client(door) as peer:
        door.on_lines = echo
        echoed = []
        for length in lengths:
            await peer.send("x" * length)
            echoed.append(len(await peer.recv()))

    assert lengths == echoed


async def test_who_is_charged_after_it_has_left_waits_for_nothing() -> None:
    """What it had asked for may still be on its way."""
    async with open_door() as door, client(door):
        await until(lambda: bool(door.channels))
        channel = door.channels[0]
        channel.close("")
        armed = len(door.clock.armed)
        channel.charge(WEIGHT_BYTES * 1_000_000)

        assert armed == len(door.clock.armed)


@pytest.mark.parametrize(("count", "most"), [(1, 1), (600, 599)])
async def test_what_comes_in_a_pause_is_handed_over_behind_it(count: int, most: int) -> None:
    """Whoever is handed the lines may need a while for one of them: the rest of its batch waits, and is not read on."""
    async with open_door() as door, client(door) as peer:
        door.on_lines = lambda channel, _: channel.pause()
        # So many text frames with one byte each, in one read.
        peer.transport.write(b"\x81\x81\x00\x00\x00\x00x" * count)
        await until(lambda: bool(door.lines))
        channel = door.channels[0]
        # Whoever is paused still writes.
        channel.write(b"answer\n")
        await peer.recv()
        await settled()
        before, is_listening = len(door.lines), channel._link.is_listening
        door.on_lines = lambda *_: None
        channel.resume()
        await until(lambda: len(door.lines) == count)

    assert (True, False) == (before <= most, is_listening)


async def test_what_a_client_has_asked_for_counts_as_what_it_sends() -> None:
    """A short request may be for a long answer."""
    async with open_door() as door, client(door) as peer:
        door.limits = PeerLimits(messages_per_s=10)
        door.on_lines = echo
        await until(lambda: bool(door.channels))
        channel = door.channels[0]
        waits = [channel.charge(10 * WEIGHT_BYTES) for _ in range(5)]
        is_listening = channel._link.is_listening
        await peer.send("x")
        await settled()
        await door.clock.advance(1.9)
        before = list(door.lines)
        await door.clock.advance(0.1)
        answer = await peer.recv()
        await door.clock.advance(1.0)  # it is listened to again as it leaves

    assert ([0, 0, 0, 1, 2], False, [], "x") == (waits, is_listening, before, answer)


async def test_a_message_over_several_lines_becomes_one_line() -> None:
    """Pretty-printed JSON is one message here, but everybody behind us splits at newlines."""
    async with open_door() as door, client(door) as peer:
        door.on_lines = echo
        await peer.send('{"a":\n1}')
        answer = await peer.recv()

    assert '{"a": 1}' == answer


async def test_fragments_are_joined() -> None:
    """RFC 6455, section 5.4: a message may come in any number of frames."""
    async with open_door() as door, client(door) as peer:
        door.on_lines = echo
        await peer.send(["{", '"a"', "", ":1", "}"])
        answer = await peer.recv()

    assert '{"a":1}' == answer


async def test_binary_messages_are_ignored_and_said_once() -> None:
    """ACP is text; whoever wonders why nothing answers finds it in the log."""
    async with open_door() as door, client(door) as peer:
        door.on_lines = echo
        await peer.send(b'{"a":1}')
        await peer.send([b"{", b"}"])
        await peer.send("{}")
        answer = await peer.recv()

    assert ("{}", 1) == (answer, len(door.events("websocket_binary_ignored")))


async def test_a_compressing_client_is_understood() -> None:
    """Deflate is accepted; what we send needs none."""
    async with open_door() as door, client(door, compression="deflate") as peer:
        door.on_lines = echo
        await peer.send("y" * 100_000)
        answer = await peer.recv()
        extensions = peer.response.headers.get("Sec-WebSocket-Extensions")

    assert "y" * 100_000 == answer
    assert "permessage-deflate; server_no_context_takeover; client_max_window_bits=12" == extensions


async def test_each_connection_has_an_id_of_its_own() -> None:
    """The peer reads it from the 101, and the broker calls the connection by it."""
    async with open_door() as door, client(door) as one, client(door) as other:
        await until(lambda: len(door.guests) == 2)
        told = [peer.response.headers["Acp-Connection-Id"] for peer in (one, other)]

    assert told == [guest.connection for guest in door.guests]
    assert 2 == len({*told})


async def test_only_acp_is_echoed_of_the_subprotocols() -> None:
    """The other one carries the token: what is echoed may end in logs of proxies."""
    async with open_door() as door:
        async with client(door, additional_headers={}, subprotocols=["acp", f"bearer.{TOKEN}"]) as peer:
            both = peer.subprotocol
        async with client(door, additional_headers={}, subprotocols=[f"bearer.{TOKEN}"]) as peer:
            alone = peer.response.headers.get("Sec-WebSocket-Protocol")

    assert ("acp", None) == (both, alone)


async def test_close_tells_the_peer_why() -> None:
    """1001 with the reason: a bridge can log why it lost its connection."""
    async with open_door() as door, client(door) as peer:
        await until(lambda: bool(door.channels))
        door.channels[0].close("the broker stops")
        with pytest.raises(ConnectionClosed) as closed:
            await peer.recv()

    assert (1001, "the broker stops") == (closed.value.rcvd.code, closed.value.rcvd.reason)


async def test_leaving_the_listener_closes_everything() -> None:
    """Nobody is left talking to nobody, and nobody new comes in."""
    async with open_door() as door:
        peer = await client(door)
        await until(lambda: bool(door.channels))
    with pytest.raises(ConnectionClosed) as closed:
        await peer.recv()
    with pytest.raises(OSError, match="Connect call failed"):
        await client(door)

    assert (1001, "going away") == (closed.value.rcvd.code, closed.value.rcvd.reason)


async def test_stop_listening_leaves_those_who_are_in() -> None:
    """While turns end, no new ones may begin."""
    async with open_door() as door, client(door) as peer:
        door.on_lines = echo
        door.listener.stop_listening()
        with pytest.raises(OSError, match="Connect call failed"):
            await client(door)
        await peer.send("{}")
        answer = await peer.recv()

    assert "{}" == answer


async def test_connections_of_another_token_are_closed() -> None:
    """A token that was rotated away opens nothing any more, and keeps nothing open."""
    async with open_door() as door, client(door) as old:
        await until(lambda: len(door.channels) == 1)
        door.token = "new-token"
        async with client(door, additional_headers={"Authorization": "Bearer new-token"}) as new:
            door.on_lines = echo
            door.listener.forget_tokens_but("new-token")
            with pytest.raises(ConnectionClosed) as closed:
                await old.recv()
            await new.send("{}")
            answer = await new.recv()

    assert (1008, "{}") == (closed.value.rcvd.code, answer)


async def test_what_goes_wrong_inside_comes_out_as_it_is() -> None:
    """Another way in that is opened inside may refuse to open: its UsageError is for people to read."""
    with pytest.raises(UsageError, match="the other one"):
        async with open_door():
            raise UsageError("the other one")


async def test_whoever_is_told_that_it_is_drained_finds_nothing_pending() -> None:
    """Channel.when_drained: each time `pending` falls to zero, not to some mark above it."""
    async with open_door() as door, upgraded(door) as peer:
        channel, pending = door.channels[0], []
        channel.when_drained(lambda: pending.append(channel.pending))
        written = 0
        while not channel.pending:
            channel.write(b"x" * 10_000 + b"\n")
            written += 10_004
        before = channel.pending
        async with asyncio.timeout(DEADLINE_S):
            await peer.reader.readexactly(written)
        after = list(pending)

    assert 0 < before <= 10_004
    assert [0] == after


async def test_the_end_comes_after_all_that_was_written() -> None:
    """However slowly the peer reads it."""
    async with open_door() as door, upgraded(door) as peer:
        door.channels[0].write(b'"' + b"x" * 20_000_000 + b'"\n')
        door.channels[0].close("done")
        said = await peer.rest()

    assert b'x"\x88\x06\x03\xe9done' == said[-10:]


async def test_nothing_waits_for_more_to_be_sent() -> None:
    """Nagle's algorithm would hold back small messages for the peer's delayed acknowledgement: 40 ms each."""
    async with open_door() as door, client(door):
        await until(lambda: bool(door.channels))
        transport = door.channels[0]._link._transport
        nodelay = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert 0 != nodelay


@pytest.mark.skipif(not has_ipv6(), reason="binds ::1, which this machine does not have")
async def test_ipv6_is_listened_on() -> None:
    """Its address is written in brackets."""
    async with open_door(host="::1") as door, client(door, additional_headers=BEARER) as peer:
        door.on_lines = echo
        await peer.send("{}")
        answer = await peer.recv()

    assert ("{}", True) == (answer, door.listener.address.startswith("ws://[::1]:"))
