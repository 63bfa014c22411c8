"""HTTP/1.1 as our own transport reads it: real sockets, and servers of every sort."""

import asyncio
import errno
import selectors
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest

from acp_broker.edge import http_connection
from acp_broker.edge.http_connection import MOST_UNREAD, HttpConnection
from backends.http import http2, http11
from backends.http.client import connected
from backends.http.unreachable import why, words
from tests.support.certificates import certificate
from tests.support.client import DEADLINE_S
from tests.support.provider.wire import chunk, head
from tests.support.writing import Writing, writing

pytestmark = pytest.mark.anyio

WHOLE = head(200, "text/plain", 2, {}) + b"hi"
STREAM = head(200, "text/plain", None, {})


async def asked(server: Writing, count: int = 1, body: bytes = b"{}") -> list[tuple[int, bytes]]:
    """So many requests, one after the other: status and body of each answer."""
    answers = []
    async with connected(server.url, {}) as client:
        with anyio.fail_after(DEADLINE_S):
            for _ in range(count):
                async with client.post(f"{server.url}/x", {}, body, lambda: None) as response:
                    answers.append((response.status_code, await response.aread()))
    return answers


@asynccontextmanager
async def deaf(answer: bytes, *, is_leaving: bool = False) -> AsyncIterator[str]:
    """The address of a server that answers a request's head, reads nothing more, and keeps the connection."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.max_size = 1
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        writer.write(answer)
        if is_leaving:
            writer.write_eof()
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        over.set()
        server.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + WHOLE, b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + WHOLE, b"hi"),
        (b"HTTP/1.0 100 Continue\r\n\r\n" + WHOLE, b"hi"),
        (b"HTTP/1.1 103 Early Hints\r\nconnection: close\r\n\r\n" + WHOLE, b"hi"),
        (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\nx: a long\r\n  one\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\nx: \x01\x7f\xe9\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (STREAM + b"2  \r\nhi\r\n0\r\n\r\n", b"hi"),
        (STREAM + b"2;name=value\r\nhi\r\n0\r\nchecksum: 1\r\n\r\n", b"hi"),
        (head(200, "text/plain", 7, {"transfer-encoding": "chunked"}) + chunk(b"hi") + chunk(b""), b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_an_answer_may_be_written_in_many_ways(answer, body):
    """A server is not always a good one, and there is nothing to misread in these."""
    async with writing(answer) as server:
        ((_, read),) = await asked(server)

    assert body == read


async def test_hints_are_no_headers_of_the_answer():
    """They say what may come, and the answer says what has come."""
    hints = b"HTTP/1.1 103 Early Hints\r\nretry-after: 900\r\n\r\n"
    async with (
        writing(hints + WHOLE) as server,
        connected(server.url, {}) as client,
        client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response,
    ):
        headers = set(response.headers)

    assert {"content-type", "content-length"} == headers


async def test_trailers_are_no_headers_of_the_answer():
    """RFC 9110, 6.5.1; and whether they come in one packet with the head is chance."""
    answer = STREAM + chunk(b"hi") + b"0\r\ncontent-encoding: gzip\r\nretry-after: 900\r\n\r\n"
    async with (
        writing(answer) as server,
        connected(server.url, {}) as client,
        client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response,
    ):
        told = set(response.headers), await response.aread()

    assert ({"content-type", "transfer-encoding"}, b"hi") == told


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
async def test_an_answer_may_come_in_any_two_pieces(cut):
    """Networks cut where they like."""
    async with writing(WHOLE[:cut], WHOLE[cut:]) as server:
        answers = await asked(server)

    assert [(200, b"hi")] == answers


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_body_without_a_length_ends_with_its_connection(version):
    """RFC 9112, 6.3: small servers have no other way."""
    async with writing(f"HTTP/{version} 200 OK\r\n\r\nhi".encode()) as server:
        server.is_leaving = True
        answers = await asked(server)

    assert [(200, b"hi")] == answers


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "without sending a response"),
        (b"HTTP/1.1 200 OK\r\nconten", "without sending a response"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "without sending a response"),
        (head(200, "text/plain", 3, {}) + b"hi", "in the middle"),
        (STREAM + b"2\r\nhi\r\n", "in the middle"),
        (STREAM + b"2\r\nhi\r\n0\r\n", "in the middle"),
    ],
)
async def test_an_answer_that_breaks_off_is_an_error(answer, why):
    """Half of one is none."""
    async with writing(answer) as server:
        server.is_leaving = True
        with pytest.raises(httpx2.RemoteProtocolError, match=why):
            await asked(server)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/"),
        (b"HTTP/1.1 200 OK\r\nwhat is this\r\n\r\n", "header"),
        (STREAM + b"zz\r\nhi\r\n", "chunk"),
        (b"HTTP/1.1 199 Warming up\r\ncontent-length: 3\r\n\r\nbye" + WHOLE, "body"),
        (b"HTTP/1.1 000 Nothing\r\ncontent-length: 3\r\n\r\nbye" + WHOLE, "body"),
        (b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nabc", "another protocol"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 30_000, "headers have no end"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 150_000, "headers have no end"),
        (b"HTTP/1.1 103 Hints\r\nx: " + b"y" * 131_072 + b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "headers have no end"),
        (STREAM + b"0\r\n" + b"x: y\r\n" * 30_000, "headers have no end"),
    ],
)
async def test_what_is_no_answer_is_told(answer, why):
    """And ends at once: no limit has to pass first, and no memory is filled."""
    async with writing(answer) as server:
        with pytest.raises(httpx2.RemoteProtocolError, match=f"(?i){why}"):
            await asked(server)


@pytest.mark.parametrize("more", [b"\r\n\r\nmore", WHOLE, b"HTTP/1.1 500 Sorry\r\n\r\n"])
async def test_what_comes_behind_an_answer_spoils_the_connection_alone(more):
    """Nobody has asked for it, so it is nobody's answer: the next request goes out on a connection of its own."""
    async with writing(WHOLE + more) as server:
        answers = await asked(server, 2)

    assert ([(200, b"hi")] * 2, 2) == (answers, server.connections)


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


