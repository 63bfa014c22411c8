"""HTTP/1.1 as our own transport reads it: real sockets, and servers of every sort."""

import errno

import anyio
import httpx2
import pytest

from acp_broker.edge import http_connection
from acp_broker.edge.http_connection import HttpConnection
from backends.http import http11
from backends.http.client import connected
from backends.http.unreachable import why, words
from tests.support.answers import STREAM, WHOLE, asked, deaf
from tests.support.client import DEADLINE_S
from tests.support.provider.wire import chunk, head
from tests.support.writing import writing

pytestmark = pytest.mark.anyio


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
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "in the middle"),
        (b"HTTP/1.1 200 OK\r\ncontent-length : 3\r\n\r\nhi", "in the middle"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n2\r\nhi\r\n", "in the middle"),
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
