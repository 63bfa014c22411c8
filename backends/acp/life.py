"""One agent process and the session in it, from its start to its very end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from anyio import CancelScope, Event, create_task_group, move_on_after
from msgspec import Raw, Struct
from msgspec.structs import replace

from acp_broker.contract import About, Backend, Child, Client, Finished, Tools, TurnRequest
from acp_broker.core import classify, redact
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.habits import UNKNOWN, Habits
from acp_broker.core.names import Phase
from acp_broker.errors import BackendFailure, RpcError
from acp_broker.wire import agent, jsonrpc
from backends.acp import AcpConfig, fitting, rows
from backends.acp.peer import Peer
from backends.acp.row import Leaves, Row

PROTOCOL_VERSION = 1
# Some agents run messages as tasks and overlook a cancel that comes right behind the prompt.
CANCEL_AGAIN_S = 0.05
# After stdin closed, and after SIGTERM. acpx waits 1.5 s and 1 s; nobody waits for the words of an agent that leaves.
EOF_GRACE_S = 0.5
TERM_GRACE_S = 0.5
# What serves nobody is not waited for: some agents leave neither for the one nor for the other.
_GRACES: dict[Leaves, tuple[float, float]] = {
    "eof": (EOF_GRACE_S, TERM_GRACE_S),
    "term": (0.0, TERM_GRACE_S),
    "kill": (0.0, 0.0),
}
# How long the exit status may take to follow the end of stdout.
EXIT_GRACE_S = 0.2


class _Stopped(Struct):
    reason: Literal["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"] = msgspec.field(
        name="stopReason"
    )


class _Named(Struct):
    session: str = msgspec.field(name="sessionId")


@asynccontextmanager
async def living(
    settings: AcpConfig, row: Row | None, environment: Mapping[str, str], tools: Tools
) -> AsyncIterator[Backend]:
    """The agent, initialized and with its session open; ended, with all that belongs to it, on the way out."""
    tools.reached("starting")
    cwd = tools.setup.cwd if tools.setup is not None else None
    process = await tools.spawn(settings.command, env=environment, cwd=cwd)
    life = Life(process, tools, settings, row)
    failure: BackendFailure | None = None
    was_open = False
    try:
        async with create_task_group() as tasks:
            tasks.start_soon(life.read)
            try:
                await life.begin()
            except BackendFailure as error:
                failure = error
            else:
                yield life
                was_open = True
            tasks.cancel_scope.cancel()
    finally:
        # An agent that served may leave politely; one that hangs or failed while it opened is killed at once.
        with CancelScope(shield=True):
            eof_grace_s, term_grace_s = _GRACES[life.leaves] if was_open else (0.0, 0.0)
            await process.stop(eof_grace_s=eof_grace_s, term_grace_s=term_grace_s)
    if failure is not None:
        raise failure


class Life:
    """contract.Backend for one agent process."""

    def __init__(self, process: Child, tools: Tools, settings: AcpConfig, row: Row | None) -> None:
        self.about = About()
        self.leaves: Leaves = row.leaves if row is not None else "eof"
        self._settings = settings
        self._row = row
        self._process = process
        self._tools = tools
        self._peer = Peer(process, tools.between, tools.log)
        self._phase: Phase = "starting"
        self._said = agent.Initialized()
        self._adapted: tuple[str, ...] = ()
        # The agent owes the answer to a prompt: only then is there something to cancel.
        self._is_prompted = False
        self._forget_cancel: Callable[[], None] | None = None
        # Its output has ended; `_is_ended` follows once all of it is gone.
        self._has_left = False
        self._is_ended = Event()
        self._end = Failure(FailureKind.CRASHED, "the agent ended")

    # --- its life

    async def read(self) -> None:
        """Read the agent to its end, end what is left of it, then fail whoever waits for it."""
        garbled: Failure | None = None

        def on_lines(lines: list[bytes]) -> None:
            nonlocal garbled
            if garbled is not None:  # what its pipe still holds: without the part that was lost it means nothing
                return
            try:
                self._peer.on_lines(lines)
            except BackendFailure as error:
                garbled = error.failure
                self._process.kill()

        try:
            await self._process.run(on_lines)
            self._has_left = True
            with move_on_after(EXIT_GRACE_S):
                await self._process.wait()
            exited = self._process.returncode
            with CancelScope(shield=True):
                await self._process.stop(eof_grace_s=0, term_grace_s=0)
            self._end = garbled or classify.from_exit(exited, self._process.stderr_tail(), seen_at=self._phase)
        finally:
            self._peer.fail(self._end)
            self._is_ended.set()

    async def gone(self) -> str:
        await self._is_ended.wait()
        return self._end.text

    async def begin(self) -> None:
        """initialize, log in again where that was done before, then open the session. Raises BackendFailure."""
        capabilities, info = self._tools.client_capabilities, self._tools.client_info
        params = {"protocolVersion": PROTOCOL_VERSION, "clientCapabilities": capabilities}
        result = await self._asked("initialize", params if info is None else {**params, "clientInfo": info})
        try:
            self._said = agent.initialized(result)
        except msgspec.DecodeError as error:
            raise BackendFailure(self._garbled(f"answered initialize with something else: {error}")) from error
        version = self._said.version
        if version is not None and version != PROTOCOL_VERSION:
            text = f"speaks ACP version {version}; acp-broker speaks version {PROTOCOL_VERSION}"
            raise BackendFailure(Failure(FailureKind.GARBLED, text, code=str(version), seen_at="starting"))
        if self._tools.authenticated_by is not None:
            await self._asked("authenticate", {"methodId": self._tools.authenticated_by})
        opened = Raw(b"{}")
        if self._tools.setup is not None:
            self._phase = "opening"
            self._tools.reached("opening")
            opened = await self._open()
        self.about = About(result, opened, self._habits(agent.name_of(result)))

    def _habits(self, info_name: str | None) -> Habits:
        """Its own words; what it calls itself says more than its command."""
        found = rows.find(self._settings.agent, self._settings.command, info_name)
        if found is None:
            return UNKNOWN
        if found.row.env and self._row is None and self._tools.is_followed:
            text = f'it was started as a stranger; to have its retries off write "agent": "{found.name}"'
            self._tools.log("agent_recognised", agent=found.name, why=text)
        self.leaves = found.row.leaves
        return rows.habits(found.row)

    async def _open(self) -> Raw:
        """The result of the session's opening: the runtime's own session again where it has one, else a new one."""
        params = self._session_params()
        known = self._tools.remembered()
        if known is not None and self._said.can_come_back:
            try:
                return await self._come_back(known, params)
            except BackendFailure as error:
                if self._is_ended.is_set():
                    raise
                self._tools.log("session_not_taken_up", why=error.failure.text)
        self._peer.listener, self._peer.session = self._tools.between, None
        opened = await self._asked("session/new", params)
        try:
            session = msgspec.json.decode(opened, type=_Named).session
        except msgspec.DecodeError as error:
            raise BackendFailure(self._garbled(f"answered session/new without a session id: {error}")) from error
        self._tools.remember(session)
        self._peer.named(jsonrpc.encode(session))
        return opened

    async def _come_back(self, session: str, params: dict[str, object]) -> Raw:
        method = "session/resume" if self._said.can.session.resume is not None else "session/load"
        # What is replayed was shown before: it is swallowed.
        self._peer.listener, self._peer.session = None, jsonrpc.encode(session)
        result = await self._asked(method, {**params, "sessionId": session})
        if method == "session/load" and not self._peer.swallowed:
            # Some answer so to an id that they do not know. What a load does not replay, the agent does not remember.
            self._tools.remember(session)
        self._peer.listener = self._tools.between
        return result if result != jsonrpc.NULL else Raw(b"{}")

    def _session_params(self) -> dict[str, object]:
        setup = self._tools.setup
        assert setup is not None
        servers, left_out = fitting.servers(setup.mcp_servers, self._said.can.mcp)
        self._adapted = tuple(f"MCP server {name} was left out: this agent cannot reach it" for name in left_out)
        params: dict[str, object] = {**setup.rest, "cwd": setup.cwd, "mcpServers": servers}
        if setup.additional_directories:
            if self._said.can.session.additional_directories is None:
                text = "cannot work in additional directories"
                raise BackendFailure(Failure(FailureKind.UNSUPPORTED, text, seen_at="opening"))
            params["additionalDirectories"] = setup.additional_directories
        return params

    async def _asked(self, method: str, params: object) -> Raw:
        try:
            return await self._peer.ask(method, params)
        except RpcError as error:
            raise BackendFailure(_classified(error, self._phase)) from error

    def _garbled(self, text: str) -> Failure:
        # msgspec quotes what it did not expect, which may be anything.
        return Failure(FailureKind.GARBLED, redact.plain(text), seen_at=self._phase)

    # --- contract.Backend

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        prompt, flattened = fitting.prompt(turn.prompt, self._said.can.prompt)
        if self._has_left or self._process.returncode is not None:
            # Nobody reads any more: the prompt is not submitted, whoever comes next may have it.
            await self._is_ended.wait()
            raise BackendFailure(replace(self._end, seen_at="opening"))
        self._phase = "submitted"
        assert not self._is_prompted, "a prompt still runs in it: every agent does something else with a second one"
        self._is_prompted = True
        self._peer.listener = client
        client.reached("submitted")
        params = {**turn.rest, "sessionId": self._peer.session, "prompt": prompt}
        # The words behind the answer are not the attempt's: they go elsewhere from that very line on.
        answer = self._peer.ask("session/prompt", params, self._hush)
        turn.cancel_asked.then(self._cancel)
        try:
            result = await answer
        except asyncio.CancelledError:
            self._process.kill()
            with CancelScope(shield=True):
                await self._is_ended.wait()
            raise
        except RpcError as error:
            if turn.cancel_asked.is_set():
                return Finished("cancelled")
            raise BackendFailure(_classified(error, "submitted")) from error
        try:
            reason = msgspec.json.decode(result, type=_Stopped).reason
        except msgspec.DecodeError as error:
            raise BackendFailure(self._garbled(f"answered the prompt without a stop reason: {error}")) from error
        return Finished(reason, result, (*self._adapted, *flattened))

    def _hush(self) -> None:
        self._peer.listener = self._tools.between
        self._is_prompted = False
        if self._forget_cancel is not None:  # said again now, it would end the next turn
            self._forget_cancel()
            self._forget_cancel = None

    def _cancel(self) -> None:
        """ACP v1, prompt-turn, "Cancellation"."""
        if not self._is_prompted:  # the broker stops an attempt that has failed: said now, it would end the next turn
            return
        params = {"sessionId": self._peer.session}
        self._peer.tell("session/cancel", params)
        clock = self._tools.clock
        again = clock.now() + CANCEL_AGAIN_S
        self._forget_cancel = clock.call_at(again, lambda: self._peer.tell("session/cancel", params)).cancel

    async def call(self, method: str, params: dict[str, Raw]) -> Raw:
        if "sessionId" in params and self._peer.session is not None:
            params = {**params, "sessionId": self._peer.session}
        return await self._peer.ask(method, params)

    def tell(self, method: str, params: dict[str, Raw]) -> None:
        if "sessionId" in params and self._peer.session is not None:
            params["sessionId"] = self._peer.session
        self._peer.tell(method, params)


def _classified(error: RpcError, phase: Phase) -> Failure:
    data = bytes(error.data) if error.data is not None else None
    failure = classify.from_rpc_error(error.code, error.message, data, seen_at=phase)
    if failure.kind is FailureKind.BAD_REQUEST:
        # A provider's 400 is about the request that this agent wrote; another agent writes one of its own.
        return replace(failure, kind=FailureKind.UNSUPPORTED)
    return failure