async def test_each_answer_has_its_own_headers():
    """The first one's would change what the second one means."""
    async with writing(WHOLE) as server, connected(server.url, {}) as client:
        server.is_lasting = True
        for _ in range(2):
            async with client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response:
                headers = [name for name, _ in response.headers.raw]
                await response.aread()

    assert ([b"content-type", b"content-length"], 1) == (headers, server.connections)


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


@pytest.mark.parametrize("what", ["\r\nc: d", "\nc: d", "\rc: d", "\0"])
async def test_what_ends_a_line_is_not_sent_in_a_header(what):
    """It would be another header, or another request."""
    async with writing(WHOLE) as server, connected(server.url, {}) as client:
        with pytest.raises(httpx2.LocalProtocolError):
            async with client.post(f"{server.url}/x", {"a": f"b{what}"}, b"{}", lambda: None):
                pass

    assert 0 == server.connections


async def test_a_long_request_arrives_whole():
    """Pictures are megabytes, and a socket takes some kilobytes at once."""
    body = bytes(range(256)) * 40_000
    async with writing(WHOLE) as server:
        await asked(server, body=body)

    assert [body] == server.bodies


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


async def test_a_host_s_next_address_is_tried(monkeypatch):
    """`localhost` means ::1 first, and many a local server listens on 127.0.0.1 alone."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with writing(WHOLE) as server:

            async def found(*_args, **_more):
                every = (unused.getsockname(), ("127.0.0.1", server.door.port))
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in every]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found, raising=False)
            url = f"http://two.test:{server.door.port}/v1"
            async with connected(url, {}) as client, client.post(url, {}, b"", lambda: None) as response:
                read = await response.aread()

    assert b"hi" == read


async def test_a_host_s_next_address_is_tried_while_the_first_is_silent(monkeypatch):
    """RFC 8305: behind a broken tunnel IPv6 says nothing at all, and a user would wait for minutes."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def connecting(sock, address):
        if address[0] == "127.0.0.2":
            await anyio.sleep_forever()
        await connect(sock, address)

    async with writing(WHOLE) as server:

        async def found(*_args, **_more):
            every = ("127.0.0.2", "127.0.0.1")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, server.door.port)) for one in every]

        monkeypatch.setattr(loop, "getaddrinfo", found, raising=False)
        monkeypatch.setattr(loop, "sock_connect", connecting, raising=False)
        monkeypatch.setattr(http_connection, "_NEXT_ADDRESS_S", 0.001)
        with anyio.fail_after(DEADLINE_S):
            url = f"http://two.test:{server.door.port}/v1"
            async with connected(url, {}) as client, client.post(url, {}, b"", lambda: None) as response:
                read = await response.aread()

    assert b"hi" == read


