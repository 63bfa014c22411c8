"""`acp-broker serve`: one broker for everybody, the ways in to it, and its end.

who may come in    the unix socket: the same user, version and config; WebSocket: whoever shows the token
what they may do   broker/terms.py: an editor's turns end with it, a bridge's go on
how it ends        drain: nothing new, running turns end or are interrupted; then clients, then agents
"""

import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
from anyio import Event

from acp_broker import __version__
from acp_broker.app.bearer import Configured, bearer
from acp_broker.app.following import Following
from acp_broker.app.running import running_and_following
from acp_broker.app.status import Status
from acp_broker.auth.token import TokenFile
from acp_broker.broker.broker import Broker
from acp_broker.broker.guard import call, guarded
from acp_broker.broker.status import snapshot
from acp_broker.broker.terms import Terms
from acp_broker.config import Config, state_dir
from acp_broker.config import WebSocket as WebSocketConfig
from acp_broker.edge import meeting, open_files, ownership
from acp_broker.edge.channel import Channel
from acp_broker.edge.peers import PeerLimits, Seats
from acp_broker.edge.unix import Hello, allowed, refusal, unix_listener
from acp_broker.edge.websocket import Guest, WebSocketListener, WebSocketWay, websocket_listener
from acp_broker.errors import BrokerError, UsageError

# A token that was rotated because it leaked lets nobody stay for longer than this.
TOKEN_EVERY_S = 1.0
# Where it listens and whom it believes was made sure of at the start.
_FIXED = ("log", "frontends.websocket")
STOPPING = "acp-broker serve is stopping"


class Daemon:
    """What listeners ask, and what signals do."""

    def __init__(self, following: Following, environ: Mapping[str, str], token: Configured | TokenFile) -> None:
        self.following = following
        self.broker: Broker = following.broker
        self.socket = Path()
        self.websocket: WebSocketListener | None = None
        self.since = following.state.loaded_at
        self.is_draining = False
        self.seats = Seats(lambda: self.config.limits.connections)
        self._source = token
        hidden = {token.variable} if isinstance(token, Configured) and token.variable is not None else set()
        self._environ = {name: value for name, value in environ.items() if name not in hidden}
        self._hidden = hidden
        self._channels: set[Channel] = set()
        # In place of a token that cannot be read: one that nobody knows.
        self._nobodys = secrets.token_urlsafe(32)
        self._token_fault: str | None = None

    @property
    def config(self) -> Config:
        """The one that holds by now."""
        return self.following.config

    @property
    def url(self) -> str | None:
        """Where bridges connect."""
        return self.websocket.address if self.websocket is not None else None

    # --- who may come in

    def answer(self, hello: Hello) -> bytes | None:
        """What a client of the unix socket is told instead of being served."""
        if hello.asks == "status":
            told: list[bytes] = []
            fault = call(self.broker.log, lambda: told.append(meeting.line(status=msgspec.to_builtins(self.status()))))
            return refusal(fault.text) if fault is not None else told[0]
        if self.is_draining:
            return refusal(STOPPING)
        if hello.version != __version__:
            return refusal(f"acp-broker serve is version {__version__}, this is {hello.version}: restart it")
        if not _is_same_file(hello.config, self.config.source):
            return refusal(f"acp-broker serve runs with another config: {self.config.source}")
        return None

    def token(self) -> str:
        """The token that lets a client in by now; one that nobody knows while ours cannot be trusted."""
        try:
            token = self._source.read()
        except BrokerError as error:
            if str(error) != self._token_fault:
                self._token_fault = str(error)
                self.broker.log("token_unusable", why=str(error))
            return self._nobodys
        self._token_fault = None
        return token

    def limits(self) -> PeerLimits:
        limits = self.config.limits
        return PeerLimits(
            max_message_bytes=limits.max_message_bytes,
            queued_bytes=limits.queued_bytes,
            stalled_s=limits.stalled_ms / 1000,
            messages_per_s=limits.messages_per_second,
        )

    def health(self) -> tuple[int, bytes]:
        """What `/healthz` answers: a proxy sends nobody to a daemon that is about to end."""
        if self.is_draining:
            return 503, b'{"status":"draining"}'
        return 200, msgspec.json.encode({"status": "ok", "version": __version__})

    # --- who is in

    async def serve_unix(self, channel: Channel, hello: Hello) -> None:
        patterns = self.config.frontends.unix.environment
        theirs = {name: value for name, value in hello.environment.items() if name not in self._hidden}
        # Each variable has one owner: the editor for those that config lets through, the daemon for all others.
        ours = {name: value for name, value in self._environ.items() if name not in allowed(self._environ, patterns)}
        environ = {**ours, **allowed(theirs, patterns)}
        most = self.config.limits.sessions_per_client
        await self._serve(channel, Terms(f"unix {hello.pid}", environ, has_terminal=True, most_sessions=most))

    async def serve_websocket(self, channel: Channel, guest: Guest) -> None:
        most = self.config.limits.sessions_per_client
        name = f"websocket {guest.address}"
        terms = Terms(name, self._environ, turns_go_on=True, has_terminal=False, most_sessions=most)
        await self._serve(channel, terms)

    async def _serve(self, channel: Channel, terms: Terms) -> None:
        self._channels.add(channel)
        try:
            # A fault of ours in one connection is the end of that one, and of nobody else's.
            await guarded(self.broker.serve(channel, terms), self.broker.log)
        finally:
            self._channels.discard(channel)

    async def watch_token(self, listener: WebSocketListener) -> None:
        """Cut off who came by a token that holds no more. One that cannot be read cuts off nobody who is in."""
        before = self.token()
        while True:
            await self.broker.clock.sleep(TOKEN_EVERY_S)
            token = self.token()
            if token != before and self._token_fault is None:
                before = token
                self.broker.log("token_changed")
                listener.forget_tokens_but(token)

    # --- what it is asked and told from outside

    def status(self) -> Status:
        seen = snapshot(self.broker)
        return Status(
            version=__version__,
            pid=os.getpid(),
            state="draining" if self.is_draining else "running",
            since=self.since,
            home=str(self.broker.folder.path),
            socket=str(self.socket),
            websocket=self.url,
            config=self.following.state,
            **{name: getattr(seen, name) for name in seen.__struct_fields__},
        )

    def reload(self) -> None:
        """Take up what has changed, where that needs no restart; what cannot be used is only said."""
        self.following.vault.forget()
        self.following.soon()
        if self.websocket is not None:
            try:
                self.websocket.renew_certificate()
            except UsageError as error:
                self.broker.log("certificate_refused", why=str(error))

    async def drain(self, at_once: Event) -> None:
        """Let nobody in and begin nothing; return once no turn runs. When `at_once` is set, it waits no more."""
        self.is_draining = True
        turns = sum(session.turn is not None for session in self.broker.sessions.values())
        limit_s = self.config.limits.drain_ms / 1000
        self.broker.log("draining", turns=turns, clients=len(self._channels), limit_s=limit_s)
        await self.broker.drain(limit_s, at_once)
        # All at once: each has a little time for what it has not read.
        for channel in tuple(self._channels):
            channel.close(STOPPING)


