"""One agent and the session in it: a process of ours, or one elsewhere."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from typing import Literal, Protocol

import msgspec
from anyio import CancelScope, Event, create_task_group, move_on_after
from msgspec import Raw, Struct
from msgspec.structs import replace

from acp_broker.contract import About, CancelAsked, Client, Finished, Tools, TurnRequest
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure, RpcError
from acp_broker.wire import agent, jsonrpc
from backends.acp import AcpConfig, fitting, numbering
from backends.acp.opening import Opening
from backends.acp.peer import Peer
from backends.acp.row import Row
from backends.acp.transport import Transport

# Some agents run messages as tasks and overlook a cancel that comes right behind the prompt.
CANCEL_AGAIN_S = 0.05
# For an agent elsewhere to close its session.
CLOSING_S = 0.5


class _Stopped(Struct):
    reason: Literal["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"] = msgspec.field(
        name="stopReason"
    )
    meta: Raw = msgspec.field(name="_meta", default=jsonrpc.NULL)


class Again(Protocol):
    async def follow(self, life: "Life", end: Failure) -> Failure:
        """A connection has ended so: go on over others while that is worth it; how the last one ended."""

    def hurry(self) -> None:
        """Its turn was cancelled: while there is no connection, look for one no longer than it takes to say so."""


class Resumed(Struct, frozen=True):
    """How a connection ended that was to take up a turn; `is_refused`: by an answer that stays the same."""

    end: Failure
    is_taken_up: bool = False
    is_refused: bool = False


class Life:
    """contract.Backend for one agent."""

    def __init__(
        self,
        transport: Transport,
        tools: Tools,
        settings: AcpConfig,
        row: Row | None,
        capabilities: Raw,
        again: Again | None,
    ) -> None:
        self.about = About()
        self.transport = transport
        self._tools = tools
        self._again = again
        self._peer = Peer(transport, tools.between, tools.log)
        self.opening = Opening(self._peer, tools, settings, row, capabilities)
        # The agent owes the answer to a prompt: only then is there something to cancel.
        self._is_prompted = False
        self._cancel_asked = CancelAsked()
        self._forget_cancel: Callable[[], None] | None = None
        # The number of the last update before that prompt.
        self._before_prompt = 0
        # Its output has ended; `_is_ended` follows once all of it is gone.
        self._has_left = False
        self._following = CancelScope()
        self._is_ended = Event()
        self._end = Failure(FailureKind.CRASHED, "the agent ended")

    # --- its life

    async def read(self) -> None:
        """Read the agent to its end, end what is left of it, then fail whoever waits for it."""
        try:
            self._end = await self._heard()
            if self._again is not None:
                with self._following:
                    self._end = await self._again.follow(self, self._end)
        finally:
            self._peer.fail(self._end)
            self._is_ended.set()

    async def _heard(self) -> Failure:
        """Read one connection to its end; why it ended."""
        garbled: Failure | None = None

        def on_lines(lines: list[bytes]) -> None:
            nonlocal garbled
            if garbled is not None:  # what its pipe still holds: without the part that was lost it means nothing
                return
            try:
                self._peer.on_lines(lines)
            except BackendFailure as error:
                garbled = error.failure
                self.transport.kill()

        await self.transport.run(on_lines)
        self._has_left = True
        ended = await self.transport.ended(self.opening.phase)
        return garbled or ended

    async def gone(self) -> str:
        await self._is_ended.wait()
        return self._end.text

    async def begin(self) -> None:
        """Introduce ourselves, then open the session. Raises BackendFailure."""
        opening, opened = self.opening, Raw(b"{}")
        result = await opening.introduced()
        if self._tools.setup is not None:
            opening.phase = "opening"
            self._tools.reached("opening")
            opened = await opening.open()
        self.about = About(result, opened, opening.habits(agent.name_of(result)))

    # --- a broker elsewhere that was lost in the middle of a turn

    @property
    def may_go_on(self) -> bool:
        """Whether a turn waits whose broker can take it up again: it numbers what it says, and knows prompts by key."""
        return self._is_prompted and self._peer.numbers is not None

    @property
    def is_cancelled(self) -> bool:
        return self._cancel_asked.is_set()

    @property
    def last_heard(self) -> int:
        return self._peer.numbers.last if self._peer.numbers is not None else 0

    @property
    def has_spoken(self) -> bool:
        """Whether anything of the running turn was heard."""
        return self.last_heard > self._before_prompt

    def lose(self, end: Failure) -> None:
        self._peer.lost(end)

    async def resume(self, transport: Transport, taken_up: Callable[[], None]) -> Resumed:
        """Take up the running turn over another connection, and read that to its end; `taken_up` is called between."""
        self.transport, self._has_left = transport, False
        self._peer.found(transport)
        is_taken_up, refusal = False, None

        async def take_up() -> None:
            nonlocal is_taken_up, refusal
            try:
                await self.opening.introduced()
                params = {**self.opening.params(), "sessionId": self._peer.session}
                marked = numbering.marked({}, after=self.last_heard)
                # What was missed comes before the answer, and is the turn's.
                await self.opening.asked("session/load", {**params, **marked})
            except BackendFailure as error:
                refusal = error.failure
                transport.kill()
                return
            is_taken_up = True
            taken_up()
            self._peer.repeat()
            if self.is_cancelled:
                self._peer.tell("session/cancel", {"sessionId": self._peer.session})

        async with create_task_group() as tasks:
            tasks.start_soon(take_up)
            end = await self._heard()
            # Its words have ended, and with them the answers that it might have waited for.
            tasks.cancel_scope.cancel()
        is_refused = refusal is not None and refusal.kind is not FailureKind.OVERLOADED
        return Resumed(refusal or end, is_taken_up, is_refused)

    async def take_leave(self) -> None:
        """One elsewhere keeps a session whose connection ends: it is told that nobody comes back to it soon."""
        can_close = self.opening.said.can.session.close is not None and self._peer.session is not None
        if self._again is None or self._has_left or not can_close:
            return
        with move_on_after(CLOSING_S), suppress(RpcError, BackendFailure):
            await self._peer.ask("session/close", {"sessionId": self._peer.session})

    # --- contract.Backend

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        prompt, flattened = fitting.prompt(turn.prompt, turn.kinds, self.opening.said.can.prompt)
        if self._has_left or self.transport.has_ended:
            # Nobody reads any more: the prompt is not submitted, whoever comes next may have it.
            await self._is_ended.wait()
            raise BackendFailure(replace(self._end, seen_at="opening"))
        self.opening.phase = "submitted"
        assert not self._is_prompted, "a prompt still runs in it: every agent does something else with a second one"
        self._is_prompted, self._cancel_asked = True, turn.cancel_asked
        self._peer.listener = client
        client.reached("submitted")
        numbers, session = self._peer.numbers, self._peer.session
        rest = dict(turn.rest)
        if numbers is not None:
            self._before_prompt = numbers.last
            key = f"{turn.turn}-{token_hex(4)}"
            rest = numbering.marked(rest, idempotencyKey=key)
            # What it says before it begins with this prompt is of another turn: one that was given up, or somebody's.
            self._peer.listener, self._peer.awaited = self._tools.between, (key, client)
        params = {**rest, "sessionId": session, "prompt": prompt}
        # The words behind the answer are not the attempt's: they go elsewhere from that very line on.
        answer = self._peer.ask("session/prompt", params, self._hush, is_lasting=numbers is not None)
        turn.cancel_asked.then(self._cancel)
        try:
            result = await answer
        except asyncio.CancelledError:
            await self._break_off()
            raise
        except RpcError as error:
            if turn.cancel_asked.is_set():
                return Finished("cancelled")
            raise BackendFailure(self.opening.classified(error)) from error
        try:
            stopped = msgspec.json.decode(result, type=_Stopped)
        except msgspec.DecodeError as error:
            raise BackendFailure(self.opening.garbled(f"answered the prompt without a stop reason: {error}")) from error
        if stopped.meta != jsonrpc.NULL and not numbering.is_broker(self.about.initialized):
            result = numbering.unsigned(result)
        return Finished(stopped.reason, result, (*self.opening.adapted, *flattened))

    async def _break_off(self) -> None:
        """End it, now. One elsewhere outlives its connection: it must hear that nobody waits for the turn."""
        if self._is_prompted and self._again is not None:
            self._peer.tell("session/cancel", {"sessionId": self._peer.session})
        self._is_prompted = False
        self._following.cancel()
        self.transport.kill()
        with CancelScope(shield=True):
            await self._is_ended.wait()

    def _hush(self) -> None:
        self._peer.listener, self._peer.awaited = self._tools.between, None
        self._is_prompted = False
        if self._forget_cancel is not None:  # said again now, it would end the next turn
            self._forget_cancel()
            self._forget_cancel = None

    def _cancel(self) -> None:
        """ACP v1, prompt-turn, "Cancellation"."""
        if not self._is_prompted:  # the broker stops an attempt that has failed: said now, it would end the next turn
            return
        if self._again is not None:
            self._again.hurry()
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
