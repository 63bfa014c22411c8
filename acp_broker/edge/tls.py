"""TLS between the bytes of a socket and plain bytes, without touching the socket.

asyncio's own TLS transport counts as sent what still lies in the socket's buffer below it: so `pending` would not be
true, and nobody would be told when that buffer is empty.
"""

import ssl
from pathlib import Path

from acp_broker.errors import UsageError

# What one TLS record holds at most.
RECORD_BYTES = 16 * 1024


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Raises UsageError, which names the file, for a certificate or key that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A handshake costs us more than it costs a client; one is enough.
    context.options |= ssl.OP_NO_RENEGOTIATION
    for path in (certificate, key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise UsageError(
                f"frontends.websocket.tls: cannot read {path}: {error.strerror}; name a PEM file that you may read"
            ) from error
    try:
        # A key with a pass phrase would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"frontends.websocket.tls: {certificate} and {key} are not a certificate and its key: {error}; "
            "write both as PEM, the certificate first in its chain, the key without a pass phrase"
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a pass phrase")


class Tls:
    """The server's side of one TLS connection. After each call, `to_send` holds what the peer must get."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_open = False
        # The peer has said that it sends no more.
        self.is_over = False

    def feed(self, data: bytes) -> bytes:
        """Bytes of the socket; returns what they hold for us. Raises ssl.SSLError, which ends the connection."""
        self._incoming.write(data)
        plain: list[bytes] = []
        try:
            if not self._is_open:
                self._tls.do_handshake()
                self._is_open = True
            while part := self._tls.read(RECORD_BYTES):
                plain.append(part)
            self.is_over = True
        except ssl.SSLWantReadError:
            pass
        return b"".join(plain)

    def seal(self, data: bytes) -> None:
        self._tls.write(data)

    def finish(self) -> None:
        """Say that we send no more."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # it waits for the peer's answer, which nobody needs; or there never was a handshake
            return

    def to_send(self) -> bytes:
        return self._outgoing.read()