async def test_a_name_is_not_looked_up_in_the_way_of_all_others(monkeypatch):
    """A name server may take half a minute, and the event loop would stand still."""
    asked = []
    async with writing(WHOLE) as server:

        async def found(host, port, **_more):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found, raising=False)
        for host in ("127.0.0.1", "localhost"):
            url = f"http://{host}:{server.door.port}/v1"
            async with connected(url, {}) as client, client.post(url, {}, b"", lambda: None) as response:
                await response.aread()

    assert ["localhost"] == asked


async def test_a_handshake_has_a_limit_of_its_own(monkeypatch):
    """For whoever connects without one: asyncio's is a minute, and that may be the time of a slow machine."""
    monkeypatch.setattr(http2, "is_usable", lambda: False)
    monkeypatch.setattr(http_connection, "_HANDSHAKE_S", 0.001)
    async with writing() as server:
        url = server.url.replace("http:", "https:")
        async with connected(url, {}) as client:
            with anyio.fail_after(DEADLINE_S), pytest.raises(httpx2.ConnectError, match="handshake"):
                await client.post(f"{url}/x", {}, b"{}", lambda: None).__aenter__()


async def test_an_answer_that_came_before_its_request_is_none(monkeypatch, tmp_path):
    """A server of TLS 1.2 may write behind its handshake at once; with whom it speaks it does not know."""
    monkeypatch.setattr(http2, "is_usable", lambda: False)
    made, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    class Hasty(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            transport.write(WHOLE)

        def data_received(self, _data):
            self.transport.write(WHOLE)

    server = await asyncio.get_running_loop().create_server(Hasty, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    async with connected(url, {"SSL_CERT_FILE": str(made)}) as client:
        with anyio.fail_after(DEADLINE_S), pytest.raises(httpx2.RemoteProtocolError):
            await client.post(url, {}, b"{}", lambda: None).__aenter__()
    server.close()


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
            async with client.get(f"{server.url}/x", {}) as response:
                connection = response.stream._connection
            server.end()
            with anyio.fail_after(DEADLINE_S):
                while not connection._transport.is_closing():
                    await anyio.lowlevel.checkpoint()

    assert 2 == server.connections


async def test_nothing_is_read_behind_what_was_no_answer():
    """The rest may look like one."""
    async with writing() as server:
        connection = await http_connection.dial("127.0.0.1", server.door.port, None)
        connection.ask(b"", b"")
        connection.data_received(b"HTTP/1.1 103 Early Hints\r\nx: " + b"y" * 131_072)
        connection.data_received(b"\r\n\r\n" + WHOLE)
        with pytest.raises(http_connection.Broken, match="no end"):
            await connection.head()


async def test_a_connection_that_is_reset_is_told_in_plain_words():
    """The number of an error helps nobody."""
    async with (
        writing(STREAM + chunk(b"hi")) as server,
        connected(server.url, {}) as client,
        client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response,
    ):
        read = aiter(response.stream)
        first = await anext(read)
        server.reset()
        with pytest.raises(httpx2.ReadError) as raised:
            await anext(read)

    assert (b"hi", "the connection was reset") == (first, words(raised.value))


async def test_a_network_that_goes_away_is_told_as_that(monkeypatch):
    """A laptop that changes its network: the operating system says so of connections that are open already."""
    opened = []
    made = HttpConnection.connection_made
    monkeypatch.setattr(HttpConnection, "connection_made", lambda self, one: (opened.append(one), made(self, one)))
    away = OSError(errno.EHOSTUNREACH, "No route to host")
    async with writing() as server, connected(server.url, {}) as client:
        with anyio.fail_after(DEADLINE_S), pytest.raises(httpx2.ReadError, match="No route") as raised:
            await client.post(server.url, {}, b"", lambda: opened[0]._force_close(away)).__aenter__()

    assert "there is no way to model.example: is this machine online?" == why(raised.value, "model.example", None)


async def test_a_handshake_that_is_given_up_leaves_no_connection(monkeypatch):
    """Its server never says a word, and the next backend is asked."""
    monkeypatch.setattr(http2, "is_usable", lambda: False)
    async with writing() as server:
        url = server.url.replace("http:", "https:")
        async with connected(url, {}) as client:
            with anyio.fail_after(DEADLINE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.post(f"{url}/x", {}, b"{}", lambda: None).__aenter__)
                    while not server.open:
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
                while server.open:
                    await server.left.wait()


async def test_a_request_without_a_body_leaves_nothing_to_be_written():
    """asyncio of Python 3.12 and 3.13 tries for ever to write the empty rest of a `writelines`: a whole core."""
    async with writing(WHOLE) as server, connected(server.url, {}) as client:
        server.is_lasting = True
        async with client.get(f"{server.url}/x", {}) as response:
            await response.aread()
            sock = response.stream._connection._transport.get_extra_info("socket")
            waited_for = asyncio.get_running_loop()._selector.get_key(sock).events

    assert selectors.EVENT_READ == waited_for


async def test_an_answer_may_end_before_its_request():
    """ "Too large" is said to a picture of megabytes, of which no more is read."""
    async with (
        deaf(b"HTTP/1.1 413 Too Large\r\n\r\nno", is_leaving=True) as url,
        connected(url, {}) as client,
        client.post(url, {}, bytes(32_000_000), lambda: None) as response,
    ):
        with anyio.fail_after(DEADLINE_S):
            told = response.status_code, await response.aread()

    assert (413, b"no") == told


async def test_a_body_that_is_given_up_here_is_not_whole():
    """One that ends with its connection ends at its server."""
    async with writing(b"HTTP/1.1 200 OK\r\n\r\n") as server, http11.Http11(None) as transport:
        request = httpx2.Request("GET", f"{server.url}/x", stream=http11.Body(b"", lambda: None))
        response = await transport.handle_async_request(request)
        await transport.aclose()
        with anyio.fail_after(DEADLINE_S):
            await server.left.wait()
        with pytest.raises(httpx2.RemoteProtocolError, match="closed here"):
            await response.aread()


async def test_nonsense_behind_much_that_nobody_has_read_is_told_with_tls(monkeypatch, tmp_path):
    """Reading is paused, and the server has left: asyncio reads on and shuts down in one go."""
    monkeypatch.setattr(http2, "is_usable", lambda: False)
    made, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)
    part = bytes(MOST_UNREAD + 1)
    paused = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM + chunk(part))
        await paused.wait()
        writer.write(b"what is this\r\n")
        writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    async with connected(url, {"SSL_CERT_FILE": str(made)}) as client, client.get(url, {}) as response:
        connection = response.stream._connection
        with anyio.fail_after(DEADLINE_S):
            while connection._unread <= MOST_UNREAD:
                await anyio.lowlevel.checkpoint()
            paused.set()
            while not connection._transport._ssl_protocol._eof_received:
                await anyio.lowlevel.checkpoint()
            with pytest.raises(httpx2.RemoteProtocolError, match="chunk size"):
                await response.aread()
    server.close()


async def test_with_tls_it_is_said_what_will_be_spoken(monkeypatch, tmp_path):
    """RFC 7301; a server with more protocols than one may refuse whoever names none."""
    monkeypatch.setattr(http2, "is_usable", lambda: False)
    made, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    spoken = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(WHOLE)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    async with connected(url, {"SSL_CERT_FILE": str(made)}) as client, client.get(url, {}) as response:
        await response.aread()
    server.close()

    assert ["http/1.1"] == spoken
