"""What a frontend asks before, or beside, any session: who we are, logins, extensions of its primary.

A backend is opened without a session for it (a probe): to learn what it can do, or to log it in.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from anyio import Event, create_task_group
from msgspec import Raw, Struct

from acp_broker.broker import introduction
from acp_broker.broker.learnt import Lesson
from acp_broker.broker.limit import within
from acp_broker.broker.runtime import Runtime
from acp_broker.broker.standby import Standby
from acp_broker.broker.whom import Nobody, Whom
from acp_broker.contract import Backend
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId
from acp_broker.core.turnrules import Limits
from acp_broker.errors import INVALID_PARAMS, METHOD_NOT_FOUND, BackendFailure, RpcError
from acp_broker.wire import agent, jsonrpc

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.frontend import Frontend
    from acp_broker.broker.session import Session


# A login waits for a person in a browser, and an extension may as well.
ANSWER_LIMIT_S = 600.0


class _Probe(Struct, eq=False):
    """A backend opened without a session, and how many ask it: the last one closes it."""

    standby: Standby
    users: int = 0


class Reception:
    """One per broker."""

    def __init__(self, broker: "Broker") -> None:
        # Logins that succeeded: backend -> the agent's own method id, repeated in each of its new processes.
        self.logins: dict[BackendId, str] = {}
        self._broker = broker
        # By backend, as it is configured, and client capabilities: agents answer by what their client can.
        self._probes: dict[tuple[BackendId, str, bytes], _Probe] = {}

    @property
    def standbys(self) -> tuple[Standby, ...]:
        """What is, or was, opened without a session."""
        return tuple(probe.standby for probe in self._probes.values())

    def introduction(self, frontend: "Frontend") -> Awaitable[Raw] | Raw:
        """The result of `initialize`: honest about the primary, at once where it is known from earlier runs."""
        broker = self._broker
        if broker.learnt.of(broker.policy.runtimes[broker.selected], frontend.whom.capabilities) is not None:
            return self._introduced(frontend)
        return self._introduce(frontend)

    def learn(self, runtime: Runtime, whom: Whom, backend: Backend) -> None:
        """Keep what an opened backend said of itself, for the next `initialize` and `session/new`."""
        try:
            members = msgspec.json.decode(backend.about.opened, type=dict[str, Raw])
        except msgspec.DecodeError:  # a resume's answer may be anything
            members = {}
        members.pop("sessionId", None)
        lesson = Lesson(backend.about.initialized, jsonrpc.encode(members))
        if self._broker.learnt.keep(runtime, whom.capabilities, lesson):
            self._broker.tasks.start_soon(self._broker.learnt.save)

    def learnt_opening(self, runtime: Runtime, whom: Whom) -> Raw:
        """What this backend answered to `session/new` in an earlier run; an empty object where there was none."""
        lesson = self._broker.learnt.of(runtime, whom.capabilities)
        return lesson.opened if lesson is not None else Raw(b"{}")

    def known(self, whom: Whom, backend: BackendId) -> agent.Initialized | None:
        """What a backend said it can do, towards such a frontend; None where it was never asked."""
        lesson = self._broker.learnt.of(self._broker.policy.runtimes[backend], whom.capabilities)
        return agent.initialized(lesson.initialized) if lesson is not None else None

    async def auth_methods(self, backend: BackendId, environ: Mapping[str, str]) -> tuple[Raw, ...]:
        """The authentication methods that a backend advertises to a terminal. Raises BackendFailure."""
        whom = Whom(Raw(b'{"auth":{"terminal":true}}'), environ=environ)
        async with self._probing(self._broker.policy.runtimes[backend], whom) as opened:
            return agent.initialized(opened.about.initialized).auth_methods

    async def log_out(self, backend: BackendId, environ: Mapping[str, str]) -> bool:
        """End an agent's own login, as a terminal asks for it; False where the agent cannot. Raises BackendFailure,
        RpcError."""
        whom = Whom(Raw(b'{"auth":{"terminal":true}}'), environ=environ)
        runtime = self._broker.policy.runtimes[backend]
        async with self._probing(runtime, whom) as opened:
            if agent.initialized(opened.about.initialized).can.auth.logout is None:
                return False
            await self._asked(runtime, opened, "logout", {})
            return True

    async def authenticate(self, frontend: "Frontend", method: str, rest: Mapping[str, Raw]) -> Raw:
        """`backend/method`, as `initialize` advertised it: asked of that backend, remembered for its processes."""
        name, _, own = method.partition("/")
        backend = BackendId(name)
        runtime = self._broker.policy.runtimes.get(backend)
        if runtime is None or not own:
            raise RpcError(INVALID_PARAMS, f"no authentication method is called {method!r}")
        result = await self._call(frontend, runtime, "authenticate", {**rest, "methodId": jsonrpc.encode(own)})
        self.logins[backend] = own
        self._broker.chain.renewed(runtime)
        return result

    async def logout(self, frontend: "Frontend", rest: Mapping[str, Raw]) -> Raw:
        """Concerns the selected backend."""
        self.logins.pop(self._broker.selected, None)
        return await self._call(frontend, self._primary, "logout", dict(rest))

    async def extend(self, frontend: "Frontend", session: "Session | None", method: str, rest: dict[str, Raw]) -> Raw:
        """An extension request: to the backend that serves the session, else to this frontend's primary."""
        if session is None:
            return await self._call(frontend, self._primary, method, rest)
        standby = session.serving()
        limit_s = _opening_limit_s(standby.runtime)
        why = f"it did not open within {limit_s:g} s"
        with within(self._broker.clock, limit_s):
            failure = await standby.opened()
            why = failure.text if failure is not None else "it is not open"
        if standby.backend is None:
            raise RpcError(METHOD_NOT_FOUND, f"{method}: {standby.runtime.candidate.backend} cannot be asked: {why}")
        return await self._asked(standby.runtime, standby.backend, method, rest)

    def adopt(self) -> None:
        """Forget what was opened as somebody who is not there any more; who still asks it, asks it to the end."""
        now = {(name, runtime.fingerprint) for name, runtime in self._broker.policy.runtimes.items()}
        for key, probe in tuple(self._probes.items()):
            if key[:2] not in now and not probe.users:
                del self._probes[key]
                self._broker.tasks.start_soon(probe.standby.end)

    async def end(self) -> None:
        async with create_task_group() as ending:
            for probe in self._probes.values():
                ending.start_soon(probe.standby.end)

    async def _introduce(self, frontend: "Frontend") -> Raw:
        is_learnt = Event()
        self._broker.tasks.start_soon(self._learn_from, self._primary, frontend.whom, is_learnt)
        with within(self._broker.clock, self._broker.policy.learn_s):
            await is_learnt.wait()
        return self._introduced(frontend)

    async def _learn_from(self, runtime: Runtime, whom: Whom, is_learnt: Event) -> None:
        """Open, listen, close: an agent that only introduced itself must not cost its memory from then on."""
        try:
            async with self._probing(runtime, whom) as backend:
                self.learn(runtime, whom, backend)
                is_learnt.set()
        except BackendFailure as error:
            self._broker.log("not_introduced", backend=runtime.candidate.backend, why=error.failure.text)
        finally:
            is_learnt.set()

    def _introduced(self, frontend: "Frontend") -> Raw:
        broker = self._broker
        said = {name: self.known(frontend.whom, name) for name in broker.policy.runtimes}
        known = {name: one for name, one in said.items() if one is not None}
        return introduction.result(
            broker.selected, known, terminal_login=frontend.can.terminal_login and frontend.terms.has_terminal
        )

    @asynccontextmanager
    async def _probing(self, runtime: Runtime, whom: Whom) -> AsyncIterator[Backend]:
        """A backend opened without a session, for as long as anybody asks it. Raises BackendFailure."""
        key = runtime.candidate.backend, runtime.fingerprint, bytes(whom.capabilities)
        if key not in self._probes:
            self._probes[key] = _Probe(self._broker.standby(runtime, None, whom))
        probe = self._probes[key]
        probe.users += 1
        try:
            yield await self._joined(probe.standby)
        finally:
            probe.users -= 1
            if not probe.users:
                probe.standby.close()
                self._broker.tasks.start_soon(self._forget, key, probe)

    async def _forget(self, key: tuple[BackendId, str, bytes], probe: _Probe) -> None:
        """Once it is closed, unless somebody asks it again meanwhile: clients may declare whatever they like."""
        await probe.standby.shut()
        if not probe.users and self._probes.get(key) is probe:
            del self._probes[key]

    async def _joined(self, standby: Standby) -> Backend:
        limit_s = _opening_limit_s(standby.runtime)
        with within(self._broker.clock, limit_s):
            return await standby.join(Nobody())
        text = f"{standby.runtime.candidate.backend} did not open within {limit_s:g} s"
        raise BackendFailure(Failure(FailureKind.SILENT, text, seen_at="starting"))

    @property
    def _primary(self) -> Runtime:
        return self._broker.policy.runtimes[self._broker.selected]

    async def _call(self, frontend: "Frontend", runtime: Runtime, method: str, params: dict[str, Raw]) -> Raw:
        """Ask a backend outside of any session: one that is open for one, else one opened for this."""
        for session in self._broker.sessions.values():
            standby = session.open_standby(runtime.candidate.backend)
            if standby is None or standby.backend is None or standby.runtime.fingerprint != runtime.fingerprint:
                continue
            return await self._asked(runtime, standby.backend, method, params)
        async with self._probing(runtime, frontend.whom) as backend:
            return await self._asked(runtime, backend, method, params)

    async def _asked(self, runtime: Runtime, backend: Backend, method: str, params: dict[str, Raw]) -> Raw:
        with within(self._broker.clock, ANSWER_LIMIT_S):
            return await backend.call(method, params)
        text = f"{runtime.candidate.backend} did not answer {method} within {ANSWER_LIMIT_S:g} s"
        raise BackendFailure(Failure(FailureKind.SILENT, text))


def _opening_limit_s(runtime: Runtime) -> float:
    """How long it may take until it can be asked; a limit that is off is not off for who waits here."""
    own, usual = runtime.limits, Limits()
    phases = ((own.leasing, usual.leasing), (own.starting, usual.starting), (own.opening, usual.opening))
    return sum(mine or common or 0.0 for mine, common in phases)
