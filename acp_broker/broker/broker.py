"""The broker: who is connected, which sessions there are, and what all of them share."""

import secrets
from functools import partial
from itertools import count

import msgspec
from anyio import CancelScope, Event, Lock, create_task_group
from anyio.abc import TaskGroup
from msgspec import Raw

from acp_broker import __version__
from acp_broker.broker import drain, story
from acp_broker.broker.asks import Asks
from acp_broker.broker.asleep import Asleep
from acp_broker.broker.chain import Chain
from acp_broker.broker.frontend import Frontend
from acp_broker.broker.guard import Tasks, call, guarded
from acp_broker.broker.health_file import LATER_S, HealthFile
from acp_broker.broker.learnt import Learnt
from acp_broker.broker.leaving import disconnect, leave
from acp_broker.broker.limit import within
from acp_broker.broker.order import Order
from acp_broker.broker.policy import Policy
from acp_broker.broker.reception import Reception
from acp_broker.broker.revival import Revival
from acp_broker.broker.runner import Turn
from acp_broker.broker.runtime import Runtime
from acp_broker.broker.session import Session
from acp_broker.broker.standby import Standby
from acp_broker.broker.terms import Terms
from acp_broker.broker.warming import Warming
from acp_broker.broker.whom import Whom
from acp_broker.clock import Clock, Timer
from acp_broker.contract import SessionSetup
from acp_broker.core.failures import Failure
from acp_broker.core.health import Health
from acp_broker.core.names import BackendId, Candidate, ProfileId, SessionId, StopReason, TurnId
from acp_broker.core.turnrules import Miss, Rules
from acp_broker.edge.channel import Channel
from acp_broker.observe.log import Log
from acp_broker.store import records
from acp_broker.store.files import StateFolder
from acp_broker.wire import jsonrpc

# How long the end may wait for agents. Each has its own limits, of a second or two: this one bounds a fault of ours.
END_S = 15.0


