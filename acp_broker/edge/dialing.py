"""A connection that we open to an agent elsewhere: ACP over WebSocket, each message a text frame.

The asyncio client of `websockets` does the handshake, the pings and the proxy. No redirect is followed: our token is
for the host that config names.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from anyio import CancelScope, move_on_after
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidProxy, InvalidURI
from websockets.frames import CloseCode
from websockets.protocol import State

from acp_broker.core.failures import Failure
from acp_broker.core.names import Phase
from acp_broker.edge import dial_failures
from acp_broker.edge.channel import OnLines
from acp_broker.edge.handshake import PROTOCOL
from acp_broker.errors import BackendFailure
from acp_broker.wire.framing import MAX_LINE_BYTES

# A peer that answers no ping for so long is gone: its machine sleeps, or the way there is cut. One that is busy with a
# long step in one thread is not.
PING_S = 20.0
GONE_S = 40.0
# Of the longest messages. A peer that asks and asks, or pings, and reads nothing is cut off here.
MOST_UNREAD = 4
# For a peer to answer our close frame.
CLOSING_S = 0.5
# What `websockets` has to say, we say in our own log; it would write the token into it.
_SILENT = logging.Logger("acp_broker.dialing", logging.CRITICAL + 1)


class Route(Struct, frozen=True):
    """Where to, and how: `proxy` is an address, `trusted` is None for a way without TLS, `token` may be none.

    `max_message_bytes` is of one message, either way.
    """

    url: str
    token: str | None = None
    proxy: str | None = None
    trusted: ssl.SSLContext | None = None
    max_message_bytes: int = MAX_LINE_BYTES

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def __repr__(self) -> str:
        return f"Route({self.url})"


class _Connection(ClientConnection):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MOST_UNREAD * (self.protocol.max_message_size or MAX_LINE_BYTES):
            self.transport.abort()


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def dial(route: Route, connect_s: float, wall: Callable[[], float]) -> "Dialled":
    """Connect and shake hands, within that time altogether. Raises BackendFailure. `wall` is now, since the epoch."""
    try:
        connection = await _Connect(
            route.url,
            additional_headers={} if route.token is None else {"Authorization": f"Bearer {route.token}"},
            subprotocols=[PROTOCOL],
            create_connection=_Connection,
            proxy=route.proxy,
            # A window for each connection costs more memory than the session behind it.
            compression=None,
            open_timeout=connect_s,
            ping_interval=PING_S,
            ping_timeout=GONE_S,
            close_timeout=CLOSING_S,
            max_size=route.max_message_bytes,
            logger=_SILENT,
            ssl=route.trusted,
        )
    except (
        OSError,
        TimeoutError,
        InvalidHandshake,
        InvalidProxy,
        InvalidURI,
        ImportError,
        EOFError,
        UnicodeError,
    ) as error:
        failure = dial_failures.of_handshake(error, route.host, has_token=route.token is not None, wall=wall())
        raise BackendFailure(failure) from error
    return Dialled(connection, route)


class Dialled:
    """An open connection to an agent. What becomes of its work when the connection ends is for the agent to decide."""

    def __init__(self, connection: ClientConnection, route: Route) -> None:
        self._connection = connection
        self._route = route
        # The size of a message that was too long to be sent.
        self._unsent: int | None = None

    @property
    def has_ended(self) -> bool:
        return self._connection.state is not State.OPEN

    def write(self, data: bytes) -> None:
        """Send whole lines, in order, without waiting; dropped once the connection is lost.

        One that is too long ends it: what comes behind that would make no sense without it.
        """
        core = self._connection.protocol
        if core.state is not State.OPEN:
            return
        for line in data.split(b"\n"):
            if len(line) > self._route.max_message_bytes:
                self._unsent = len(line)
                self.kill()
                return
            if line:
                core.send_text(line)
        self._connection.send_data()

    async def run(self, on_lines: OnLines) -> None:
        """Hand over each message until the connection ends. Binary ones are left out."""
        try:
            while True:
                message = await self._connection.recv()
                if isinstance(message, str):
                    line = message.replace("\n", " ").encode()
                    if line and not line.isspace():
                        on_lines([line])
        except ConnectionClosed:
            return

    def kill(self) -> None:
        """Close it: what was written is sent, and what the peer still says is not waited for beyond CLOSING_S."""
        core = self._connection.protocol
        if core.state is State.OPEN:
            core.send_close(CloseCode.GOING_AWAY, "")
            self._connection.send_data()
        asyncio.get_running_loop().call_later(CLOSING_S, self._connection.transport.abort)

    async def ended(self, seen_at: Phase) -> Failure:
        """Why it ended, once `run` has returned."""
        await self._connection.wait_closed()
        host = self._route.host
        if self._unsent is not None:
            return dial_failures.of_unsent(self._unsent, self._route.max_message_bytes, host, seen_at)
        return dial_failures.of_close(self._connection.protocol.close_exc, host, seen_at)

    async def stop(self) -> None:
        """Close it and wait until it is gone; whoever does not answer is cut off."""
        with CancelScope(shield=True):
            with move_on_after(CLOSING_S * 2):
                await self._connection.close()
            self._connection.transport.abort()
