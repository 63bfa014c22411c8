"""The broker: who is connected, which sessions there are, and what all of them share."""

import secrets
from collections.abc import Awaitable, Mapping
from functools import partial

import msgspec
from anyio import create_task_group, move_on_after
from anyio.abc import TaskGroup
from msgspec import Raw

from acp_broker import __version__
from acp_broker.broker import introduction, story
from acp_broker.broker.asks import Asks
from acp_broker.broker.chain import Chain
from acp_broker.broker.frontend import Frontend
from acp_broker.broker.learnt import Learnt, Lesson
from acp_broker.broker.methods import Then
from acp_broker.broker.policy import Policy
from acp_broker.broker.runner import Order, Turn
from acp_broker.broker.session import Session
from acp_broker.broker.standby import Nobody, Standby, Whom
from acp_broker.clock import Clock
from acp_broker.contract import Backend, SessionSetup
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, Candidate, SessionId, StopReason, TurnId
from acp_broker.core.turnrules import Miss, Rules
from acp_broker.edge.channel import Channel
from acp_broker.errors import (
    AUTH_REQUIRED,
    BROKER_FAULT,
    EXHAUSTED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    BackendFailure,
    BrokerError,
    RpcError,
    StoreError,
)
from acp_broker.observe.log import Log
from acp_broker.store import records
from acp_broker.store.files import StateFolder
from acp_broker.wire import agent, jsonrpc


