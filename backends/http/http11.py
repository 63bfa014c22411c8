"""HTTP/1.1 to a provider without a proxy, as a transport of httpx2: one connection, one request at a time.

httpx2's own transport takes 0.5 ms of processor time for a request, this one 0.1: with fifty turns that begin at once
the difference is what their users wait for.
"""

import ssl
from collections.abc import AsyncIterator, Callable

import httpx2

from acp_broker.edge.http_connection import Broken, HttpConnection, Lost, dial
from backends.http.written import PORTS


class Stale(httpx2.RemoteProtocolError):
    """A connection that was kept ended under the next request without a byte of its answer: as a rule it had been idle
    for longer than its server bears, and nothing is wrong there. The request may have been read all the same."""


class Body(httpx2.AsyncByteStream):
    """What is sent. `on_sending` is called before the first byte of it is written."""

    def __init__(self, content: bytes, on_sending: Callable[[], None]) -> None:
        self.content = content
        self.on_sending = on_sending

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.on_sending()
        yield self.content


class Http11(httpx2.AsyncBaseTransport):
    """Connects when there is something to ask, and again once the connection cannot be used any more.

    Takes requests whose stream is a `Body`. Follows no redirect, decodes nothing, sends nothing twice and has no limit
    of its own. Raises httpx2's errors.
    """

    def __init__(self, trusted: ssl.SSLContext | None) -> None:
        if trusted is not None:  # some servers take nobody who does not say it
            trusted.set_alpn_protocols(["http/1.1"])
        self._trusted = trusted
        self._connection: HttpConnection | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = request.stream
        assert isinstance(body, Body)
        head = _head(request)
        connection = self._connection
        is_kept = connection is not None and connection.is_free()
        if connection is None or not is_kept:
            await self.aclose()
            connection = self._connection = await _connected(request.url, self._trusted)
        try:
            body.on_sending()
            connection.ask(head, body.content)
            status, headers = await connection.head()
        except BaseException as error:
            connection.close()
            if isinstance(error, Broken | Lost):
                raise Stale(str(error)) if is_kept and not connection.has_begun else _of_httpx2(error) from error
            raise
        return httpx2.Response(status, headers=headers, stream=Answer(connection))

    async def aclose(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Answer(httpx2.AsyncByteStream):
    """The body of an answer: each piece is all that has come since the last."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._connection.read()
        except (Broken, Lost) as error:
            raise _of_httpx2(error) from error
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._connection.leave()


def _of_httpx2(error: Broken | Lost) -> httpx2.TransportError:
    return httpx2.ReadError(str(error)) if isinstance(error, Lost) else httpx2.RemoteProtocolError(str(error))


def _head(request: httpx2.Request) -> bytes:
    """Raises LocalProtocolError for what would not be one request any more."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
        raise httpx2.LocalProtocolError("a header holds a line's end, or a zero byte")
    return head + b"\r\n\r\n"


async def _connected(url: httpx2.URL, trusted: ssl.SSLContext | None) -> HttpConnection:
    try:
        return await dial(url.raw_host.decode(), url.port or PORTS[url.scheme], trusted)
    except (OSError, UnicodeError) as error:
        raise httpx2.ConnectError(str(error)) from error
