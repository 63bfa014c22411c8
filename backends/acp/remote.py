"""An agent elsewhere: reached over WebSocket, and found again where it is a broker that was lost in a turn."""

import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
from anyio import CancelScope
from msgspec import Raw
from msgspec.structs import replace

from acp_broker.clock import Clock
from acp_broker.contract import Backend, Tools
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Phase
from acp_broker.edge.dialing import Dialled, Route, dial
from acp_broker.errors import BackendFailure
from acp_broker.wire import jsonrpc
from backends.acp import AcpConfig, fitting, hops, rows
from backends.acp.life import Life
from backends.acp.living import living
from backends.acp.row import Leaves
from backends.http.client import trusted, way_to
from backends.http.clocks import Watch
from backends.http.unreachable import why

CONNECT_S = 10.0
# For a broker that was lost in a turn: before its first word another backend can answer, behind it nobody else can.
SILENT_S, SPOKEN_S = 3.0, 30.0
# Between two tries, doubled each time.
PAUSE_S, MOST_PAUSE_S = 0.1, 2.0
# Once the turn was cancelled. It is most of what somebody waits for who leaves.
LEAVING_S = 1.0
# Times that a turn is taken up without a word more of it: its connection is not lost by accident then.
MOST_IN_VAIN = 20
# What another try may change.
_PASSING = frozenset({FailureKind.UNREACHABLE, FailureKind.OVERLOADED, FailureKind.SERVER_ERROR, FailureKind.CRASHED})


@asynccontextmanager
async def reached(settings: AcpConfig, tools: Tools) -> AsyncIterator[Backend]:
    """The agent, initialized and with its session open; the connection is closed on the way out."""
    tools.reached("starting")
    heard = _capabilities(settings, tools)
    assert settings.url is not None
    way = way_to(settings.url.replace("ws", "http", 1), tools.environment)
    proxy = way.proxy if way.proxy is None or "://" in way.proxy else f"http://{way.proxy}"
    route = Route(settings.url, tools.credential, proxy, await trusted(way), tools.max_message_bytes)
    limits = settings.limits
    connect_s = CONNECT_S if limits is None or limits.connect_ms is None else limits.connect_ms / 1000
    reconnect_s = None if limits is None or limits.reconnect_ms is None else limits.reconnect_ms / 1000

    async def connect() -> "Connected":
        try:
            return Connected(await dial(route, connect_s, time.time))
        except BackendFailure as error:
            cause = error.__cause__
            is_told = not isinstance(cause, ssl.SSLError) or isinstance(cause, ssl.SSLCertVerificationError)
            if isinstance(cause, OSError) and cause.errno is not None and is_told:
                raise BackendFailure(replace(error.failure, text=why(cause, route.host, way.proxy_host))) from cause
            raise

    found = rows.find(settings.agent, ())
    again = Finding(connect, tools, reconnect_s)
    async with living(await connect(), tools, settings, found.row if found else None, heard, again) as life:
        yield life


def _capabilities(settings: AcpConfig, tools: Tools) -> Raw:
    """What the client can do, for an agent elsewhere. One with folders of its own has no use for files named here."""
    heard = hops.onward(tools.client_capabilities)
    if settings.cwd is None:
        return heard
    members = msgspec.json.decode(heard, type=dict[str, Raw])
    return jsonrpc.encode({name: value for name, value in members.items() if name not in fitting.OF_THIS_MACHINE})


class Connected:
    """transport.Transport over a WebSocket connection."""

    def __init__(self, dialled: Dialled) -> None:
        self._dialled = dialled
        self.write = dialled.write
        self.run = dialled.run
        self.kill = dialled.kill

    @property
    def has_ended(self) -> bool:
        return self._dialled.has_ended

    async def ended(self, seen_at: Phase) -> Failure:
        return await self._dialled.ended(seen_at)

    async def leave(self, how: Leaves) -> None:  # noqa: ARG002 - what is elsewhere ends as it likes
        await self._dialled.stop()


class Finding:
    """life.Again: tries to reach a broker again for as long as a turn of it is worth it."""

    def __init__(self, connect: Callable[[], Awaitable[Connected]], tools: Tools, reconnect_s: float | None) -> None:
        self._connect = connect
        self._tools = tools
        self._reconnect_s = reconnect_s
        # While no connection has taken up the turn.
        self._trying: _Trying | None = None

    def hurry(self) -> None:
        if self._trying is not None:
            self._trying.hurry()

    async def follow(self, life: Life, end: Failure) -> Failure:
        """Go on over other connections; how the last one ended."""
        in_vain = 0
        while life.may_go_on and end.kind in _PASSING and in_vain < MOST_IN_VAIN:
            before = life.last_heard
            life.lose(end)
            self._tools.log("connection_lost", why=end.text)
            end, is_taken_up = await self._taken_up(life, end)
            self._trying = None
            if not is_taken_up:
                return end
            in_vain = 0 if life.last_heard > before else in_vain + 1
        return end

    async def _taken_up(self, life: Life, lost: Failure) -> tuple[Failure, bool]:
        """Try until one connection has taken up the turn; how that one ended, or why there is none."""
        self._trying = trying = _Trying(self._tools.clock, self._limit(life))
        if life.is_cancelled:
            trying.hurry()
        last = lost
        with trying.watch.block():
            while await trying.again():
                try:
                    transport = await self._connect()
                except BackendFailure as error:
                    last = error.failure
                    if last.kind not in _PASSING:
                        return replace(last, seen_at="submitted"), False
                    continue
                resumed = await life.resume(transport, self._found)
                if resumed.is_taken_up or resumed.is_refused:
                    return resumed.end, resumed.is_taken_up
                last = resumed.end
                life.lose(last)
        why = f": {last.text}" if last is not lost else ""
        text = f"{lost.text}, and the turn could not be taken up again within {trying.limit_s:g} s{why}"
        return Failure(FailureKind.CRASHED, text, last.code, seen_at="submitted"), False

    def _found(self) -> None:
        """A connection has taken up the turn."""
        assert self._trying is not None
        self._trying.watch.disarm()
        self._trying = None
        self._tools.log("turn_taken_up")

    def _limit(self, life: Life) -> float:
        if self._reconnect_s is not None:
            return self._reconnect_s
        return SILENT_S if self._tools.is_followed and not life.has_spoken else SPOKEN_S


class _Trying:
    """The time in which a turn may be taken up: `watch` ends its block when that is over."""

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self.watch = Watch(clock)
        self._clock = clock
        self._pause_s = 0.0
        self._pausing = CancelScope()
        self._allow(limit_s)

    def hurry(self) -> None:
        """The turn was cancelled: nobody waits for it any more, and whoever has it should hear that."""
        self._allow(min(LEAVING_S, self._until - self._clock.now()))
        self._pause_s = 0.0
        self._pausing.cancel()

    async def again(self) -> bool:
        """Whether there is time for another try; returns when it is due."""
        if self._clock.now() + self._pause_s >= self._until:
            return False
        if self._pause_s:
            with CancelScope() as self._pausing:
                await self._clock.sleep(self._pause_s)
        self._pause_s = min(max(PAUSE_S, 2 * self._pause_s), MOST_PAUSE_S)
        return True

    def _allow(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._until = self._clock.now() + limit_s
        self.watch.arm(limit_s, None)
