"""The same over TLS: what is pending is counted down to the socket, and broken peers break only themselves."""

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from acp_broker.edge.tls import server_context
from acp_broker.errors import UsageError
from tests.support.certificates import certificate, trust
from tests.support.clock import settled
from tests.support.websocket import DEADLINE_S, client, echo, open_door, raw, request, until, upgraded

pytestmark = pytest.mark.anyio

LINE = b'"' + b"x" * 1000 + b'"\n'


async def test_a_conversation_over_tls(tmp_path: Path) -> None:
    """Messages larger than a record too."""
    pair = certificate(tmp_path)
    async with open_door(tls=pair) as door, client(door, ssl=trust(pair[0]), max_size=None) as peer:
        door.on_lines = echo
        lengths = []
        for length in (10, 100_000, 3_000_000):
            await peer.send("x" * length)
            lengths.append(len(await peer.recv()))

    assert [10, 100_000, 3_000_000] == lengths
    assert door.listener.address.startswith("wss://127.0.0.1:")


async def test_what_the_socket_has_not_taken_is_pending_over_tls_too(tmp_path: Path) -> None:
    """The broker writes no more while much is pending, and goes on when it is told that nothing is."""
    pair = certificate(tmp_path)
    async with open_door(tls=pair) as door, upgraded(door, trust(pair[0])) as peer:
        channel, drained = door.channels[0], asyncio.Event()
        channel.when_drained(drained.set)
        channel.write(LINE * 20_000)
        before = channel.pending
        reading = asyncio.create_task(peer.rest())
        async with asyncio.timeout(DEADLINE_S):
            await drained.wait()
        after = channel.pending
        channel.close("")
        await reading

    assert before > 10_000_000
    assert 0 == after


async def test_a_peer_that_takes_nothing_is_cut_off_over_tls_too(tmp_path: Path) -> None:
    """Its bytes wait encrypted, but they wait here."""
    pair = certificate(tmp_path)
    async with open_door(tls=pair) as door, upgraded(door, trust(pair[0])):
        door.channels[0].write(LINE * 20_000)
        await door.clock.advance(40)
        await until(lambda: not door.channels)

    assert ["frontend_stalled"] == [one["event"] for one in door.logged]


async def test_a_client_that_speaks_no_tls_is_turned_away_and_named(tmp_path: Path) -> None:
    """ws:// instead of wss:// is the usual mistake; OpenSSL knows it by its first bytes."""
    async with open_door(tls=certificate(tmp_path)) as door, raw(door) as peer:
        peer.send(request())
        answer = await peer.rest()

    assert (b"", ["TLS failed: HTTP_REQUEST"]) == (answer, [one["why"] for one in door.logged])


async def test_a_client_that_breaks_the_handshake_is_told(tmp_path: Path) -> None:
    """It gets an alert, which its own library can name."""
    async with open_door(tls=certificate(tmp_path)) as door, raw(door) as peer:
        peer.send(b"\x16\x03\x01\x00\x05" + b"\xff" * 5)
        answer = await peer.rest()

    assert (b"\x15", 1) == (answer[:1], len(door.events("websocket_refused")))


async def test_a_client_that_does_not_trust_us_is_named(tmp_path: Path) -> None:
    """Only our log can tell that its certificates are what is wrong."""

    def call(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as plain:
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")

    async with open_door(tls=certificate(tmp_path)) as door:
        # In a thread: asyncio's own client drops the alert.
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(call, door.port)
        await until(lambda: bool(door.logged))

    assert "UNKNOWN_CA" in door.logged[0]["why"]


async def test_half_a_tls_handshake_is_cut_off_after_its_time(tmp_path: Path) -> None:
    """The ten seconds are for TLS and the request together."""
    async with open_door(tls=certificate(tmp_path)) as door, raw(door) as peer:
        await until(lambda: bool(door.clock.armed))
        peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        await settled()
        await door.clock.advance(10)
        rest = await peer.rest()

    assert (b"", ["websocket_refused"]) == (rest, [one["event"] for one in door.logged])


async def test_garbage_in_the_middle_of_a_tls_connection_ends_it(tmp_path: Path) -> None:
    """A record that cannot be decrypted: somebody meddled."""
    pair = certificate(tmp_path)
    async with open_door(tls=pair) as door, upgraded(door, trust(pair[0])) as peer:
        below = peer.writer.get_extra_info("socket")
        garbage = b"\x17\x03\x03\x00\x20" + b"\0" * 32
        sent = below._sock.send(garbage)
        await until(lambda: not door.channels)

    assert 37 == sent


async def test_a_client_that_ends_tls_is_gone(tmp_path: Path) -> None:
    """It said that it sends no more; that its TCP connection is still open means nothing."""
    pair = certificate(tmp_path)

    def call(port: int) -> bytes:
        plain = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        with trust(pair[0]).wrap_socket(plain, server_hostname="localhost") as over:
            over.sendall(request())
            head = over.recv(4096)
            with suppress(ssl.SSLError):  # a close frame comes where it waits for the end of TLS
                over.unwrap()
            return head

    async with open_door(tls=pair) as door:
        head = await asyncio.to_thread(call, door.port)
        await until(lambda: bool(door.guests) and not door.channels)

    assert head.startswith(b"HTTP/1.1 101")


async def test_an_old_version_of_tls_is_not_spoken(tmp_path: Path) -> None:
    """TLS 1.0 and 1.1 are deprecated (RFC 8996); and renegotiating, which TLS 1.3 has dropped, is work for nothing."""
    context = server_context(*certificate(tmp_path))

    assert ssl.TLSVersion.TLSv1_2 == context.minimum_version
    assert context.options & ssl.OP_NO_RENEGOTIATION


async def test_a_certificate_that_is_missing_is_named(tmp_path: Path) -> None:
    """The message says which file, and what to do."""
    _, key = certificate(tmp_path)
    with pytest.raises(UsageError, match=r"missing\.pem: No such file or directory"):
        async with open_door(tls=(tmp_path / "missing.pem", key)):
            pass


async def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    """A key in its place is the usual mistake."""
    _, key = certificate(tmp_path)
    with pytest.raises(UsageError, match=r"frontends\.websocket\.tls: .*key\.pem and .*key\.pem are not a certificate"):
        async with open_door(tls=(key, key)):
            pass


async def test_a_key_with_a_pass_phrase_is_refused(tmp_path: Path) -> None:
    """Nobody sits at the daemon's terminal to be asked for it."""
    pair = certificate(tmp_path, "-passout", "pass:word")
    with pytest.raises(UsageError, match="pass phrase"):
        async with open_door(tls=pair):
            pass
