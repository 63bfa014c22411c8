"""One session: its log, its opened backends, its settings and its queue of prompts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anyio import Event
from msgspec import Raw
from msgspec.structs import replace

from acp_broker.broker import settings as setting
from acp_broker.broker.adopting import adopt
from acp_broker.broker.alarm import Alarm
from acp_broker.broker.attempt import Attempt
from acp_broker.broker.attempts import Attempts
from acp_broker.broker.desk import Desk
from acp_broker.broker.fitting import Fitting
from acp_broker.broker.ids import CHUNKS, Ids
from acp_broker.broker.lease import interrupted
from acp_broker.broker.memory import Memory
from acp_broker.broker.prompts import Prompts
from acp_broker.broker.repose import Repose
from acp_broker.broker.runner import Turn
from acp_broker.broker.selection import Selection
from acp_broker.broker.settings import Settings
from acp_broker.broker.standby import Standby
from acp_broker.broker.standbys import Standbys
from acp_broker.broker.weighing import load
from acp_broker.contract import SessionSetup
from acp_broker.core.names import BackendId, Candidate, SessionId, StopReason
from acp_broker.core.turnrules import Miss
from acp_broker.store import records
from acp_broker.store.log import SessionLog
from acp_broker.store.past import Past
from acp_broker.wire.acp import Update, message

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.frontend import Frontend

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
        # The frontend that the session works for: the one that opened it, then the one that prompted last.
        self.frontend = frontend.number
        self.whom = frontend.whom
        # Rings for the running turn.
        self.alarm = Alarm(self.clock)
        self.turn: Turn | None = None
        self.last: Turn | None = None
        # Whose words a frontend saw last: a notice is due when it changes.
        self.served_by: BackendId = broker.selected
        # What turns start, one after another.
        self.attempts = Attempts(self.tasks, self.trace)
        self._standbys = Standbys(self)
        # Whether the frontend has its answer to `session/new`: what is learnt later is told by updates.
        self.is_announced = False
        self.repose = Repose(self)
        self.prompts = Prompts(self)
        # Set when the running turn is over; there while somebody waits for that.
        self._over: Event | None = None

    # --- turns

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
            self.broker.chain.served(attempt.candidate)
        self.broker.turn_over(turn, stop_reason)
        self.prompts.next(is_between=True)
        if self.turn is None:
            self.prompts.lease.let_go()
        self.repose.turn_over()
        if self._over is not None:
            self._over.set()
            self._over = None

    def adopt(self) -> None:
        """Follow what the operator decided last, unless a turn runs or a setting is on its way: then after it."""
        if self.policy is not self.broker.policy and self.turn is None and not self.fitting.is_busy:
            adopt(self, self._standbys)

    def missed(self, turn: Turn, miss: Miss, then: Candidate | None) -> None:
        self.broker.missed(self, turn, miss, then)

    def absorb(self, past: Past) -> None:
        """Take up what another process has done in the session: its turns, its ids, the user's choices."""
        self.memory.turns = past.turns
        self.ids.taken(past.ids)
        self.prompts.restore(past.keyed)
        self.log.is_behind = False
        self.restore_choices(past)
        interrupted(self, past.unanswered)

    def restore_choices(self, past: Past) -> None:
        """Follow what the log says that the user has set, where that is news."""
        if past.chosen is not None and past.chosen != self._kept:
            told, self._kept = self.settings.told, past.chosen
            self.selection.restore(past.chosen, self.policy.runtimes[self.settings.backend].modes)
            self.fitting.forget()
            if self.is_announced:
                self.show(self.settings.news(told), 0)

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
        self.prompts.cancel()
        await self._standbys.end()
        self.attempts.stop()
        self.alarm.stop()
        self.log.when_held_up = None
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
        # The blank line apart: Toad (Textual 8.2.7) drops the first piece of a message when it ends with one.
        name = self.ids.fresh()
        return [self.ids.voiced(message(piece, messageId=name), 0) for piece in (text, "\n\n")]
