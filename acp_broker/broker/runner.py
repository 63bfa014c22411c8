"""The runner of one turn: tells the machine what happened, and performs what it commands. It decides nothing.

    backend --> Attempt --> Turn --event, now--> core.turn.step --> commands --> Turn
                                                                                  |-- words: held, relayed, dropped
                                                                                  |-- the log: one record per step
                                                                                  `-- deeds: start, stop, ask, reply

Words are chosen first, then the step and what it shows go into the session's log as one record, then the deeds are
done. One read of an agent after the commit point is one event, one record, one write: no task hop per update.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from acp_broker.broker import story
from acp_broker.broker.asks import ELICITATION, Ask, nobodys_answer
from acp_broker.broker.attempt import Attempt
from acp_broker.broker.guard import call
from acp_broker.broker.held import Held
from acp_broker.broker.stopwatch import Stopwatch
from acp_broker.contract import Finished as BackendFinished
from acp_broker.core import visible
from acp_broker.core.failures import Failure
from acp_broker.core.names import Phase, StopReason, TurnId
from acp_broker.core.turn import step
from acp_broker.core.turnrules import Miss, Rules
from acp_broker.core.turnwords import (
    Accepted,
    Arm,
    AskCancel,
    CancelAsked,
    Cancelling,
    Command,
    Committed,
    Disarm,
    Doubted,
    Doubting,
    DropHeld,
    Ended,
    Event,
    Failed,
    Finished,
    Hold,
    Kill,
    Next,
    Noted,
    Reached,
    Refusal,
    Refuse,
    Relay,
    RelayHeld,
    Reply,
    Spoke,
    Start,
    State,
    Stop,
    Stopped,
    Stopping,
    TimeUp,
    Trying,
    Waiting,
    Withdraw,
)
from acp_broker.errors import BROKER_FAULT, RpcError
from acp_broker.store import records
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Answer, Update, text_of

if TYPE_CHECKING:
    from acp_broker.broker.session import Session

_encode = msgspec.json.Encoder().encode
_UNCOMMITTED = (Waiting, Trying, Doubting)
_SHOWN = (Committed, Ended)


async def load() -> None:
    """Load what turns alone need; best while an agent starts. Its patterns would make `initialize` wait 15 ms."""
    import acp_broker.core.doubt  # noqa: F401, PLC0415


class Order(Struct, frozen=True):
    """A prompt as it was accepted: from whom, under which request id, with what in it. `rest`: its other members."""

    turn: TurnId
    frontend: int
    request_id: Raw
    prompt: Raw
    rest: Mapping[str, Raw] = {}


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
        self.watch: Stopwatch = Stopwatch(session.clock)
        self.state: State = Waiting()
        self.attempt: Attempt | None = None
        self.passed = tuple(passed)
        self._tried: list[story.Tried] = []
        self.misses: tuple[Miss, ...] = ()
        self._held = Held()
        self._queue: deque[tuple[Event, Sequence[Update]]] = deque()
        self._is_stepping = False
        self._is_answered = False
        self._has_spoken = False

    # --- what happens to a turn

    def begin(self) -> None:
        """The prompt is in the log: go. Where the backend stands ready, the first step is written with its second."""
        self._add(Accepted())
        if self.attempt is None or self.attempt.standby.backend is None:
            self.session.log.commit()

    def cancel(self) -> None:
        """The frontend no longer wants the turn."""
        self._post(CancelAsked())

    def reached(self, attempt: Attempt, phase: Phase) -> None:
        self._post(Reached(attempt.number, phase))

    def heard(self, attempt: Attempt, updates: Sequence[Update]) -> None:
        """What one read of the attempt's runtime brought. After the commit point it is one event."""
        for index, update in enumerate(updates):
            if not isinstance(self.state, _UNCOMMITTED):
                rest = updates[index:] if index else updates
                shows = any(update.kind not in visible.NOTES for update in rest)
                self._add((Spoke if shows else Noted)(attempt.number), rest)
                break
            self._add(self._weigh(attempt.number, update), (update,))
        self.session.log.commit()

    def heard_late(self, attempt: Attempt, updates: Sequence[Update]) -> None:
        """What the serving runtime sends after its answer: titles, usage, the end of a tool call."""
        late = [update for update in updates if update.kind in visible.NOTES or update.kind == "tool_call_update"]
        if late and isinstance(self.state, Ended):
            self._post(Noted(attempt.number), late)

    def asked(
        self, attempt: Attempt, method: str, params: dict[str, Raw], answered: Callable[[Answer], None]
    ) -> Ask | None:
        """An agent's request for the frontend; None when it was answered at once."""
        if isinstance(self.state, Cancelling | Stopping | Ended):
            answered(nobodys_answer(method))
            return None
        desk, frontend = self.session.desk, self.order.frontend
        refusal = desk.refusal(frontend, method, params)
        if refusal is not None:
            answered(refusal)
            return None
        if visible.commits(method):
            self._add(Spoke(attempt.number), ())
        self.watch.owe()

        def settled(outcome: Answer) -> None:
            self.watch.settle()
            attempt.asks.remove(ask)
            answered(outcome)

        if method == ELICITATION and "requestId" in params:  # it belongs to the prompt: the frontend has its own id
            params["requestId"] = self.order.request_id
        ask = desk.ask(frontend, attempt.standby.life, method, params, settled)
        attempt.asks.append(ask)
        self.session.log.commit()
        return ask

    def take_back(self, ask: Ask) -> None:
        self.session.desk.withdraw(ask)
        self.session.log.commit()

    def told(self, attempt: Attempt, method: str, params: dict[str, Raw] | None) -> None:
        self.session.desk.tell(self.order.frontend, attempt.standby.life, method, params)
        self.session.log.commit()

    def attempt_over(self, attempt: Attempt, outcome: BackendFinished | Failure | None) -> None:
        """The attempt's task has ended: it finished, failed, or (None) was cancelled by us."""
        event = self._end_of(attempt, outcome)
        was_stopping = attempt.is_stopping
        if event is not None:
            self._add(event)
        if was_stopping:
            self._add(Stopped(attempt.number))
        for hand_over in attempt.late:
            hand_over()
        self.session.log.commit()

    # --- what the machine is told

    def _weigh(self, attempt: int, update: Update) -> Event:
        """Before the commit point: is it a note, something to doubt, or output?"""
        text = text_of(update) if update.kind in visible.CHUNKS else None
        if visible.voice(update.kind, text) is visible.Voice.NOTE:
            return Noted(attempt)
        if update.kind == "agent_message_chunk" and text is not None:
            from acp_broker.core.doubt import is_retry_notice, looks_like_failure  # noqa: PLC0415 - see `load`

            if is_retry_notice(text):
                self._add(Reached(attempt, "retrying"))
                return Noted(attempt)
            if looks_like_failure(text):
                return Doubted(attempt)
        return Spoke(attempt)

    def _end_of(self, attempt: Attempt, outcome: BackendFinished | Failure | None) -> Event | None:
        match outcome:
            case None:
                return None if attempt.is_stopping else Finished(attempt.number, "cancelled")
            case Failure():
                return Failed(attempt.number, outcome)
            case BackendFinished(stop_reason, answer):
                attempt.finished = outcome
                if isinstance(self.state, Doubting):
                    from acp_broker.core.doubt import judge  # noqa: PLC0415 - see `load`

                    usage = story.has_usage(answer)
                    failure = judge(self._held.text(), stop_reason, usage)
                    if failure is not None:
                        return Failed(attempt.number, failure)
                return Finished(attempt.number, stop_reason)

    def _post(self, event: Event, updates: Sequence[Update] = ()) -> None:
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
        self._has_spoken |= isinstance(event, Spoke | Doubted)
        self.state, commands = step(self.rules, self.state, event, now)
        shown = self._words(commands, updates) if commands else []
        line = records.step_line(self.id, now, _encode(event), _encode(commands), shown)
        self.session.log.append(line, records.update_frames(shown) if shown else b"")
        self._count_miss()
        for command in commands:
            deed = _DEEDS.get(type(command))
            if deed is not None:
                deed(self, command, event)

    def _break_down(self, fault: Failure) -> None:
        """A fault of ours in the middle of a step: the turn still gets its one reply, and nothing of it runs on."""
        self._queue.clear()
        self.watch.disarm()
        if self.attempt is not None:
            self.attempt.kill()
        if not isinstance(self.state, Ended):
            self.state = Ended(self.attempt.number if self.attempt is not None else 0)
        if not self._is_answered:
            self._close(RpcError(BROKER_FAULT, fault.text), None)

    # --- words

    def _words(self, commands: Sequence[Command], updates: Sequence[Update]) -> list[bytes]:
        shown: list[bytes] = []
        for command in commands:
            match command:
                case Relay():
                    shown += self._voiced(updates)
                case Hold():
                    self._held.add(updates)
                case RelayHeld():
                    shown += self._notice()
                    shown += self._voiced(self._held.take())
                case DropHeld():
                    self._held.take()
        return shown

    def _voiced(self, updates: Sequence[Update]) -> list[bytes]:
        attempt = self.attempt
        if attempt is None:
            return []
        return self.session.voiced(attempt, updates)

    def _notice(self) -> list[bytes]:
        attempt = self.attempt
        if attempt is None or not isinstance(self.state, _SHOWN):
            return []
        return self.session.notice(attempt.candidate, self.misses)

    # --- deeds

    def _start(self, command: Start, _event: Event) -> None:
        standby = self.session.standby(command.candidate)
        self.session.broker.started(command.candidate)
        self.session.ids.new_message()
        self.attempt = attempt = Attempt(self, command.attempt, command.candidate, standby)
        self.session.attempts.put_nowait(attempt)

    def _stop(self, command: Stop, _event: Event) -> None:
        attempt = self._current()
        attempt.stop(politely=command.politely)
        if attempt.is_over:
            self._queue.append((Stopped(attempt.number), ()))

    def _kill(self, _command: Kill, _event: Event) -> None:
        self._current().kill()

    def _ask_cancel(self, _command: AskCancel, _event: Event) -> None:
        self._current().ask_cancel()

    def _arm(self, command: Arm, _event: Event) -> None:
        serial = command.serial
        self.watch.arm(command.at, lambda: self._post(TimeUp(serial)))

    def _disarm(self, _command: Disarm, _event: Event) -> None:
        self.watch.disarm()

    def _withdraw(self, _command: Withdraw, event: Event) -> None:
        """End what is open between the agent and the frontend. A clean end leaves tools and terminals as they are."""
        attempt = self._current()
        for ask in tuple(attempt.asks):
            self.session.desk.withdraw(ask)
        if not isinstance(event, Finished):
            self._show(self.session.desk.abort(attempt.open_tools))
            attempt.open_tools.clear()

    def _reply(self, command: Reply, _event: Event) -> None:
        attempt = self.attempt
        answer = Raw(b"{}")
        if attempt is not None and attempt.finished is not None:
            answer = attempt.finished.answer
        self._close(story.answered(answer, command.stop_reason, self._story()), command.stop_reason)

    def _refuse(self, command: Refuse, _event: Event) -> None:
        told = self._story()
        if not command.misses:
            self._close(story.nobody(told), None)
            return
        spoken = self._has_spoken
        self._close(story.refused(command.misses, committed=command.committed, has_spoken=spoken, story=told), None)

    def _close(self, outcome: Raw | RpcError, stop_reason: StopReason | None) -> None:
        frame = jsonrpc.answer(self.order.request_id, outcome)
        line = records.line(
            "answer", to=self.order.frontend, turn=self.id, at=self.session.clock.wall(), frame=Raw(frame[:-1])
        )
        self._is_answered = True
        self.session.log.append(line, frame, self.order.frontend)
        self.session.turn_over(self, stop_reason)

    def _show(self, shown: list[bytes]) -> None:
        if shown:
            line = records.line("shown", updates=[Raw(params) for params in shown])
            self.session.log.append(line, records.update_frames(shown))

    def _current(self) -> Attempt:
        assert self.attempt is not None, "the machine commands an attempt that was never started"
        return self.attempt

    # --- the story

    def _count_miss(self) -> None:
        """Tell the session, its health and the log of a failure as soon as the machine has counted it."""
        misses = _misses(self.state)
        if misses is None or len(misses) == len(self.misses):
            return
        self.misses = misses
        miss = misses[-1]
        attempt = self._current()
        attempt.standby.has_lost = True
        ms = round((self.watch.now() - attempt.began_at) * 1000)
        self._tried.append(story.Tried(miss.candidate.backend, miss.failure.kind.value, miss.failure.text, ms))
        goes_on = self.state.then if isinstance(self.state, Stopping) else None
        self.session.missed(self, miss, goes_on.candidate if isinstance(goes_on, Next) else None)

    def _story(self) -> story.Story:
        tried = list(self._tried)
        attempt = self.attempt
        if attempt is not None and any(miss.attempt == attempt.number for miss in self.misses):
            attempt = None
        if attempt is not None:
            tried.append(story.Tried(attempt.candidate.backend, ms=round((self.watch.now() - attempt.began_at) * 1000)))
        serving = attempt if attempt is not None and attempt.finished is not None else None
        return story.Story(
            turn=self.id,
            backend=serving.candidate.backend if serving is not None else None,
            model=serving.candidate.model if serving is not None else None,
            attempts=tuple(tried),
            skipped=self.passed,
            adapted=serving.finished.adapted if serving is not None and serving.finished is not None else (),
            unpersisted=self.session.log.fault,
        )


def _misses(state: State) -> tuple[Miss, ...] | None:
    match state:
        case Trying(run=run) | Doubting(run=run) | Stopping(then=Next(run=run)):
            return run.misses
        case Committed(misses=misses) | Stopping(then=Refusal(misses=misses)):
            return misses
        case _:
            return None


_DEEDS: dict[type, Callable[..., None]] = {
    Start: Turn._start,  # noqa: SLF001 - the table of this class's own deeds
    Stop: Turn._stop,  # noqa: SLF001
    Kill: Turn._kill,  # noqa: SLF001
    AskCancel: Turn._ask_cancel,  # noqa: SLF001
    Arm: Turn._arm,  # noqa: SLF001
    Disarm: Turn._disarm,  # noqa: SLF001
    Withdraw: Turn._withdraw,  # noqa: SLF001
    Reply: Turn._reply,  # noqa: SLF001
    Refuse: Turn._refuse,  # noqa: SLF001
}
