"""One candidate asked to run one turn: the backend's voice in this turn, and its end.

An attempt decides nothing. It hands what its backend says to the turn, which asks the machine.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from anyio import CancelScope
from anyio.lowlevel import checkpoint
from msgspec import Raw, Struct

from acp_broker.broker.asks import ELICITATION, Ask, nobodys_answer
from acp_broker.broker.latest import Latest
from acp_broker.broker.standby import Standby
from acp_broker.broker.weighing import Weighing
from acp_broker.contract import CancelAsked, Finished, TurnRequest
from acp_broker.core import visible
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.handoff import Handoff
from acp_broker.core.names import Candidate, Phase
from acp_broker.core.turnwords import Cancelling, Ended, Stopping
from acp_broker.errors import BackendFailure
from acp_broker.wire.acp import Answer, Update

if TYPE_CHECKING:
    from acp_broker.broker.runner import Turn


class _ToolCall(Struct):
    status: str | None = None


_tool_call = msgspec.json.Decoder(_ToolCall).decode
# ACP v1 schema, ToolCallStatus: what is not one of these is unfinished.
_FINISHED = frozenset({"completed", "failed"})
# How a runtime ends that nobody closed.
_DIED = (FailureKind.CRASHED, FailureKind.GARBLED)


class Attempt:
    """The `contract.Client` of one `Backend.run`."""

    def __init__(self, turn: "Turn", number: int, candidate: Candidate, standby: Standby) -> None:
        self.number = number
        self.candidate = candidate
        self.standby = standby
        standby.has_lost = False
        self.began_at: float = turn.watch.now()
        # The life of the runtime that has the prompt; 0 while none has it.
        self.life = 0
        self.weighing = Weighing()
        self.latest = Latest()
        # Set once the attempt's task has ended: nothing of it can act any more.
        self.is_over = False
        self.is_stopping = False
        self.finished: Finished | None = None
        # What its runtime was told of turns that it had missed.
        self.handoff: Handoff | None = None
        self.asks: list[Ask] = []
        # What to hand over once the turn has its reply.
        self.late: list[Callable[[], None]] = []
        self.open_tools: dict[str, None] = {}
        self._turn = turn
        self._cancel = CancelAsked()
        self._scope: CancelScope | None = None
        self._is_heard = True
        self._is_running = False
        self._is_broken_off = False
        self._is_killed = False
        # The runtime may have read the prompt: from here on it is never given to another life of it.
        self.is_submitted = False

    @property
    def backend(self) -> str:
        return self.candidate.backend

    async def run(self, scope: CancelScope) -> Finished:
        """From `Start` to its end; then comes `over`, or, where it has cancelled `scope`, `broken_off`.

        Raises BackendFailure.
        """
        self._scope = scope
        if self._is_broken_off:  # before it began
            scope.cancel()
            await checkpoint()
        was_open = self.standby.backend is not None
        if not was_open:
            self._look()
        try:
            return await self._join_and_run()
        except BackendFailure as error:
            if not was_open or self.is_submitted or self._cancel.is_set() or error.failure.kind not in _DIED:
                raise
        # It died between turns, so lately that nobody had noticed: the prompt never reached it, a new life may have it.
        self._is_running = False
        await self.standby.abandon()
        return await self._join_and_run()

    def over(self, outcome: Finished | Failure | None) -> None:
        """Nothing of it can act any more."""
        self.is_over = True
        self._turn.attempt_over(self, outcome)
        # The session keeps its last attempt, for what comes late; not its words.
        self.latest.forget()

    async def broken_off(self, outcome: Finished | Failure | None) -> None:
        """As `over`; killed while its runtime was being opened, it takes the opening with it."""
        if outcome is None and self._is_killed and not self._is_running:
            with CancelScope(shield=True):
                await self.standby.abandon()
        self.over(outcome)

    async def _join_and_run(self) -> Finished:
        turn = self._turn
        backend = self.standby.take() or await self.standby.join(self)
        await turn.session.fitting.fit(self.standby, backend)
        memory = turn.session.memory
        prompt = await memory.prompt(turn, self) if memory.is_behind(self.standby) else turn.prompt
        if self._cancel.is_set():
            return Finished("cancelled")
        self._is_running = True
        self.life = self.standby.life
        self.weighing.habits = backend.about.habits
        kinds = turn.order.kinds if prompt is turn.prompt else None
        request = TurnRequest(turn.id, self.number, prompt, self._cancel, turn.rest, memory.past, kinds)
        return await backend.run(request, self)

    def _look(self) -> None:
        """Before a backup is started: is it there at all? Nothing is started to find out."""
        missing = self.standby.runtime.check(self.standby.environment) if self.number > 1 else None
        if missing is not None:
            raise BackendFailure(Failure(FailureKind.UNREACHABLE, missing, seen_at="starting"))

    def ask_cancel(self) -> None:
        """Ask the backend to end the turn; one that is still being opened is left to open."""
        self._cancel.set()
        if not self._is_running:
            self._break_off()

    def stop(self, *, politely: bool) -> None:
        """Close its voice and end it; `Turn.attempt_over` follows."""
        self._is_heard = False
        self.is_stopping = True
        if self._is_running and politely:
            self._cancel.set()
        else:
            self.kill()

    def kill(self) -> None:
        self._is_heard = False
        self._is_killed = True
        self._break_off()

    def _break_off(self) -> None:
        self._is_broken_off = True
        if self._scope is not None and not self.is_over:
            self._scope.cancel()

    def note_tools(self, update: Update, call: str) -> None:
        """Keep count of the tool calls that are unfinished, by the id that frontends know."""
        try:
            status = _tool_call(update.params["update"]).status
        except msgspec.DecodeError:
            return
        if status in _FINISHED:
            self.open_tools.pop(call, None)
        elif status is not None or update.kind == "tool_call":
            self.open_tools[call] = None

    # contract.Client

    def reached(self, phase: Phase) -> None:
        if phase == "submitted":
            self.is_submitted = True
            self.standby.knows.prompts.add(self._turn.id)
        if self._is_heard:
            self._turn.reached(self, phase)

    def show(self, updates: Sequence[Update]) -> None:
        self.is_submitted = True
        if self._is_heard:
            self._turn.heard(self, updates)

    def show_late(self, updates: Sequence[Update]) -> None:
        """What its runtime sends behind the answer; kept until the turn has its reply."""
        self._later(lambda: self._turn.heard_late(self, updates))

    def tell_late(self, method: str, params: dict[str, Raw] | None) -> None:
        """As `show_late`, for an extension notification."""
        self._later(lambda: self._turn.told(self, method, params))

    def _later(self, hand_over: Callable[[], None]) -> None:
        if not self._is_heard:
            return
        if self.is_over:
            hand_over()
        else:
            self.late.append(hand_over)

    def ask(self, method: str, params: dict[str, Raw], answered: Callable[[Answer], None]) -> "Asked":
        turn, desk = self._turn, self._turn.session.desk
        own: Answer | None = nobodys_answer(method)
        if self._is_heard and not isinstance(turn.state, Cancelling | Stopping | Ended):
            own = desk.refusal(turn.order.frontend, method, params)
        if own is not None:
            answered(own)
            return Asked(turn, None)
        ask = self._put(method, params, answered)
        turn.session.log.commit()
        return Asked(turn, ask)

    def _put(self, method: str, params: dict[str, Raw], answered: Callable[[Answer], None]) -> Ask:
        """Put a request to the frontend: output, if it acts; the turn's clocks stand still until it is answered."""
        turn = self._turn
        if visible.commits(method):
            turn.acted(self)
        turn.watch.owe()

        def settled(outcome: Answer) -> None:
            turn.watch.settle()
            self.asks.remove(ask)
            answered(outcome)

        if method == ELICITATION and "requestId" in params:  # it belongs to the prompt: the frontend has its own id
            params["requestId"] = turn.order.request_id
        ask = turn.session.desk.ask(turn.order.frontend, self.standby.life, method, params, settled)
        self.asks.append(ask)
        return ask

    def tell(self, method: str, params: dict[str, Raw] | None) -> None:
        if self._is_heard:
            self._turn.told(self, method, params)


class Asked:
    """contract.Asked: lets the agent take its question back."""

    def __init__(self, turn: "Turn", ask: Ask | None) -> None:
        self._turn = turn
        self._ask = ask

    def withdraw(self) -> None:
        if self._ask is not None:
            self._turn.session.desk.withdraw(self._ask)
            self._turn.session.log.commit()
