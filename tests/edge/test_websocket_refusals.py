"""Who is not let in over WebSocket, and what the others on that port are told."""

import socket

import pytest

from acp_broker.edge import websocket
from tests.support.clock import settled
from tests.support.websocket import TOKEN, open_door, raw, request, until, upgraded

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request("GET /acp HTTP/1.1", Upgrade=None, Connection=None), 426),
        (request("GET /acp?x=1 HTTP/1.1", Upgrade="h2c"), 426),
        (request("POST /acp HTTP/1.1", "Content-Length: 2") + b"{}", 426),
        (request("DELETE /acp HTTP/1.1"), 426),
        (request("GET / HTTP/1.1"), 404),
        (request("GET /acp/ HTTP/1.1"), 404),
        (request("POST / HTTP/1.1", "Content-Length: 2") + b"{}", 404),
        (request("GET /acp HTTP/1.1", "Transfer-Encoding: chunked"), 400),
        (request("GET /acp HTTP/1.1", Sec_WebSocket_Key="short"), 400),
        (request("GET /acp HTTP/1.1", Sec_WebSocket_Version="8"), 400),
        (request("GET /acp HTTP/1.1", "No colon"), 400),
        (request("GET /acp HTTP/2.0"), 400),
        (b"\r\n\r\n", 400),
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01" + b"\0" * 20_000, 400),
        (request("GET /acp HTTP/1.1", *["X: " + "x" * 1000] * 17), 400),
        (request(Authorization=None), 401),
        (request(Authorization="Bearer wrong"), 401),
        (request(Authorization=f"Basic {TOKEN}"), 401),
        (request(Authorization="Bearer t\u00f6ken"), 401),
        (request(Authorization=None, Sec_WebSocket_Protocol="acp, bearer.wrong"), 401),
        (request(Origin="https://evil.example"), 403),
        (request(Origin="null"), 403),
        (request(Host="evil.example"), 403),
        (request(Host=None), 403),
        (request("GET /acp HTTP/1.1", "Host: localhost"), 403),
        (request("GET /healthz HTTP/1.1", Host="evil.example"), 403),
        (request(), 101),
        (request(Host="LOCALHOST:8765"), 101),
        (request(Host="bridge.example"), 101),
        (request(Origin="HTTPS://Good.example"), 101),
        (request(Authorization=f"bearer {TOKEN}"), 101),
        (request(Authorization=None, Sec_WebSocket_Protocol=f"acp,bearer.{TOKEN}"), 101),
    ],
)
async def test_each_request_gets_its_status(asked: bytes, status: int) -> None:
    """One table for what any program, browser or scanner may send to the port."""
    async with open_door(hosts=("bridge.example",), origins=("https://good.example",)) as door, raw(door) as peer:
        peer.send(asked)
        answered, _ = await peer.head()

    assert status == answered


async def test_health_needs_neither_token_nor_websocket() -> None:
    """Whoever watches the daemon asks with curl."""
    async with open_door() as door, raw(door) as peer:
        door.health = (503, b'{"state":"draining"}')
        peer.send(request("GET /healthz HTTP/1.1", Upgrade=None, Connection=None, Authorization=None))
        status, headers = await peer.head()
        body = await peer.rest()

    assert (503, "application/json", b'{"state":"draining"}') == (status, headers["content-type"], body)


async def test_a_request_without_upgrade_is_told_what_to_upgrade_to() -> None:
    """RFC 9110, section 15.5.22: a 426 must say to what."""
    async with open_door() as door, raw(door) as peer:
        peer.send(request("POST /acp HTTP/1.1"))
        _, headers = await peer.head()

    assert "websocket" == headers["upgrade"]


async def test_a_wrong_token_is_told_which_scheme_to_use() -> None:
    """RFC 9110, section 15.5.2: a 401 must have a challenge."""
    async with open_door() as door, raw(door) as peer:
        peer.send(request(Authorization=None))
        _, headers = await peer.head()

    assert "Bearer" == headers["www-authenticate"]


async def test_the_token_is_neither_logged_nor_sent_back() -> None:
    """A log may be shown to others, and a wrong token may be a right one of another place."""
    async with open_door() as door:
        replies = b""
        for asked in (
            request(Authorization="Bearer not-quite"),
            request(Authorization=None, Sec_WebSocket_Protocol="acp, bearer.not-quite"),
        ):
            async with raw(door) as peer:
                peer.send(asked)
                replies += await peer.rest()

    assert 2 == len(door.events("websocket_refused"))
    assert "not-quite" not in f"{door.logged}{replies!r}"


async def test_an_address_with_many_wrong_tokens_has_to_wait() -> None:
    """Ten at once are mistakes; more are guesses, and each is made to cost its own time."""
    async with open_door() as door:
        statuses = []
        for _ in range(11):
            async with raw(door) as peer:
                peer.send(request(Authorization="Bearer wrong"))
                status, headers = await peer.head()
                statuses.append(status)

    assert [401] * 10 + [429] == statuses
    assert "6" == headers["retry-after"]