class Broker:
    """Run it with `async with`; connections are served inside."""

    def __init__(self, policy: Policy, folder: StateFolder, clock: Clock, log: Log) -> None:
        self.policy = policy
        self.folder = folder
        self.clock = clock
        self.log = log
        self.frontends: dict[int, Frontend] = {}
        self.sessions: dict[SessionId, Session] = {}
        # Those in which a prompt runs or waits.
        self.busy: dict[SessionId, Session] = {}
        self.asleep = Asleep(self)
        self.asks = Asks(clock, self.attendants, lambda: self.policy.unattended_s)
        self._health = HealthFile(folder, log)
        self._saving: Timer | None = None
        self.chain = Chain(policy, clock, self._health.read(policy.fingerprints), self._learnt)
        self.learnt = Learnt(folder, log)
        self.reception = Reception(self)
        self.revival = Revival(self)
        self.warming = Warming(self)
        # Long messages are read one at a time.
        self.reading = Lock()
        # What goes on beside all turns and connections.
        self.tasks: Tasks
        self._group: TaskGroup
        # Nothing new begins any more.
        self.is_stopping = False
        # Frontends are numbered: not from 1, so that what a log has for one of another process reaches none of ours.
        self._connected = secrets.randbits(31) << 20
        # Turns as well, under a name that no other broker gives: several work in one session.
        self._turns, self._count = f"t-{secrets.token_hex(6)}", count(1)

    def adopt(self, policy: Policy) -> None:
        """What the operator decided anew: holds for a session from its next turn on, for everything else at once.

        A turn that runs goes on by what held when it was accepted, to the end of its chain.
        """
        self.policy = policy
        self.chain.adopt(policy)
        self.reception.adopt()
        for session in tuple(self.sessions.values()):
            call(self.log, session.adopt)

    @property
    def selected(self) -> BackendId:
        """The backend that new sessions are bound to."""
        return self.policy.order[0]

    async def __aenter__(self) -> "Broker":
        self.folder.prepare()
        self._group = await create_task_group().__aenter__()
        self.tasks = Tasks(self._group, self.log)
        self.tasks.start_soon(self._keep_synced)
        self.tasks.start_soon(self.asleep.let_doze)
        return self

    async def __aexit__(self, *exc: object) -> None:
        with CancelScope(shield=True):
            with within(self.clock, END_S):
                async with create_task_group() as group:
                    ending = Tasks(group, self.log)
                    ending.start_soon(self.reception.end)
                    for session in self.sessions.values():
                        ending.start_soon(session.end)
            await self._health.flush()
            await self._sync()
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)
        if self._saving is not None:
            self._saving.cancel()
        self.folder.attended.close()
        self.folder.awaited.close()

    def check_open(self) -> None:
        """Raises RpcError once it drains."""
        if self.is_stopping:
            raise drain.stopping()

    async def drain(self, limit_s: float, at_once: Event | None = None) -> None:
        """Begin nothing new and let running turns end; what still runs then, or when `at_once` is set, is interrupted.

        Returns when no turn runs. Its frontends are still connected: what they have not read yet waits for them.
        """
        self.is_stopping = True
        await drain.drain(self, limit_s, at_once)

    async def _keep_synced(self) -> None:
        while True:
            await self.folder.sync_is_due()
            await self._sync()

    def _learnt(self, before: Health, after: Health) -> None:
        """Something has become known of a backend: other brokers of this state folder need not find it out."""
        if self._health.changed(before, after) and self._health.keep(after, self.policy.fingerprints):
            save = partial(self.tasks.start_soon, self._health.flush)
            self._saving = self.clock.call_at(self.clock.now() + LATER_S, save)

    async def _sync(self) -> None:
        """Bring the logs to the disk. What cannot be is said, and stops nothing: it is in the file all the same."""
        fault = await guarded(self.folder.sync(), self.log)
        if fault is not None:
            self.log("not_synced", why=fault.text)

    # --- frontends

    async def serve(self, channel: Channel, terms: Terms) -> None:
        """Serve one connection until it closes; unless its turns go on, they have `leave_s` to end as cancelled."""
        self._connected += 1
        frontend = Frontend(self, channel, self._connected, terms)
        self.frontends[frontend.number] = frontend
        try:
            await frontend.serve()
            await leave(self, frontend)
            await frontend.caught_up()
        finally:
            del self.frontends[frontend.number]
            disconnect(self, frontend)

    def present(self, number: int) -> Frontend | None:
        """The frontend of that number, unless it is gone or leaving."""
        frontend = self.frontends.get(number)
        return None if frontend is None or frontend.has_left else frontend

    def attendants(self, session: SessionId) -> list[int]:
        """The frontends that are shown what happens in a session."""
        return [one.number for one in self.frontends.values() if not one.has_left and one.outbox.is_attached(session)]

    # --- sessions

    def new_id(self) -> SessionId:
        return SessionId(f"acpb-{secrets.token_hex(12)}")

    def new_turn(self) -> TurnId:
        return TurnId(f"{self._turns}-{next(self._count)}")

    def new_session(self, frontend: Frontend, setup: SessionSetup) -> Session:
        """Open a session: its log first, then, in the background, its primary. Raises StoreError."""
        first = records.line(
            "opened",
            format=records.FORMAT,
            at=self.clock.wall(),
            session=setup.session,
            cwd=setup.cwd,
            directories=setup.additional_directories,
            broker=__version__,
        )
        session = Session(self, setup, self.folder.new_log(setup.session, first), frontend)
        self.sessions[session.id] = session
        session.warm()
        return session

    async def opened(self, session: Session) -> Raw:
        """The result of `session/new`: what the primary answered, else what it answered in an earlier run."""
        standby = session.serving()
        failure: Failure | None = None
        with within(self.clock, self.policy.session_new_s) as waited:
            failure = await standby.opened()
            while standby is not session.serving():  # another one was selected meanwhile
                standby = session.serving()
                failure = await standby.opened()
        result = Raw(b"{}")
        if standby.backend is not None:
            result = standby.backend.about.opened
            await session.fitting.fit(standby, standby.backend)
        else:
            why = failure.text if failure is not None else "still opening"
            self.log("opened_without_primary", session=session.id, why=why, waited=waited.cancelled_caught)
            result = self.reception.learnt_opening(standby.runtime, session.whom)
            session.settings.opened(result)
        session.is_announced = True
        members = story.unsigned(msgspec.json.decode(result, type=dict[str, Raw]))
        shown = {name: jsonrpc.encode(value) for name, value in session.settings.members().items()}
        return jsonrpc.encode({**members, **shown, "sessionId": session.id})

    # --- turns

    def plan(self, session: Session, order: Order) -> tuple[Rules, tuple[story.Passed, ...]]:
        return self.chain.plan(session, order, partial(self.reception.known, session.whom))

    def missed(self, session: Session, turn: Turn, miss: Miss, then: Candidate | None) -> None:
        """An attempt failed: remember it, and say it."""
        name, failure = miss.candidate.backend, miss.failure
        now = self.policy.runtimes.get(name)
        # What fails as it was configured before says nothing of what is there now.
        if now is not None and now.fingerprint == session.policy.runtimes[name].fingerprint:
            self.chain.missed(miss)
        self.log(
            "attempt_failed",
            session=session.id,
            turn=turn.id,
            attempt=miss.attempt,
            backend=miss.candidate.backend,
            failure=failure.kind.value,
            why=failure.text,
            code=failure.code,
            phase=failure.seen_at,
            retry_after_s=failure.retry_after_s,
            next=then.backend if then is not None else "none",
        )

    def turn_over(self, turn: Turn, stop_reason: StopReason | None) -> None:
        if stop_reason is None:
            self.chain.exhausted(turn.telling.misses)
        attempt = turn.attempt
        if attempt is not None and stop_reason == "cancelled":
            self.chain.released(attempt.candidate)
        tried = attempt.candidate.backend if attempt is not None else None
        self.log(
            "turn_over",
            session=turn.session.id,
            turn=turn.id,
            backend=tried,
            attempts=attempt.number if attempt is not None else 0,
            stop_reason="interrupted" if turn.is_interrupted else stop_reason or "refused",
            passed=[f"{one.backend}: {one.why}" for one in turn.telling.passed] or None,
        )
        if turn.session.log.fault is not None:
            self.log("turn_not_kept", session=turn.session.id, turn=turn.id, why=turn.session.log.fault)

    # --- backends

    def logged_in(self, profile: ProfileId) -> None:
        """Somebody has logged in to it: who rested for want of a login may be tried."""
        self.log("login_found", profile=profile)
        for runtime in self.policy.runtimes.values():
            if runtime.candidate.profile == profile:
                self.chain.renewed(runtime)

    def standby(self, runtime: Runtime, setup: SessionSetup | None, whom: Whom) -> Standby:
        standby = Standby(runtime, setup, whom, self.tasks, self.clock, self.log)
        standby.credential = self.chain.preferred(runtime).credential
        return standby
