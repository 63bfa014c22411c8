"""A connection that we open to an HTTP server: HTTP/1.1, one request at a time, kept for the next.

llhttp, the parser of Node.js, reads the answers (the package httptools).
"""

import asyncio
import re
import select
import socket
import ssl
from collections.abc import Sequence
from typing import cast

from aiohappyeyeballs import start_connection
from aiohappyeyeballs.types import AddrInfoType
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

# RFC 8305, 8: after so long the host's next address is tried too.
_NEXT_ADDRESS_S = 0.25
# Bytes of an answer that nobody has read yet: no more is taken from the connection.
MOST_UNREAD = 1024 * 1024
# Bytes in a row that are no part of a body: headers without end.
_MOST_HEADERS = 128 * 1024
# RFC 9112, 6.3: by these the end of a body is found.
_LENGTHS = {b"content-length", b"transfer-encoding"}
# Whoever connects has a clock for it; asyncio's own is out of its way.
_HANDSHAKE_S = 3600.0


class Broken(Exception):  # noqa: N818 - what came of the answer
    """The connection brought no answer, or only a part of one, or something else."""


class Lost(Exception):  # noqa: N818 - what became of the connection
    """The connection was reset, or its TLS went wrong."""


async def dial(host: str, port: int, trusted: ssl.SSLContext | None) -> "HttpConnection":
    """With TLS where somebody is trusted. Raises OSError, and UnicodeError for what is no host's name."""
    found = await _addresses(host, port)
    try:
        sock = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_S)
    except OSError as error:
        if error.errno is not None:
            raise
        raise _numbered(error) from error
    _, connection = await asyncio.get_running_loop().create_connection(
        HttpConnection,
        sock=sock,
        ssl=trusted,
        server_hostname=None if trusted is None else host,
        ssl_handshake_timeout=None if trusted is None else _HANDSHAKE_S,
    )
    return connection


async def _addresses(host: str, port: int) -> Sequence[AddrInfoType]:
    """Only a name is looked up, in a thread."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _numbered(error: OSError) -> OSError:
    """Where addresses failed differently the text alone has their numbers: the last one counts, as ::1 comes first."""
    *_, number = 0, *re.findall(r"\[Errno (\d+)\]", str(error))
    return OSError(int(number), str(error))


class HttpConnection(asyncio.Protocol):
    """One connection, and the answer that is under way on it; the parser calls what begins with `on_`.

    Has no limit of its own but for headers, and sends nothing twice.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        # What RFC 9112 lets a client bear with: a bare line feed (2.2), a header in several lines (5.2), blanks behind
        # a chunk's size, and both ways to say how long a body is (6.3). A 1xx that says `close` is no answer's end.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
            lenient_chunked_length=True,
            lenient_keep_alive=True,
        )
        self._waiter: asyncio.Future[None] | None = None
        self._error: Broken | Lost | None = None
        self._has_head = self._is_kept = False
        # Nobody has asked yet.
        self._is_whole = True
        self._pieces: list[bytes] = []
        self._unread = 0
        # Bytes since the last ones of a body.
        self._headers_size = 0

    # For whoever asks.

    def is_free(self) -> bool:
        """Whether another request can be sent: nothing is read between two answers but the end of the connection."""
        return self._is_over() and not self._transport.is_closing() and not self._is_readable()

    @property
    def has_begun(self) -> bool:
        """Whether anything has come since the request; told before the answer's head has."""
        return self._headers_size > 0

    def ask(self, head: bytes, body: bytes) -> None:
        """Only while it is free."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._has_head = self._is_whole = False
        self._headers_size = 0
        self._transport.write(head + body)

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """The status, and the headers as they were written. Raises Broken and Lost."""
        while not self._has_head:
            if self._error is not None:
                raise self._error
            await self._more()
        return self._status, self._headers

    async def read(self) -> bytes:
        """All that has come since; nothing once the answer is whole. Raises Broken and Lost."""
        while not self._pieces and not self._is_whole:
            if self._error is not None:
                raise self._error
            await self._more()
        return b"".join(self._take())

    def leave(self) -> None:
        """Before the end of an answer its server is told so: the connection is closed."""
        if self._is_over():
            self._take()
        else:
            self.close()

    def close(self) -> None:
        self._error = self._error or Broken("it was closed here")
        self._transport.abort()

    def _is_over(self) -> bool:
        """The request, too: a server may answer before it has read all of it, and never read the rest."""
        is_answered = self._is_whole and self._is_kept and self._error is None
        return is_answered and not self._transport.get_write_buffer_size()

    def _take(self) -> list[bytes]:
        taken, self._pieces, self._unread = self._pieces, [], 0
        self._transport.resume_reading()
        return taken

    def _is_readable(self) -> bool:
        """The loop may not have seen yet that the server has left."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    async def _more(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    # For the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._error is not None:
            return
        self._headers_size += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._broken(error)
        if self._headers_size > _MOST_HEADERS:
            self._end(Broken("its headers have no end"))
        if self._unread > MOST_UNREAD:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Asyncio closes only when the request is written, which may be never."""
        if not self._has_head:
            self._end(Broken("Server disconnected without sending a response."))
        elif self._has_length:
            self._end(Broken("the connection was closed in the middle"))
        elif self._error is None:  # RFC 9112, 6.3: such a body ends with its connection
            self._is_whole = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            lost = Lost("" if isinstance(error, ConnectionError) else str(error))
            lost.__cause__ = error
            self._end(lost)
        self.eof_received()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _broken(self, error: Exception) -> None:
        if isinstance(error, HttpParserUpgrade):
            self._end(Broken("it wants to speak another protocol"))
        else:
            self._end(Broken(str(error)))

    def _end(self, error: Broken | Lost) -> None:
        """What has come is still read; what comes behind a whole answer spoils nothing but the connection."""
        self._error = self._error or error
        # TLS of asyncio bears no end in the middle of its reading.
        asyncio.get_running_loop().call_soon(self._transport.abort)

    # For the parser.

    def on_message_begin(self) -> None:
        if self._is_whole:
            raise ValueError("nobody has asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Blanks may stand behind a name (RFC 9112, 5.1), and a trailer is no header (RFC 9110, 6.5.1)."""
        if not self._has_head:
            self._headers.append((name.rstrip(), value))

    def on_headers_complete(self) -> None:
        lengths = {name.lower() for name, _ in self._headers} & _LENGTHS
        self._status = self._parser.get_status_code()
        self._has_head = self._status >= 200
        self._has_length = bool(lengths)
        # Whoever says both may mean either: RFC 9112, 6.3 has the connection closed behind such an answer.
        self._is_kept = lengths != _LENGTHS and self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if not self._has_head:
            raise ValueError("RFC 9110, 15.2: 1xx has none")
        self._headers_size = 0
        self._pieces.append(body)
        self._unread += len(body)

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_whole = True
        else:  # 1xx, RFC 9110, 15.2: the answer is still to come
            self._headers = []
