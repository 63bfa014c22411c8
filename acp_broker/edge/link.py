"""One accepted socket: plain bytes in, plain bytes out, with TLS or without, and what the system has not taken."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from anyio import Event

from acp_broker.edge.tls import Tls


class Link(asyncio.Protocol):
    """Silent until `listen`. What the peer sends after it has gone, or after `abort`, is dropped."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._tls = Tls(context) if context is not None else None
        self._transport: asyncio.Transport | None = None
        self._on_bytes: Callable[[bytes], None] = _ignore
        self._on_end: Callable[[], None] = _nothing
        self._drained: list[Callable[[], None]] = []
        self._written = 0
        self._is_finished = False
        self._is_over = False
        # What went wrong with TLS, in OpenSSL's words.
        self.fault = ""
        self.gone = Event()

    @property
    def pending(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def taken(self) -> int:
        """How many bytes the system has taken since the connection began."""
        return self._written - self.pending

    def listen(self, on_bytes: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Hand over what arrives from now on; `on_end` is called once, when the peer has sent its last byte."""
        self._on_bytes, self._on_end = on_bytes, on_end
        if self._is_over:
            on_end()
        self.resume()

    def discard(self) -> None:
        """Read on until the peer closes, for nobody: closing a socket with unread bytes resets it (RFC 9293, 3.6.1),
        and the peer would lose our last words."""
        self.listen(_ignore, _nothing)

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._drained.append(callback)

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    @property
    def is_listening(self) -> bool:
        return self._transport is not None and self._transport.is_reading()

    def write(self, data: bytes) -> None:
        """In order, without waiting; dropped once the peer is gone or we have finished."""
        if self._is_finished or self._transport is None:
            return
        if self._tls is None:
            self._send(data)
        else:
            try:
                self._tls.seal(data)
            except ssl.SSLError as error:
                self._fail(error)
            else:
                self._send(self._tls.to_send())

    def finish(self) -> None:
        """Send nothing after what was written; the peer may go on."""
        if self._is_finished or self._transport is None:
            return
        self._is_finished = True
        if self._tls is not None:
            self._tls.finish()
            self._send(self._tls.to_send())
        if not self.pending:
            self._shut()

    def abort(self) -> None:
        """Drop the connection with all that is pending."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self._tls is not None:
            try:
                data = self._tls.feed(data)
            except ssl.SSLError as error:
                self._fail(error)
                return
            self._send(self._tls.to_send())
        if data:
            self._on_bytes(data)
        if self._tls is not None and self._tls.is_over:
            self._end()

    def eof_received(self) -> bool:
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - lost is lost
        self._transport = None
        self._end()
        self.gone.set()
        self.resume_writing()

    def resume_writing(self) -> None:
        if self._is_finished:
            self._shut()
        for callback in self._drained:
            callback()

    def _send(self, data: bytes) -> None:
        # asyncio warns on stderr of each write to a connection that it knows to be lost and has not told us of yet.
        if data and self._transport is not None and not self._transport.is_closing():
            self._written += len(data)
            self._transport.write(data)

    def _fail(self, error: ssl.SSLError) -> None:
        """End a TLS connection that cannot go on."""
        self.fault = error.reason or str(error)
        if self._tls is not None:
            self._send(self._tls.to_send())  # the alert that tells the peer why
        self._is_finished = True
        if self._transport is not None:
            self._transport.close()
        self._end()

    def _shut(self) -> None:
        # Not write_eof: that raises if the peer has reset the connection, out of a callback of the loop even.
        if self._transport is not None:
            with suppress(OSError):
                self._transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_end()


def _ignore(data: bytes) -> None:
    """What nobody listens to."""


def _nothing() -> None:
    """Nobody waits for the end."""
