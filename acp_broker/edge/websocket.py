"""The way in for bridges and browsers: ACP over WebSocket, one message a text frame (docs/bridge.md)."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from anyio import CancelScope, Event, create_task_group
from anyio.abc import TaskGroup
from websockets.frames import CloseCode

from acp_broker.clock import Clock
from acp_broker.edge import handshake
from acp_broker.edge.channel import Channel
from acp_broker.edge.gate import Admitted, Gate, Guest, WebSocketWay, token_digest
from acp_broker.edge.link import Link
from acp_broker.edge.listening import Door, bind
from acp_broker.edge.sparing import SparingLog
from acp_broker.edge.tls import server_context
from acp_broker.edge.websocket_channel import WebSocketChannel

__all__ = ["Guest", "Serve", "WebSocketListener", "WebSocketWay", "websocket_listener"]

# For TLS and the head of the request together: a slow loris takes for ever.
HANDSHAKE_S = 10.0
# Connections that are not admitted yet. Honest ones are that for milliseconds, so it is the oldest that is cut off.
MOST_STRANGERS = 256
# For a peer to take the answer that refuses it.
REFUSING_S = 2.0
# For every connection to end, once the listener does.
ENDING_S = 10.0

Serve = Callable[[Channel, Guest], Awaitable[None]]
Log = Callable[..., None]
# Awaits it; what it raises is logged, and raised no further.
Guarded = Callable[[Awaitable[None]], Awaitable[object]]


class WebSocketListener:
    """`address` is what a client connects to, with the port that was bound."""

    def __init__(
        self, way: WebSocketWay, serve: Serve, tasks: TaskGroup, clock: Clock, log: SparingLog, guarded: Guarded
    ) -> None:
        self.address = ""
        self._way = way
        self._serve = serve
        self._tasks = tasks
        self._clock = clock
        self._log = log
        self._guarded = guarded
        self._gate = Gate(way, clock, log)
        self._context: ssl.SSLContext | None = None
        self._doors: list[Door] = []
        self._strangers: dict[Link, None] = {}
        self._guests: dict[WebSocketChannel, bytes] = {}
        self._connections = 0
        self._is_ending = False
        self._empty = Event()

    def open(self, sockets: list[socket.socket], context: ssl.SSLContext | None) -> None:
        port = sockets[0].getsockname()[1]
        host = f"[{self._way.host}]" if ":" in self._way.host else self._way.host
        self.address = f"{'ws' if context is None else 'wss'}://{host}:{port}{handshake.PATH}"
        self._context = context
        self._doors = [Door(one, self._on_socket, self._clock, self._log) for one in sockets]

    def renew_certificate(self) -> None:
        """Read certificate and key again, for who connects from now on. Raises UsageError; then the old ones stay."""
        if self._way.tls is not None:
            self._context = server_context(*self._way.tls)

    def stop_listening(self) -> None:
        """Let nobody in any more; those who are in stay."""
        for door in self._doors:
            door.close()

    def close_all(self, why: str) -> None:
        """End every connection, as Channel.close does."""
        for channel in tuple(self._guests):
            channel.close(why)

    def forget_tokens_but(self, token: str) -> None:
        """End every connection that came with another token."""
        digest = token_digest(token)
        for channel, given in tuple(self._guests.items()):
            if given != digest:
                channel.end(CloseCode.POLICY_VIOLATION, "the token has changed")

    async def end(self) -> None:
        """Close everything; returns once all connections are gone, or ENDING_S are over."""
        self._is_ending = True
        self.stop_listening()
        for link in tuple(self._strangers):
            link.abort()
        self.close_all("going away")
        timer = self._clock.call_at(self._clock.now() + ENDING_S, self._empty.set)
        if self._connections:
            await self._empty.wait()
        timer.cancel()

    # --- one connection

    def _on_socket(self, accepted: socket.socket, address: str) -> None:
        self._connections += 1
        self._tasks.start_soon(self._meet, accepted, address)

    async def _meet(self, accepted: socket.socket, address: str) -> None:
        await self._guarded(self._met(accepted, address))

    async def _met(self, accepted: socket.socket, address: str) -> None:
        link = Link(self._context)
        self._strangers[link] = None
        try:
            try:
                await asyncio.get_running_loop().connect_accepted_socket(lambda: link, accepted)
            except OSError:  # macOS: TCP_NODELAY cannot be set on one that was reset already
                accepted.close()
                return
            if self._is_ending:
                return
            if len(self._strangers) > MOST_STRANGERS:
                self._log(
                    "websocket_refused", address=address, why="too many unfinished handshakes: cut off the oldest"
                )
                next(iter(self._strangers)).abort()
            await self._receive(link, address)
        finally:
            self._strangers.pop(link, None)
            link.abort()
            self._connections -= 1
            if not self._connections:
                self._empty.set()

    async def _receive(self, link: Link, address: str) -> None:
        def too_late() -> None:
            self._log("websocket_refused", address=address, why=f"no whole request within {HANDSHAKE_S:.0f} s")
            link.abort()

        timer = self._clock.call_at(self._clock.now() + HANDSHAKE_S, too_late)
        try:
            head = await handshake.read_head(link)
        finally:
            timer.cancel()
        if head is None:
            if link.fault:
                self._log("websocket_refused", address=address, why=f"TLS failed: {link.fault}")
            return
        verdict = self._gate.judge(head, address)
        if isinstance(verdict, Admitted):
            try:
                await self._host(link, verdict, head.rest)
            finally:
                self._way.seats.leave()
            return
        link.write(verdict)
        link.finish()
        link.discard()
        timer = self._clock.call_at(self._clock.now() + REFUSING_S, link.abort)
        try:
            await link.gone.wait()
        finally:
            timer.cancel()

    async def _host(self, link: Link, admitted: Admitted, rest: bytes) -> None:
        del self._strangers[link]
        channel = WebSocketChannel(link, admitted, rest, self._way.limits, self._clock, self._log)
        self._guests[channel] = admitted.digest
        try:
            await self._serve(channel, admitted.guest)
        finally:
            del self._guests[channel]
            await channel.finish()


@asynccontextmanager
async def websocket_listener(
    way: WebSocketWay, serve: Serve, clock: Clock, log: Log, guarded: Guarded
) -> AsyncIterator[WebSocketListener]:
    """Listen until left; then no connection is, and every `serve` has ended. Raises UsageError.

    `serve` is awaited once per connection. A connection is closed once it returns. `guarded` has each connection to
    itself: a fault in one ends no other.
    """
    context = server_context(*way.tls) if way.tls is not None else None
    sockets = await bind(way.host, way.port)
    sparing = SparingLog(log, clock)
    try:
        async with create_task_group() as tasks:
            listener = WebSocketListener(way, serve, tasks, clock, sparing, guarded)
            listener.open(sockets, context)
            try:
                yield listener
            finally:
                with CancelScope(shield=True):
                    await listener.end()
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # What the caller raised inside is his, not one of several.
        raise group.exceptions[0] if len(group.exceptions) == 1 else group from None
    finally:
        sparing.flush()
