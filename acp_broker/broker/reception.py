"""What a frontend asks before, or beside, any session: who we are, logins, extensions of its primary.

A backend is opened without a session for it (a probe): to learn what it can do, or to log it in.
"""

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

import msgspec
from anyio import Event, create_task_group
from msgspec import Raw

from acp_broker.broker import introduction
from acp_broker.broker.learnt import Learnt, Lesson
from acp_broker.broker.limit import within
from acp_broker.broker.runtime import Runtime
from acp_broker.broker.standby import Nobody, Standby, Whom
from acp_broker.contract import Backend
from acp_broker.core.names import BackendId
from acp_broker.errors import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError
from acp_broker.wire import agent, jsonrpc

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.frontend import Frontend
    from acp_broker.broker.session import Session


class Reception:
    """One per broker."""

    def __init__(self, broker: "Broker") -> None:
        # Logins that succeeded: backend -> the agent's own method id, repeated in each of its new processes.
        self.logins: dict[BackendId, str] = {}
        self._broker = broker
        self._learnt = Learnt(broker.folder, broker.log)
        self._probes: dict[BackendId, Standby] = {}

    def introduction(self, frontend: "Frontend") -> Awaitable[Raw] | Raw:
        """The result of `initialize`: honest about the primary, at once where it is known from earlier runs."""
        broker = self._broker
        if self._learnt.of(broker.policy.runtimes[broker.selected], frontend.whom.capabilities) is not None:
            return self._introduced(frontend)
        return self._introduce(frontend)

    def learn(self, runtime: Runtime, whom: Whom, backend: Backend) -> None:
        """Keep what an opened backend said of itself, for the next `initialize` and `session/new`."""
        members = msgspec.json.decode(backend.about.opened, type=dict[str, Raw])
        members.pop("sessionId", None)
        lesson = Lesson(backend.about.initialized, jsonrpc.encode(members))
        if self._learnt.keep(runtime, whom.capabilities, lesson):
            self._broker.tasks.start_soon(self._learnt.save)

    def learnt_opening(self, runtime: Runtime, whom: Whom) -> Raw:
        """What this backend answered to `session/new` in an earlier run; an empty object where there was none."""
        lesson = self._learnt.of(runtime, whom.capabilities)
        return lesson.opened if lesson is not None else Raw(b"{}")

    def known(self, whom: Whom, backend: BackendId) -> agent.Initialized | None:
        """What a backend said it can do, towards such a frontend; None where it was never asked."""
        lesson = self._learnt.of(self._broker.policy.runtimes[backend], whom.capabilities)
        return agent.initialized(lesson.initialized) if lesson is not None else None

    async def auth_methods(self, backend: BackendId) -> tuple[Raw, ...]:
        """The authentication methods that a backend advertises to a terminal. Raises BackendFailure."""
        probe = self._probe(backend, Whom(Raw(b'{"auth":{"terminal":true}}')))
        try:
            opened = await probe.join(Nobody())
            return agent.initialized(opened.about.initialized).auth_methods
        finally:
            self._broker.tasks.start_soon(probe.abandon)

    async def authenticate(self, frontend: "Frontend", method: str, rest: Mapping[str, Raw]) -> Raw:
        """`backend/method`, as `initialize` advertised it: asked of that backend, remembered for its processes."""
        name, _, own = method.partition("/")
        backend = BackendId(name)
        if backend not in self._broker.policy.runtimes or not own:
            raise RpcError(INVALID_PARAMS, f"no authentication method is called {method!r}")
        result = await self._call(frontend, backend, "authenticate", {**rest, "methodId": jsonrpc.encode(own)})
        self.logins[backend] = own
        self._broker.chain.logged_in(self._broker.candidate(backend))
        return result

    async def logout(self, frontend: "Frontend", rest: Mapping[str, Raw]) -> Raw:
        """Concerns the selected backend."""
        self.logins.pop(self._broker.selected, None)
        return await self._call(frontend, self._broker.selected, "logout", dict(rest))

    async def extend(self, frontend: "Frontend", session: "Session | None", method: str, rest: dict[str, Raw]) -> Raw:
        """An extension request: to the backend that serves the session, else to this frontend's primary."""
        if session is None:
            return await self._call(frontend, self._broker.selected, method, rest)
        standby = session.serving()
        failure = await standby.opened()
        if standby.backend is None:
            why = failure.text if failure is not None else "it is not open"
            raise RpcError(METHOD_NOT_FOUND, f"{method}: {standby.runtime.candidate.backend} cannot be asked: {why}")
        return await standby.backend.call(method, rest)

    async def end(self) -> None:
        async with create_task_group() as ending:
            for probe in self._probes.values():
                ending.start_soon(probe.end)

    async def _introduce(self, frontend: "Frontend") -> Raw:
        probe = self._probe(self._broker.selected, frontend.whom)
        is_learnt = Event()
        self._broker.tasks.start_soon(self._learn_from, probe, frontend.whom, is_learnt)
        with within(self._broker.clock, self._broker.policy.learn_s):
            await is_learnt.wait()
        return self._introduced(frontend)

    async def _learn_from(self, probe: Standby, whom: Whom, is_learnt: Event) -> None:
        """Open, listen, close: an agent that only introduced itself must not cost its memory from then on."""
        probe.warm()
        await probe.opened()
        if probe.backend is not None:
            self.learn(probe.runtime, whom, probe.backend)
        is_learnt.set()
        await probe.abandon()

    def _introduced(self, frontend: "Frontend") -> Raw:
        broker = self._broker
        said = {name: self.known(frontend.whom, name) for name in broker.policy.runtimes}
        known = {name: one for name, one in said.items() if one is not None}
        return introduction.result(broker.selected, known, terminal_login=frontend.can.terminal_login)

    def _probe(self, name: BackendId, whom: Whom) -> Standby:
        probe = self._probes.get(name)
        if probe is None:
            probe = self._probes[name] = self._broker.standby(name, None, whom)
        return probe

    async def _call(self, frontend: "Frontend", name: BackendId, method: str, params: dict[str, Raw]) -> Raw:
        """Ask a backend outside of any session: one that is open for one, else one opened for this."""
        for session in self._broker.sessions.values():
            standby = session.open_standby(name)
            if standby is not None and standby.backend is not None:
                return await standby.backend.call(method, params)
        probe = self._probe(name, frontend.whom)
        try:
            backend = await probe.join(Nobody())
            return await backend.call(method, params)
        finally:
            self._broker.tasks.start_soon(probe.abandon)
