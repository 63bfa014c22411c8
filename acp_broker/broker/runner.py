"""The runner of one turn: tells the machine what happened, and performs what it commands. It decides nothing.

    backend --> Attempt --> Turn --event, now--> core.turn.step --> commands --> Turn
                                                                                  |-- words: held, relayed, dropped
                                                                                  |-- the log: one record per step
                                                                                  `-- deeds: start, stop, ask, reply

Words are chosen first, then the step and what it shows go into the session's log as one record, then the deeds are
done. One read of an agent after the commit point is one event, one record, one write: no task hop per update.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from acp_broker.broker import story
from acp_broker.broker.attempt import Attempt
from acp_broker.broker.deeds import DEEDS
from acp_broker.broker.guard import call
from acp_broker.broker.held import Held, Item, Told, first_updates
from acp_broker.broker.latest import REPEATED
from acp_broker.broker.order import Order
from acp_broker.broker.stopwatch import Stopwatch
from acp_broker.broker.telling import Telling, follower
from acp_broker.broker.verdict import verdict
from acp_broker.broker.weighing import tells_retry
from acp_broker.contract import Finished as BackendFinished
from acp_broker.core import visible
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Phase, StopReason
from acp_broker.core.turn import step
from acp_broker.core.turnrules import Rules
from acp_broker.core.turnwords import (
    Accepted,
    CancelAsked,
    Command,
    Committed,
    Doubted,
    Doubting,
    DropHeld,
    Ended,
    Event,
    Failed,
    Hold,
    Noted,
    Reached,
    Relay,
    RelayHeld,
    Spoke,
    State,
    Stopped,
    Stopping,
    Trying,
    Waiting,
)
from acp_broker.errors import BROKER_FAULT, RpcError
from acp_broker.store import records
from acp_broker.wire.acp import Update

if TYPE_CHECKING:
    from acp_broker.broker.session import Session

_encode = msgspec.json.Encoder().encode
_UNCOMMITTED = (Waiting, Trying, Doubting)
_SHOWN = (Committed, Ended)


class Turn:
    """One prompt, from its acceptance to its one reply."""

    def __init__(self, session: "Session", order: Order, rules: Rules, passed: Sequence[story.Passed]) -> None:
        self.session = session
        self.id = order.turn
        self.order = order
        self.prompt = order.prompt
        self.rest = order.rest
        self.rules = rules
        self.log = session.trace
        self.watch: Stopwatch = Stopwatch(session.clock, session.alarm)
        self.state: State = Waiting()
        self.attempt: Attempt | None = None
        self.telling = Telling(order.turn, passed)
        self._held = Held()
        self._queue: deque[tuple[Event, Sequence[Update]]] = deque()
        self._is_stepping = False
        self._is_answered = False
        # Whether anything of the present attempt was shown, or is held to be shown.
        self.has_spoken = False
        self.is_interrupted = False

    # --- what happens to a turn

    def begin(self) -> None:
        """The prompt is in the log: go. Where the backend stands ready, the first step is written with its second."""
        self._add(Accepted())
        if self.attempt is None or self.attempt.standby.backend is None:
            self.session.log.commit()

    def cancel(self) -> None:
        """The frontend no longer wants the turn."""
        self.post(CancelAsked())

    def reached(self, attempt: Attempt, phase: Phase) -> None:
        self.post(Reached(attempt.number, phase))

    def heard(self, attempt: Attempt, updates: Sequence[Update]) -> None:
        """What one read of the attempt's runtime brought. After the commit point it is one event."""
        output: Sequence[Update] = ()
        for index, update in enumerate(updates):
            if not isinstance(self.state, _UNCOMMITTED):
                rest = updates[index:] if index else updates
                shows = any(update.kind not in visible.NOTES for update in rest)
                self._add((Spoke if shows else Noted)(attempt.number), rest)
                output = output or (rest if shows else ())
                break
            is_doubting = isinstance(self.state, Doubting)
            *before, event = attempt.weighing.events(attempt.number, update, is_doubting=is_doubting)
            for sign in before:
                self._add(sign)
            self._add(event, (update,))
            if isinstance(event, Spoke):
                output = updates[index:]
        self.session.log.commit()
        # Shown first, looked at then: nobody waits for that.
        if output and attempt.latest.heard(output, self.session.clock.now()) and isinstance(self.state, Committed):
            self.post(Failed(attempt.number, REPEATED))

    def heard_late(self, attempt: Attempt, updates: Sequence[Update]) -> None:
        """What the serving runtime sends after its answer: titles, usage, the end of a tool call."""
        late = [update for update in updates if update.kind in visible.NOTES or update.kind == "tool_call_update"]
        if late and isinstance(self.state, Ended):
            self.post(Noted(attempt.number), late)

    def told(self, attempt: Attempt, method: str, params: dict[str, Raw] | None) -> None:
        """An extension notification: it shows nothing by itself, so before the commit point it waits like a note."""
        if isinstance(self.state, _UNCOMMITTED):
            if tells_retry(method, params):
                self.post(Reached(attempt.number, "retrying"))
            self._held.add((Told(method, params),))
            self.log("notification_held", session=self.session.id, turn=self.id, backend=attempt.backend, method=method)
            return
        if tells_retry(method, params):
            attempt.latest.retried()
        self.session.desk.tell(self.order.frontend, attempt.life, method, params)
        self.session.log.commit()

    def acted(self, attempt: Attempt) -> None:
        """The attempt asks for something that acts or is seen: that is output."""
        attempt.weighing.is_trusted |= isinstance(self.state, Trying)
        self._add(Spoke(attempt.number))

    def attempt_over(self, attempt: Attempt, outcome: BackendFinished | Failure | None) -> None:
        """The attempt's task has ended: it finished, failed, or (None) was cancelled by us."""
        was_stopping = attempt.is_stopping
        for event in verdict(self, attempt, outcome):
            if isinstance(event, Failed) and event.failure.kind is FailureKind.AUTH_REJECTED:
                attempt.standby.refused()
            self._add(event)
        if was_stopping:
            self._add(Stopped(attempt.number))
        for hand_over in attempt.late:
            call(self.log, hand_over)
        self.session.log.commit()

    # --- what the machine is told

    def post(self, event: Event, updates: Sequence[Update] = ()) -> None:
        self._add(event, updates)
        self.session.log.commit()

    def _add(self, event: Event, updates: Sequence[Update] = ()) -> None:
        """Step by this event, and by those that performing its commands brings, in order."""
        self._queue.append((event, updates))
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._queue:
                fault = call(self.log, self._step, *self._queue.popleft())
                if fault is not None:
                    self._break_down(fault)
        finally:
            self._is_stepping = False

    def _step(self, event: Event, updates: Sequence[Update]) -> None:
        now = self.watch.now()
        self.has_spoken |= isinstance(event, Spoke | Doubted)
        self.state, commands = step(self.rules, self.state, event, now)
        later: list[Item] = []
        shown = self._words(commands, updates, later) if commands else []
        line = records.step_line(self.id, now, _encode(event), _encode(commands), shown)
        self.session.log.append(line, records.update_frames(shown) if shown else b"")
        if later:
            self._say_on(later)
        if isinstance(self.state, Stopping):
            self._count_miss(self.state, now)
        for command in commands:
            deed = DEEDS.get(type(command))
            if deed is not None:
                deed(self, command, event)

    def then(self, event: Event) -> None:
        """For deeds: step by this event as soon as the deeds of the present one are done."""
        self._queue.append((event, ()))

    def _break_down(self, fault: Failure) -> None:
        """A fault of ours in the middle of a step: the turn still gets its one reply, and nothing of it runs on."""
        self._queue.clear()
        self.watch.disarm()
        if self.attempt is not None:
            self.attempt.kill()
        if not isinstance(self.state, Ended):
            self.state = Ended(self.attempt.number if self.attempt is not None else 0)
        if not self._is_answered:
            self.close(RpcError(BROKER_FAULT, fault.text), None)

    # --- words

    def _words(self, commands: Sequence[Command], updates: Sequence[Update], later: list[Item]) -> list[bytes]:
        """What these commands show. What must follow a held extension notification is put into `later`."""
        shown: list[bytes] = []
        for command in commands:
            match command:
                case Relay() if later:
                    later += updates
                case Relay():
                    shown += self._voiced(updates)
                case Hold():
                    self._held.add(updates)
                case RelayHeld():
                    shown += self._notice()
                    if self._held:
                        held, more = first_updates(self._held.take())
                        shown += self._voiced(held)
                        later += more
                case DropHeld():
                    self._held.take()
                    self.has_spoken = False
        return shown

    def _say_on(self, items: Sequence[Item]) -> None:
        for item in items:
            match item:
                case Told(method, params):
                    self.session.desk.tell(self.order.frontend, self.current.life, method, params)
                case update:
                    self.show(self._voiced((update,)))

    def _voiced(self, updates: Sequence[Update]) -> list[bytes]:
        attempt = self.attempt
        if attempt is None:
            return []
        return self.session.voiced(attempt, updates)

    def _notice(self) -> list[bytes]:
        attempt = self.attempt
        if attempt is None or not isinstance(self.state, _SHOWN):
            return []
        return self.session.notice(attempt.candidate, self.telling.misses)

    def show(self, shown: list[bytes]) -> None:
        """Show params outside of the step's own record."""
        if shown:
            line = records.line("shown", updates=[Raw(params) for params in shown])
            self.session.log.append(line, records.update_frames(shown))

    # --- its end

    @property
    def current(self) -> Attempt:
        assert self.attempt is not None, "the machine commands an attempt that was never started"
        return self.attempt

    def story(self) -> story.Story:
        return self.telling.story(self.attempt, self.watch.now(), unpersisted=self.session.log.fault)

    def close(self, outcome: Raw | RpcError, stop_reason: StopReason | None) -> None:
        """The one reply, in the log and on its way to the frontend."""
        self._is_answered = True
        self.watch.disarm()
        self.session.prompts.answer(self.order, outcome)
        self.session.turn_over(self, stop_reason)

    def _count_miss(self, state: Stopping, now: float) -> None:
        """Tell the session, its health and the log of a failure as soon as the machine has counted it."""
        miss = self.telling.count(state, self.current, now)
        if miss is not None:
            self.current.standby.has_lost = True
            self.session.missed(self, miss, follower(state))
