"""Connections of HTTP/1.1: which take another request, which are closed, and what they hold meanwhile."""

import asyncio
import selectors

import anyio
import httpx2
import pytest

from acp_broker.edge.http_connection import MOST_UNREAD, HttpConnection
from backends.http import http11
from backends.http.client import connected
from tests.support.answers import STREAM, WHOLE, asked, deaf
from tests.support.client import DEADLINE_S
from tests.support.provider.wire import chunk, head
from tests.support.writing import Writing, writing

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (WHOLE, 1),
        (head(200, "text/plain", 2, {"connection": "close"}) + b"hi", 2),
        (head(200, "text/plain", 7, {"transfer-encoding": "chunked"}) + chunk(b"hi") + chunk(b""), 2),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", 2),
    ],
)
async def test_a_connection_is_kept_as_its_server_says(answer, connections):
    """And never where it is not sure where the answer has ended."""
    async with writing(answer) as server:
        server.is_lasting = True
        answers = await asked(server, 2)

    assert ([(200, b"hi")] * 2, connections) == (answers, server.connections)


async def test_long_headers_are_long_for_each_answer_by_itself():
    """A connection lives through thousands."""
    answer = head(204, "text/plain", None, {"x": "y" * 120_000}).replace(b"transfer-encoding: chunked\r\n", b"")
    async with writing(answer) as server:
        server.is_lasting = True
        answers = await asked(server, 4)

    assert ([(204, b"")] * 4, 1) == (answers, server.connections)


async def test_a_connection_with_an_answer_under_way_takes_no_other_request():
    """Whose answer would be the next?"""
    async with writing(STREAM + chunk(b"hi")) as server, http11.Http11(None) as transport:
        body = http11.Body(b"", lambda: None)
        request = httpx2.Request("POST", f"{server.url}/x", stream=body)
        for response in [await transport.handle_async_request(request) for _ in range(2)]:
            await response.aclose()

    assert 2 == server.connections


async def test_a_server_that_has_just_left_is_not_asked():
    """The event loop has not come to tell of it yet."""
    async with writing(WHOLE) as server, connected(server.url, {}) as client:
        for _ in range(2):
            async with client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response:
                await response.aread()
            server.end()  # with no pass of the loop before the next request

    assert 2 == server.connections


@pytest.mark.parametrize("more", [b"\r\n\r\nmore", WHOLE, b"HTTP/1.1 500 Sorry\r\n\r\n"])
async def test_what_comes_behind_an_answer_spoils_the_connection_alone(more):
    """Nobody has asked for it, so it is nobody's answer: the next request goes out on a connection of its own."""
    async with writing(WHOLE + more) as server:
        answers = await asked(server, 2)

    assert ([(200, b"hi")] * 2, 2) == (answers, server.connections)


async def test_each_answer_has_its_own_headers():
    """The first one's would change what the second one means."""
    async with writing(WHOLE) as server, connected(server.url, {}) as client:
        server.is_lasting = True
        for _ in range(2):
            async with client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response:
                headers = [name for name, _ in response.headers.raw]
                await response.aread()

    assert ([b"content-type", b"content-length"], 1) == (headers, server.connections)


async def test_what_nobody_reads_is_not_taken_from_the_server():
    """A provider that writes faster than we read would fill the memory."""
    part, count = b"x" * 65_536, 1_000

    async def write(server: Writing) -> None:
        for _ in range(count):
            await server.say(chunk(part))
        await server.say(chunk(b""))

    async with (
        writing(STREAM) as server,
        connected(server.url, {}) as client,
        client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response,
        anyio.create_task_group() as tasks,
    ):
        connection = response.stream._connection
        tasks.start_soon(write, server)
        with anyio.fail_after(DEADLINE_S):
            while connection._unread <= MOST_UNREAD:
                await anyio.lowlevel.checkpoint()
            for _ in range(100):  # each is a write of the server's, if somebody reads
                await anyio.lowlevel.checkpoint()
            held = connection._unread
            read = [len(piece) async for piece in response.stream]

    assert held < 2 * MOST_UNREAD
    assert count * len(part) == sum(read)


async def test_a_long_answer_that_nobody_reads_holds_up_no_other():
    """It has come whole, so its connection is used again."""
    long = MOST_UNREAD + 1
    async with writing(head(200, "text/plain", long, {}) + b"x" * long) as server, connected(server.url, {}) as client:
        server.is_lasting = True
        for _ in range(2):
            with anyio.fail_after(DEADLINE_S):
                async with client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response:
                    while not response.stream._connection._is_whole:
                        await anyio.lowlevel.checkpoint()

    assert 1 == server.connections


