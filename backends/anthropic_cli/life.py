"""One Claude Code process and the session in it, from its start to its very end.

The process is kept between turns: it starts in a third of a second, and a turn in one that runs costs nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import msgspec
from anyio import CancelScope, create_task_group
from anyio.abc import TaskGroup
from msgspec import Raw
from msgspec.structs import replace

from acp_broker.contract import About, Backend, Client, Finished, SessionSetup, Tools, TurnRequest
from acp_broker.core import redact
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import INVALID_PARAMS, METHOD_NOT_FOUND, BackendFailure, RpcError
from acp_broker.wire import jsonrpc
from backends.anthropic.messages import messages
from backends.anthropic_cli import CliConfig, introducing, starting, wire
from backends.anthropic_cli.hearing import Hearing, Turn
from backends.anthropic_cli.link import Link

_NO_LOGIN = "Claude Code is not logged in: run `claude` and type /login, or set ANTHROPIC_API_KEY"
_NO_SESSION = "No conversation found"
# After stdin closed, and after SIGTERM: nobody waits for the words of an agent that leaves.
_EOF_GRACE_S = _TERM_GRACE_S = 0.5
_DONE = Raw(b"{}")


@asynccontextmanager
async def living(settings: CliConfig, setup: SessionSetup, tools: Tools) -> AsyncIterator[Backend]:
    """The process, with its session open; ended, with all that belongs to it, on the way out. Raises BackendFailure."""
    life = Life(settings, setup, tools)
    failure: BackendFailure | None = None
    was_open = False
    try:
        async with create_task_group() as tasks:
            try:
                await life.begin(tasks)
            except BackendFailure as error:
                failure = error
            else:
                yield life
                was_open = True
            tasks.cancel_scope.cancel()
    finally:
        with CancelScope(shield=True):
            await life.stop(is_polite=was_open)
    if failure is not None:
        raise failure


class Life:
    """contract.Backend for one session in one process."""

    def __init__(self, settings: CliConfig, setup: SessionSetup, tools: Tools) -> None:
        self.about = About()
        self._settings = settings
        self._setup = setup
        self._tools = tools
        self._links: list[Link] = []
        self._servers, left_out = introducing.servers(setup.mcp_servers)
        self._adapted = [f"MCP server {name} was left out: Claude Code cannot reach it" for name in left_out]

    # --- its life

    async def begin(self, tasks: TaskGroup) -> None:
        """Its own session again where it has one, else a new one. Raises BackendFailure."""
        self._tools.reached("starting")
        known = self._tools.remembered()
        session = known or str(uuid4())
        await self._start(tasks, session, is_new=known is None)
        self._tools.reached("opening")
        try:
            hello = await self._hello()
        except BackendFailure as error:
            if known is None or _NO_SESSION not in error.failure.text:
                raise
            self._tools.log("session_not_taken_up", why=error.failure.text)
            session = str(uuid4())
            await self._start(tasks, session, is_new=True)
            hello = await self._hello()
        if session != known:
            self._tools.remember(session)
        self._link.phase = "submitted"
        self.about = introducing.about(hello, session, self._settings.permission_mode)
        self._tools.between.show([introducing.commands(hello)])

    async def stop(self, *, is_polite: bool) -> None:
        """End what was started. One that served may leave politely; one that failed to open is killed at once."""
        graces = (_EOF_GRACE_S, _TERM_GRACE_S) if is_polite else (0.0, 0.0)
        for link in self._links:
            await link.process.stop(eof_grace_s=graces[0], term_grace_s=graces[1])

    async def gone(self) -> str:
        return (await self._link.ended()).text

    async def _start(self, tasks: TaskGroup, session: str, *, is_new: bool) -> None:
        tools, setup = self._tools, self._setup
        command = starting.command(self._settings, setup, session, is_new=is_new)
        process = await tools.spawn(command, env=starting.environment(self._settings, tools), cwd=setup.cwd)
        self._hearing = Hearing(session, setup.cwd, tools, process.write)
        self._link = Link(process, self._hearing, tools.log)
        self._links.append(self._link)
        tasks.start_soon(self._link.read)

    async def _hello(self) -> wire.Hello:
        """What it says of itself. MCP servers are told here: in an argument everybody could read their keys."""
        self._link.phase = "opening"
        system = self._settings.system
        try:
            hello = wire.hello(
                await self._link.answer("initialize", **({} if system is None else {"appendSystemPrompt": system}))
            )
        except RpcError as error:
            raise BackendFailure(Failure(FailureKind.GARBLED, error.message, seen_at="opening")) from error
        except msgspec.DecodeError as error:
            text = redact.plain(f"answered initialize with something else: {error}")
            raise BackendFailure(Failure(FailureKind.GARBLED, text, seen_at="opening")) from error
        if hello.account.is_missing:
            raise BackendFailure(Failure(FailureKind.AUTH_MISSING, _NO_LOGIN, seen_at="opening"))
        if self._servers:
            self._link.ask("mcp_set_servers", self._servers_set, servers=self._servers)
        return hello

    def _servers_set(self, answer: "asyncio.Future[Raw]") -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        try:
            errors = wire.servers_set(answer.result()).errors
        except msgspec.DecodeError:
            return
        for name, why in errors.items():
            self._adapted.append(redact.plain(f"MCP server {name} was left out: {why}"))

    # --- contract.Backend

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        message = jsonrpc.encode(messages((), turn.prompt)[0])
        if self._link.has_left:
            # Nobody reads any more: the prompt is not submitted, whoever comes next may have it.
            raise BackendFailure(replace(await self._link.ended(), seen_at="opening"))
        if turn.cancel_asked.is_set():
            return Finished("cancelled")
        client.reached("submitted")
        prompt = Turn(str(uuid4()), client, turn.cancel_asked)
        end = self._hearing.begin(prompt)
        self._link.write(wire.prompts(prompt.uuid, message))
        turn.cancel_asked.then(lambda: self._interrupt(prompt))
        try:
            finished = await end
        except asyncio.CancelledError:
            self._link.process.kill()
            with CancelScope(shield=True):
                await self._link.ended()
            raise
        return replace(finished, adapted=tuple(self._adapted))

    def _interrupt(self, prompt: Turn) -> None:
        # Said once its turn is over, it would end the next.
        if self._hearing.turn is prompt and not self._link.has_left:
            self._link.ask("interrupt", _forget, cancel_queued=True)

    async def call(self, method: str, params: dict[str, Raw]) -> Raw:
        if method != "session/set_mode":
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")
        try:
            mode = msgspec.json.decode(params.get("modeId", b""), type=str)
        except msgspec.DecodeError as error:
            raise RpcError(INVALID_PARAMS, f"session/set_mode: {error}") from error
        if mode == "bypassPermissions" and self._settings.permission_mode != mode:
            raise RpcError(INVALID_PARAMS, "session/set_mode: bypassPermissions is for those who configure it")
        await self._link.answer("set_permission_mode", mode=mode)
        return _DONE

    def tell(self, method: str, params: dict[str, Raw]) -> None:
        """It hears nothing but prompts."""


def _forget(answer: "asyncio.Future[Raw]") -> None:
    if not answer.cancelled():
        answer.exception()