@asynccontextmanager
async def serving(config: Config, environ: Mapping[str, str]) -> AsyncIterator[Daemon]:
    """A daemon that answers; on the way out its clients are let go, and all its agents are ended.

    Raises UsageError where it cannot begin: another daemon serves this state folder, a port is taken, a token or a
    certificate cannot be used. Whoever serves already is not disturbed by the attempt.
    """
    home = state_dir(environ)
    # The lock comes with the listener, which needs the broker; by then its log was set aside and old sessions deleted.
    ownership.check_unowned(home)
    websocket = config.frontends.websocket
    open_files.allow_many()
    async with AsyncExitStack() as stack:
        following = await stack.enter_async_context(
            running_and_following(config, environ, fixed=_FIXED, log_to_stderr=config.log.file is None)
        )
        token = await bearer(config, home, environ, following.vault)
        broker, daemon = following.broker, Daemon(following, environ, token)
        about = {"version": __version__, "config": str(config.source)}
        # Before the WebSocket: it has the lock, and a second daemon must be told of the first one, not of its port.
        daemon.socket = await stack.enter_async_context(
            unix_listener(
                home,
                daemon.answer,
                daemon.serve_unix,
                daemon.limits,
                daemon.seats,
                broker.log,
                partial(guarded, log=broker.log),
                about=about,
                clock=broker.clock,
            )
        )
        if websocket is not None:
            token.read()
            daemon.websocket = await stack.enter_async_context(_listener(websocket, daemon))
            broker.tasks.start_soon(daemon.watch_token, daemon.websocket)
        broker.log("ready", pid=os.getpid(), socket=str(daemon.socket), websocket=daemon.url, config=str(config.source))
        yield daemon


def _listener(websocket: WebSocketConfig, daemon: Daemon) -> AbstractAsyncContextManager[WebSocketListener]:
    tls, broker = websocket.tls, daemon.broker
    way = WebSocketWay(
        host=websocket.host,
        port=websocket.port,
        tls=(tls.certificate, tls.key) if tls is not None else None,
        origins=websocket.origins,
        hosts=websocket.hosts,
        token=daemon.token,
        limits=daemon.limits,
        seats=daemon.seats,
        health=daemon.health,
    )
    return websocket_listener(way, daemon.serve_websocket, broker.clock, broker.log, partial(guarded, log=broker.log))


def _is_same_file(named: str, source: Path) -> bool:
    # Not Path.resolve: that raises for a link that leads to itself.
    return named == str(source) or os.path.realpath(named) == os.path.realpath(source)
