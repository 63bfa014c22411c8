"""One session: its log, its opened backends, its settings and its queue of prompts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anyio import Event
from msgspec import Raw
from msgspec.structs import replace

from acp_broker.broker import settings as setting
from acp_broker.broker.adopting import adopt
from acp_broker.broker.asks import send
from acp_broker.broker.attempt import Attempt
from acp_broker.broker.attempts import Attempts
from acp_broker.broker.desk import Desk
from acp_broker.broker.fitting import Fitting
from acp_broker.broker.ids import CHUNKS, Ids
from acp_broker.broker.keys import Keys
from acp_broker.broker.lease import Lease, interrupted
from acp_broker.broker.memory import Memory
from acp_broker.broker.replay import prompt_params
from acp_broker.broker.repose import Repose
from acp_broker.broker.runner import Order, Turn
from acp_broker.broker.selection import Selection
from acp_broker.broker.settings import Settings
from acp_broker.broker.standby import Standby
from acp_broker.broker.standbys import Standbys
from acp_broker.broker.weighing import load
from acp_broker.contract import SessionSetup
from acp_broker.core.names import BackendId, Candidate, SessionId, StopReason
from acp_broker.core.turnrules import Miss
from acp_broker.errors import BUSY, RpcError, StoreError
from acp_broker.store import records
from acp_broker.store.log import SessionLog
from acp_broker.store.past import Past
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Answer, Update, message

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.frontend import Frontend

# ACP v1, prompt-turn, "Cancellation": however a prompt is cancelled, and whether it waits or runs.
_CANCELLED = Raw(b'{"stopReason":"cancelled"}')
_SPENT = Raw(b"[]")
_TOOLS = frozenset({"tool_call", "tool_call_update"})


class Session:
    """Made by `Broker.new_session`. One prompt runs at a time; later ones wait in a bounded queue."""

    def __init__(self, broker: "Broker", setup: SessionSetup, log: SessionLog, frontend: "Frontend") -> None:
        self.broker = broker
        self.id: SessionId = setup.session
        self.setup = setup
        self.log = log
        self.clock = broker.clock
        self.trace = broker.log
        self.tasks = broker.tasks
        self.ids = Ids(self.id)
        self.desk = Desk(broker, self.id, self.ids, log)
        # What holds for the session: changes between two turns only (see `adopt`).
        self.policy = broker.policy
        self.selection = Selection(self, broker.selected, shows_booleans=frontend.can.boolean_options)
        self._kept = self.selection.choices()
        self.fitting = Fitting(self)
        self.memory = Memory(self)
        self.keys = Keys(self._answer_again)
        self.lease = Lease(self)
        # The frontend that the session works for: the one that opened it, then the one that prompted last.
        self.frontend = frontend.number
        self.whom = frontend.whom
        self.turn: Turn | None = None
        self.last: Turn | None = None
        # Whose words a frontend saw last: a notice is due when it changes.
        self.served_by: BackendId = broker.selected
        # What turns start, one after another.
        self.attempts = Attempts(self.tasks, self.trace)
        self._queue: list[Order] = []
        self._is_beginning = False
        self._standbys = Standbys(self)
        # Whether the frontend has its answer to `session/new`: what is learnt later is told by updates.
        self.is_announced = False
        self.repose = Repose(self)
        # Set when the running turn is over; there while somebody waits for that.
        self._over: Event | None = None

    # --- prompts

    def prompt(self, order: Order) -> None:
        """Accept a prompt, now or in its turn. Raises RpcError when the queue is full, StoreError when it cannot be
        kept."""
        key = order.key
        if key is not None and self.keys.asked_again(key, order.frontend, order.request_id):
            return
        self.repose.is_closed = False
        if self.turn is None and not self._is_held_up and not self._queue and self.lease.taken():
            self._begin(order)
            return
        limit = self.broker.policy.queued_prompts
        if len(self._queue) >= limit and (self._queue or not self.lease.is_awaited):
            raise RpcError(BUSY, f"{limit} prompts wait in this session already; wait for one, or cancel")
        self._queue.append(order)
        self.broker.busy[self.id] = self
        if key is not None:
            self.keys.accepted(key)

    def cancel(self) -> None:
        """ACP `session/cancel`: the running prompt and all that wait end `cancelled`."""
        waiting, self._queue = self._queue, []
        if self.turn is not None:
            self.turn.cancel()
        for order in waiting:
            self._cancelled(order)
        self._settle()

    def cancel_of(self, frontend: int, request: bytes | None = None) -> Turn | None:
        """Cancel what one frontend has asked: one prompt (ACP `$/cancel_request`), or all; the turn that is ending."""

        def is_meant(order: Order) -> bool:
            return order.frontend == frontend and request in (None, jsonrpc.same_id(order.request_id))

        turn = self.turn if self.turn is not None and is_meant(self.turn.order) else None
        if turn is not None:
            turn.cancel()
        for order in [order for order in self._queue if is_meant(order)]:
            self._queue.remove(order)
            self._cancelled(order)
        self._settle()
        return turn

    def refuse_waiting(self, why: RpcError) -> None:
        """Answer the prompts that wait with this error; the one that runs goes on."""
        waiting, self._queue = self._queue, []
        for order in waiting:
            self._refuse(order, why)

    def turn_over(self, turn: Turn, stop_reason: StopReason | None) -> None:
        """The turn has its reply; the next one begins."""
        self.turn, self.last = None, turn
        # The log has it, and it may be megabytes: the turn is kept for its agent's late words.
        turn.prompt, turn.order = _SPENT, replace(turn.order, prompt=_SPENT)
        attempt = turn.attempt
        if self._standbys.rest() and not self.broker.is_stopping:
            self.warm()
        if attempt is not None and stop_reason is not None:
            self.memory.served(attempt)
        if attempt is not None and stop_reason is not None and stop_reason != "cancelled":
            self.broker.served(attempt.candidate)
        self.broker.turn_over(turn, stop_reason)
        self.next()
        if self.turn is None:
            self.lease.let_go()
        self.repose.turn_over()
        if self._over is not None:
            self._over.set()
            self._over = None

    def next(self) -> None:
        """Begin the prompt that has waited longest, if nothing holds it up."""
        self.adopt()
        if self._is_beginning:  # by a turn that was over as soon as it began: the loop below goes on with the next
            return
        self._is_beginning = True
        try:
            while self._queue and self.turn is None and not self._is_held_up and self._has_lease():
                self._begin_or_refuse(self._queue.pop(0))
        finally:
            self._is_beginning = False
        self._settle()

    def _settle(self) -> None:
        """Be among the busy sessions no longer than there is something to cancel."""
        if self.turn is None and not self._queue:
            self.broker.busy.pop(self.id, None)

    def adopt(self) -> None:
        """Follow what the operator decided last, unless a turn runs or a setting is on its way: then after it."""
        if self.policy is not self.broker.policy and self.turn is None and not self.fitting.is_busy:
            adopt(self, self._standbys)

    @property
    def _is_held_up(self) -> bool:
        """Whether prompts wait: for a setting that is on its way to the backend, or for the end of a close."""
        return self.fitting.is_busy or self.repose.is_under_way or self.lease.is_awaited

    def _has_lease(self) -> bool:
        try:
            return self.lease.taken()
        except StoreError as error:
            self.refuse_waiting(self.broker.reply_to(error))
            return False

    def missed(self, turn: Turn, miss: Miss, then: Candidate | None) -> None:
        self.broker.missed(self, turn, miss, then)

    def _begin_or_refuse(self, order: Order) -> None:
        try:
            self._begin(order)
        except (RpcError, StoreError) as error:
            self._refuse(order, self.broker.reply_to(error))

    def _begin(self, order: Order) -> None:
        try:
            turn = self.turn = self._accepted(order)
            self.broker.busy[self.id] = self
        except (RpcError, StoreError):
            self.lease.let_go()
            raise
        turn.begin()

    def _accepted(self, order: Order) -> Turn:
        self.log.recover()
        rules, passed = self.broker.plan(self, order)
        self.log.append(
            records.line(
                "accepted",
                turn=order.turn,
                at=self.clock.wall(),
                prompt=order.prompt,
                rest=order.rest,
                **({} if order.key is None else {"key": order.key.name, "digest": order.key.digest}),
                rules=self.broker.chain.record(rules),
            )
        )
        self.log.commit()
        if self.log.fault is not None:
            raise StoreError(self.log.fault)
        self.frontend = order.frontend
        self.memory.turns.append(order.turn)
        if order.key is not None:
            self.keys.accepted(order.key)
        self._echo(order)
        return Turn(self, order, rules, passed)

    def absorb(self, past: Past) -> None:
        """Take up what another process has done in the session: its turns, its ids, the user's choices."""
        self.memory.turns = past.turns
        self.ids.taken(past.ids)
        self.keys.restore(past.keyed)
        if past.chosen is not None and past.chosen != self._kept:
            self._kept = past.chosen
            self.selection.restore(past.chosen, self.policy.runtimes[self.settings.backend].modes)
            self.fitting.forget()
        interrupted(self, past.unanswered)

    def _echo(self, order: Order) -> None:
        """Show the prompt to the other frontends that attend (protocol.md, "Turns")."""
        attendants = self.log.readers
        if attendants > 1 or (attendants and self.broker.present(order.frontend) is None):
            shown = prompt_params(self.id, order.turn, order.prompt)
            line = records.line("echo", but=order.frontend, updates=[Raw(params) for params in shown])
            self.log.append(line, records.update_frames(shown), -order.frontend)

    def answer(self, order: Order, outcome: Answer) -> None:
        """The one answer to a prompt, in the log; and to whoever has sent it again."""
        frame = jsonrpc.answer(order.request_id, outcome)
        line = records.line("answer", to=order.frontend, turn=order.turn, at=self.clock.wall(), frame=Raw(frame[:-1]))
        self.log.append(line, frame, order.frontend)
        if order.key is not None:
            self.keys.answered(order.key, outcome)

    def _refuse(self, order: Order, why: RpcError) -> None:
        """The answer to a prompt that was never begun, and may be sent again."""
        self._say(order, why)
        if order.key is not None:
            self.keys.refused(order.key, why)

    def _cancelled(self, order: Order) -> None:
        """The answer to a prompt that was cancelled before it had begun."""
        self._say(order, _CANCELLED)
        if order.key is not None:
            self.keys.answered(order.key, _CANCELLED)

    def _say(self, order: Order, outcome: Answer) -> None:
        """Of a prompt that was never begun nothing is in the log, which another process may be writing just now."""
        self.trace("prompt_not_begun", session=self.id, turn=order.turn, why=_why(outcome))
        frontend = self.broker.frontends.get(order.frontend)
        if frontend is not None:
            frontend.reply(order.request_id, outcome)

    def _answer_again(self, frontend: int, request_id: Raw, outcome: Answer) -> None:
        send(self.log, frontend, jsonrpc.answer(request_id, outcome))
        self.log.commit()
        if self.log.is_pending and self.turn is None:
            self.lease.taken()

    # --- backends

    @property
    def settings(self) -> Settings:
        """Those of the selected backend."""
        return self.selection.settings

    def standby(self, backend: BackendId) -> Standby:
        """This session's opening of a backend; made when first asked for."""
        return self._standbys.of(backend)

    def warm(self) -> Standby:
        """Begin to open the selected backend."""
        standby = self.standby(self.settings.backend)
        standby.warm()
        self.tasks.start_soon(load)
        return standby

    async def end(self) -> None:
        """Rest for good; the log stays."""
        self.repose.end()
        self.cancel()
        await self._standbys.end()
        self.attempts.stop()
        self.log.close()

    def reopen(self, frontend: "Frontend", setup: SessionSetup) -> None:
        """ACP `session/load` and `resume`: the request's lists are the whole lists, for what opens from now on.

        What is open without them is closed; during a turn, when it is over.
        """
        self.repose.is_closed = False
        self.frontend, self.whom, self.setup = frontend.number, frontend.whom, setup
        self._standbys.set_up()
        if self.turn is None:
            self._standbys.renew()
        if not self.broker.is_stopping:
            self.warm()

    def tell_backend(self, method: str, params: dict[str, Raw]) -> None:
        """A frontend's extension notification: to the serving backend, else to the selected one."""
        backend = self.serving().backend
        if backend is not None:
            backend.tell(method, params)

    @property
    def queued(self) -> int:
        """How many prompts wait behind the running one."""
        return len(self._queue)

    @property
    def standbys(self) -> tuple[Standby, ...]:
        """What this session has of every backend that it ever asked for."""
        return self._standbys.all

    def open_standby(self, backend: BackendId) -> Standby | None:
        """What this session has of a backend, if it ever asked for it."""
        return self._standbys.get(backend)

    async def standbys_closed(self) -> None:
        """Close every backend, and wait until nothing of them is left."""
        await self._standbys.abandon()

    async def over(self, turn: Turn) -> None:
        """Wait until this turn has its reply."""
        while self.turn is turn:
            await self._turn_over()

    async def idle(self) -> None:
        """Wait until no turn runs."""
        while self.turn is not None:
            await self._turn_over()

    async def _turn_over(self) -> None:
        if self._over is None:
            self._over = Event()
        await self._over.wait()

    def serving(self) -> Standby:
        """The standby of the running turn's attempt, else of the selected backend."""
        attempt = self.turn.attempt if self.turn is not None else None
        if attempt is not None:
            return attempt.standby
        return self.standby(self.settings.backend)

    # --- words

    def voiced(self, attempt: Attempt, updates: Sequence[Update]) -> list[bytes]:
        """Updates as params that frontends may see, in order; what they must not see is left out."""
        life, voiced = attempt.standby.life, self.ids.voiced
        shown: list[bytes] = []
        for update in updates:
            kind = update.kind
            if kind in CHUNKS:
                shown.append(voiced(update, life))
                continue
            if kind in setting.KINDS:
                taken = self.selection.taken(attempt.candidate.backend, update)
                if kind in setting.MODAL:
                    self.keep_choices()
                shown += [voiced(one, life) for one in taken]
                continue
            shown.append(voiced(update, life))
            if kind in _TOOLS and update.tool_call_id is not None:
                attempt.note_tools(update, self.ids.unique(life, update.tool_call_id))
        return shown

    def keep_choices(self) -> None:
        """Have the log say what the user has set, should that be news."""
        chosen = self.selection.choices()
        if chosen != self._kept:
            self._kept = chosen
            self.log.append(records.line("chosen", chosen=chosen))

    def keep_memory(self, standby: Standby) -> None:
        """Have the log say under which id a runtime keeps this session: a later process may go on with it."""
        runtime = standby.runtime
        kept = {"backend": runtime.candidate.backend, "fingerprint": runtime.fingerprint}
        self.log.append(records.line("remembered", **kept, runtime_session=standby.runtime_session))
        self.log.commit()

    def show(self, updates: Sequence[Update], life: int) -> None:
        """Show something outside of any turn's step."""
        shown = [self.ids.voiced(update, life) for update in updates]
        if shown:
            params = [Raw(one) for one in shown]
            self.log.append(records.line("shown", updates=params), records.update_frames(shown))
            self.log.commit()

    def notice(self, candidate: Candidate, misses: Sequence[Miss]) -> list[bytes]:
        """One message per transition, where the config asks for it: who answers now, and why."""
        before, self.served_by = self.served_by, candidate.backend
        if before == candidate.backend or self.policy.notice != "message":
            return []
        why = " | ".join(f"{miss.candidate.backend}: {miss.failure.text}" for miss in misses)
        text = f"[acp-broker] {candidate.backend} answers" + (f" ({why})" if why else f" again, after {before}")
        update = message(text + "\n\n", messageId=self.ids.fresh())
        return [self.ids.voiced(update, 0)]


def _why(outcome: Answer) -> str:
    return outcome.message if isinstance(outcome, RpcError) else "cancelled"