async def test_a_right_token_is_let_in_whatever_came_from_its_address() -> None:
    """All programs of this machine share one address: one of them must not be able to lock the others out."""
    async with open_door() as door:
        for _ in range(20):
            async with raw(door) as peer:
                peer.send(request(Authorization="Bearer wrong"))
                await peer.rest()
        async with raw(door) as peer:
            peer.send(request())
            status, _ = await peer.head()

    assert 101 == status


async def test_who_finds_no_seat_is_told_when_to_come_again() -> None:
    """limits.connections bounds what all clients cost together; a seat that was left is free again."""
    async with open_door() as door:
        door.most_seats = 1
        async with upgraded(door), raw(door) as peer:
            peer.send(request())
            status, headers = await peer.head()
        await until(lambda: door.seats.taken == 0)
        async with upgraded(door):
            taken = door.seats.taken

    assert (503, "5", 1) == (status, headers["retry-after"], taken)


async def test_each_refusal_is_a_line_in_the_log() -> None:
    """Whoever wonders why a bridge cannot connect reads it there; who attacks is named."""
    async with open_door() as door, raw(door) as peer:
        peer.send(request(Host="evil.example"))
        await peer.rest()

    refusal = door.events("websocket_refused")[0]
    assert ("127.0.0.1", 403) == (refusal["address"], refusal["status"])
    assert "frontends.websocket.hosts" in refusal["why"]


async def test_a_flood_of_refusals_is_a_few_lines_and_a_number() -> None:
    """The log is on a disk."""
    async with open_door() as door:
        for _ in range(30):
            async with raw(door) as peer:
                peer.send(request(Authorization=None))
                await peer.rest()
        await door.clock.advance(60)

    assert (20, [{"event": "more_of_it", "what": "websocket_refused", "count": 10}]) == (
        len(door.events("websocket_refused")),
        door.events("more_of_it"),
    )


async def test_half_a_handshake_is_cut_off_after_its_time() -> None:
    """A slow loris sends a byte now and then, and would hold a descriptor for ever."""
    async with open_door() as door, raw(door) as peer:
        await until(lambda: bool(door.clock.armed))
        peer.send(b"GET /acp HTTP/1.1\r\nHost: lo")
        await door.clock.advance(9.9)
        peer.send(b"cal")
        before = list(door.logged)
        await door.clock.advance(0.1)
        rest = await peer.rest()

    assert ([], b"", "no whole request within 10 s") == (before, rest, door.logged[0]["why"])


async def test_the_blank_line_may_be_split_between_two_reads() -> None:
    """TCP has no messages."""
    async with open_door() as door, raw(door) as peer:
        asked = request()
        peer.send(asked[:-1])
        await settled()
        peer.send(asked[-1:])
        status, _ = await peer.head()

    assert 101 == status


async def test_who_was_refused_and_does_not_close_is_cut_off() -> None:
    """It has its answer; the descriptor is ours."""
    async with open_door() as door, raw(door) as peer:
        peer.send(request("GET / HTTP/1.1"))
        await peer.rest()
        await door.clock.advance(1.9)
        before = door.listener._connections
        await door.clock.advance(0.1)
        await until(lambda: not door.listener._connections)

    assert 1 == before


async def test_strangers_do_not_hold_up_the_end() -> None:
    """Neither those who have begun their handshake, nor one who comes at that very moment."""
    async with open_door() as door, raw(door) as peer:
        await until(lambda: bool(door.clock.armed))
        ours, theirs = socket.socketpair()
        door.listener._on_socket(ours, "late")
        await door.listener.end()
        rest = await peer.rest()
        theirs.close()

    assert b"" == rest


async def test_a_connection_that_only_comes_and_goes_is_not_worth_a_line() -> None:
    """A balancer looks so whether the port answers, every few seconds."""
    async with open_door() as door:
        async with raw(door):
            await until(lambda: bool(door.clock.armed))
        await until(lambda: not door.clock.armed)

    assert [] == door.logged


async def test_of_too_many_unfinished_handshakes_the_oldest_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Honest ones are finished in milliseconds: the oldest is nobody's."""
    monkeypatch.setattr(websocket, "MOST_STRANGERS", 2)
    async with open_door() as door, raw(door) as oldest:
        await until(lambda: len(door.clock.armed) == 1)
        async with raw(door), raw(door) as newest:
            rest = await oldest.rest()
            newest.send(request())
            status, _ = await newest.head()

    assert (b"", 101) == (rest, status)


async def test_what_comes_before_the_101_is_not_read_before_it() -> None:
    """Nobody without a token makes us parse, or answer, a single frame."""
    ping = b"\x89\x80\0\0\0\0"
    async with open_door() as door, raw(door) as refused, raw(door) as admitted:
        refused.send(request(Authorization=None) + ping)
        admitted.send(request() + ping)
        answer = await refused.rest()
        status, _ = await admitted.head()
        pong = await admitted.frame()

    assert (True, 101, (10, b"")) == (answer.endswith(b"no token\n"), status, pong)