async def test_a_long_answer_that_nobody_reads_is_not_kept():
    """Its connection may wait for hours, and hears meanwhile that its server has left."""
    long = MOST_UNREAD + 1
    async with writing(head(200, "text/plain", long, {}) + b"x" * long) as server, connected(server.url, {}) as client:
        with anyio.fail_after(DEADLINE_S):
            async with client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response:
                connection = response.stream._connection
                while not connection._is_whole:
                    await anyio.lowlevel.checkpoint()
            held = connection._pieces
            server.end()
            while server.open:
                await server.left.wait()

    assert [] == held


async def test_a_connection_that_cannot_be_used_any_more_is_closed_before_the_next(monkeypatch):
    """A ticket of TLS may just have come: its server has not left, and would keep it."""
    async with writing(WHOLE) as server, connected(server.url, {}) as client:
        monkeypatch.setattr(HttpConnection, "is_free", lambda _self: False)
        for _ in range(2):
            async with client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response:
                await response.aread()
        with anyio.fail_after(DEADLINE_S):
            await server.left.wait()

    assert 2 == server.connections


async def test_a_connection_with_a_request_under_way_takes_no_other():
    """Its server has answered the first already, and may never read the end of it."""
    async with deaf(WHOLE) as url, connected(url, {}) as client:
        with anyio.fail_after(DEADLINE_S):
            for _ in range(2):
                async with client.post(url, {}, bytes(32_000_000), lambda: None) as response:
                    told = await response.aread()

    assert b"hi" == told


async def test_a_connection_on_which_nothing_was_asked_is_closed():
    """Whoever wanted to ask was stopped just before."""

    def stopped():
        raise LookupError

    async with writing(WHOLE) as server, connected(server.url, {}) as client:
        with pytest.raises(LookupError):
            await client.post(f"{server.url}/x", {}, b"{}", stopped).__aenter__()
        async with client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response:
            read = await response.aread()

    assert (b"hi", 2) == (read, server.connections)


async def test_a_connection_whose_answer_nobody_reads_to_its_end_is_closed():
    """By that its server knows."""
    async with writing(STREAM + chunk(b"hi")) as server, connected(server.url, {}) as client:
        async with client.post(f"{server.url}/x", {}, b"{}", lambda: None):
            pass
        with anyio.fail_after(DEADLINE_S):
            while server.open:
                await server.left.wait()


async def test_a_request_that_is_given_up_closes_its_connection():
    """The answer that may still come is nobody's."""
    async with writing() as server, connected(server.url, {}) as client:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.post(f"{server.url}/x", {}, b"{}", lambda: None).__aenter__)
                while not server.bodies:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            while server.open:
                await server.left.wait()


async def test_a_connection_that_is_spoilt_is_free_no_more_at_once():
    """Another turn may want it before the event loop has come to close it."""
    async with writing(WHOLE) as server, connected(server.url, {}) as client:
        async with client.get(f"{server.url}/x", {}) as response:
            await response.aread()
        connection = response.stream._connection
        was_free = connection.is_free()
        connection.data_received(WHOLE)
        is_free = connection.is_free()

    assert (True, False) == (was_free, is_free)


async def test_a_connection_that_was_closed_behind_an_answer_without_a_body_is_not_used():
    """Nothing went wrong on it."""
    async with writing(b"HTTP/1.1 204 No Content\r\n\r\n") as server, connected(server.url, {}) as client:
        for _ in range(2):
            async with client.get(f"{server.url}/x", {}):
                pass
            server.end()
            with anyio.fail_after(DEADLINE_S):
                while server.open:
                    await server.left.wait()

    assert 2 == server.connections


async def test_a_request_without_a_body_leaves_nothing_to_be_written():
    """asyncio of Python 3.12 and 3.13 tries for ever to write the empty rest of a `writelines`: a whole core."""
    async with writing(WHOLE) as server, connected(server.url, {}) as client:
        server.is_lasting = True
        async with client.get(f"{server.url}/x", {}) as response:
            await response.aread()
            sock = response.stream._connection._transport.get_extra_info("socket")
            waited_for = asyncio.get_running_loop()._selector.get_key(sock).events

    assert selectors.EVENT_READ == waited_for