class Broker:
    """Run it with `async with`; connections are served inside."""

    def __init__(self, policy: Policy, folder: StateFolder, clock: Clock, log: Log) -> None:
        self.policy = policy
        self.folder = folder
        self.clock = clock
        self.log = log
        self.asks = Asks()
        self.frontends: dict[int, Frontend] = {}
        self.sessions: dict[SessionId, Session] = {}
        # Logins that succeeded: backend -> the agent's own method id, repeated in each of its new processes.
        self.logins: dict[BackendId, str] = {}
        self.tasks: TaskGroup
        self._chain = Chain(policy, clock)
        self._learnt = Learnt(folder, log)
        self._probes: dict[BackendId, Standby] = {}
        self._connected = 0

    @property
    def selected(self) -> BackendId:
        """The backend that new sessions are bound to."""
        return self.policy.order[0]

    async def __aenter__(self) -> "Broker":
        self.folder.prepare()
        self.tasks = await create_task_group().__aenter__()
        self.tasks.start_soon(self.folder.sync)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for session in tuple(self.sessions.values()):
            await session.end()
        for probe in self._probes.values():
            await probe.end()
        await self.folder.sync_now()
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)

    # --- frontends

    async def serve(self, channel: Channel, name: str) -> None:
        """Serve one connection until it closes; then give its running turns `leave_s` to end as cancelled."""
        self._connected += 1
        frontend = Frontend(self, channel, self._connected, name)
        self.frontends[frontend.number] = frontend
        try:
            await frontend.serve()
            await self._leave(frontend)
        finally:
            del self.frontends[frontend.number]
            frontend.close()

    async def _leave(self, frontend: Frontend) -> None:
        mine = [session for session in self.sessions.values() if session.frontend == frontend.number]
        for session in mine:
            session.cancel()
        with move_on_after(self.policy.leave_s):
            for session in mine:
                await session.idle()

    # --- sessions

    def new_id(self) -> SessionId:
        return SessionId(f"acpb-{secrets.token_hex(12)}")

    def new_turn(self) -> TurnId:
        return TurnId(f"t-{secrets.token_hex(6)}")

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
        standby = session.warm()
        failure: Failure | None = None
        with move_on_after(self.policy.session_new_s) as waited:
            failure = await standby.opened()
        result = Raw(b"{}")
        if standby.backend is not None:
            await self._keep(standby.runtime.candidate.backend, session.whom, standby.backend)
            result = standby.backend.about.opened
            await session.fit(standby, standby.backend)
        else:
            why = failure.text if failure is not None else "still opening"
            self.log("opened_without_primary", session=session.id, why=why, waited=waited.cancelled_caught)
            lesson = self._learnt.of(standby.runtime, session.whom.capabilities)
            if lesson is not None:
                result = lesson.opened
                session.settings.opened(result)
        members = msgspec.json.decode(result, type=dict[str, Raw])
        shown = {name: jsonrpc.encode(value) for name, value in session.settings.members().items()}
        return jsonrpc.encode({**members, **shown, "sessionId": session.id})

    async def delete(self, session: Session) -> None:
        await session.end()
        del self.sessions[session.id]
        session.log.path.unlink(missing_ok=True)

    # --- turns

    def plan(self, session: Session, order: Order) -> tuple[Rules, tuple[story.Passed, ...]]:
        return self._chain.plan(session, order, partial(self._known, session))

    def missed(self, session: Session, turn: Turn, miss: Miss, then: Candidate | None) -> None:
        """An attempt failed: remember it, and say it."""
        self._chain.missed(miss)
        failure = miss.failure
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

    def started(self, candidate: Candidate) -> None:
        self._chain.started(candidate)

    def served(self, candidate: Candidate) -> None:
        self._chain.served(candidate)

    def turn_over(self, turn: Turn, stop_reason: StopReason | None) -> None:
        if stop_reason is None:
            self._chain.exhausted(turn.misses)
        attempt = turn.attempt
        if attempt is not None and stop_reason == "cancelled":
            self._chain.released(attempt.candidate)
        tried = attempt.candidate.backend if attempt is not None else None
        self.log(
            "turn_over",
            session=turn.session.id,
            turn=turn.id,
            backend=tried,
            attempts=attempt.number if attempt is not None else 0,
            stop_reason=stop_reason if stop_reason is not None else "refused",
        )

    # --- backends

    def candidate(self, backend: BackendId) -> Candidate:
        return self.policy.runtimes[backend].candidate

    def standby(self, backend: BackendId, setup: SessionSetup | None, whom: Whom) -> Standby:
        return Standby(self.policy.runtimes[backend], setup, whom, self.tasks, self.clock, self.log)

    def introduction(self, frontend: Frontend) -> Awaitable[Raw | Then] | Raw:
        """The result of `initialize`: honest about the primary, at once where it is known from earlier runs."""
        if self._learnt.of(self.policy.runtimes[self.selected], frontend.whom.capabilities) is not None:
            return self._introduced(frontend)
        return self._introduce(frontend)

    async def _introduce(self, frontend: Frontend) -> Raw:
        probe = self._probe(self.selected, frontend.whom)
        probe.warm()
        with move_on_after(self.policy.learn_s):
            await probe.opened()
        if probe.backend is not None:
            await self._keep(self.selected, frontend.whom, probe.backend)
        return self._introduced(frontend)

    def _introduced(self, frontend: Frontend) -> Raw:
        known: dict[BackendId, agent.Initialized] = {}
        for name, runtime in self.policy.runtimes.items():
            lesson = self._learnt.of(runtime, frontend.whom.capabilities)
            if lesson is not None:
                known[name] = agent.initialized(lesson.initialized)
        return introduction.result(self.selected, known, terminal_login=frontend.can.terminal_login)

    def _known(self, session: Session, backend: BackendId) -> agent.Initialized | None:
        lesson = self._learnt.of(self.policy.runtimes[backend], session.whom.capabilities)
        return agent.initialized(lesson.initialized) if lesson is not None else None

    async def _keep(self, name: BackendId, whom: Whom, backend: Backend) -> None:
        about = backend.about
        members = msgspec.json.decode(about.opened, type=dict[str, Raw])
        members.pop("sessionId", None)
        lesson = Lesson(about.initialized, jsonrpc.encode(members))
        if self._learnt.keep(self.policy.runtimes[name], whom.capabilities, lesson):
            self.tasks.start_soon(self._learnt.save)

    def _probe(self, name: BackendId, whom: Whom) -> Standby:
        probe = self._probes.get(name)
        if probe is None:
            probe = self._probes[name] = self.standby(name, None, whom)
        return probe

    async def auth_methods(self, backend: BackendId) -> tuple[Raw, ...]:
        """The authentication methods that a backend advertises. Raises BackendFailure."""
        opened = await self._probe(backend, Whom(Raw(b'{"auth":{"terminal":true}}'))).join(Nobody())
        return agent.initialized(opened.about.initialized).auth_methods

    async def authenticate(self, frontend: Frontend, method: str, rest: Mapping[str, Raw]) -> Raw:
        """`backend/method`, as `initialize` advertised it: asked of that backend, and remembered for its processes."""
        name, _, own = method.partition("/")
        backend = BackendId(name)
        if backend not in self.policy.runtimes or not own:
            raise RpcError(INVALID_PARAMS, f"no authentication method is called {method!r}")
        result = await self._call(frontend, backend, "authenticate", {**rest, "methodId": jsonrpc.encode(own)})
        self.logins[backend] = own
        self._chain.logged_in(self.candidate(backend))
        return result

    async def logout(self, frontend: Frontend, rest: Mapping[str, Raw]) -> Raw:
        self.logins.pop(self.selected, None)
        return await self._call(frontend, self.selected, "logout", dict(rest))

    async def extend(self, frontend: Frontend, session: Session | None, method: str, rest: dict[str, Raw]) -> Raw:
        """An extension request: to the backend that serves the session, else to this frontend's primary."""
        if session is None:
            return await self._call(frontend, self.selected, method, rest)
        standby = session.serving()
        failure = await standby.opened()
        if standby.backend is None:
            why = failure.text if failure is not None else "it is not open"
            raise RpcError(METHOD_NOT_FOUND, f"{method}: {standby.runtime.candidate.backend} cannot be asked: {why}")
        return await standby.backend.call(method, rest)

    async def _call(self, frontend: Frontend, name: BackendId, method: str, params: dict[str, Raw]) -> Raw:
        """Ask a backend that belongs to no session: one that is open for this frontend, else one opened for it."""
        for session in self.sessions.values():
            standby = session.open_standby(name)
            if standby is not None and standby.backend is not None:
                return await standby.backend.call(method, params)
        backend = await self._probe(name, frontend.whom).join(Nobody())
        return await backend.call(method, params)

    # --- errors

    def reply_to(self, error: BrokerError) -> RpcError:
        """The JSON-RPC reply that one of our exceptions becomes."""
        match error:
            case RpcError():
                return error
            case BackendFailure(failure=failure):
                return self.reply_to_failure(failure)
            case StoreError():
                return RpcError(BROKER_FAULT, str(error))
            case _:
                return RpcError(INTERNAL_ERROR, str(error))

    def reply_to_failure(self, failure: Failure) -> RpcError:
        match failure.kind:
            case FailureKind.BROKER_FAULT:
                return RpcError(BROKER_FAULT, failure.text)
            case FailureKind.AUTH_MISSING | FailureKind.AUTH_REJECTED:
                return RpcError(AUTH_REQUIRED, failure.text)
            case _:
                return RpcError(EXHAUSTED, failure.text)
