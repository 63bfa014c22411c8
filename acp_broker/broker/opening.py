"""One try at opening a backend, and the tools that the backend is given for it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from anyio import CancelScope, Event

from acp_broker.clock import Clock
from acp_broker.contract import Child, Client, SessionSetup, Spawn
from acp_broker.core.failures import Failure
from acp_broker.core.names import BackendId, Phase
from acp_broker.errors import BackendFailure

if TYPE_CHECKING:
    from acp_broker.broker.standby import Standby


class Opening:
    """One try at opening. `done` is set when it is open, or when it is not to be: then `failure` says why."""

    def __init__(self, fingerprint: str) -> None:
        self.phase: Phase = "leasing"
        # Of the runtime that it opens.
        self.fingerprint = fingerprint
        # What it was opened with; None until then, and for a probe.
        self.setup: SessionSetup | None = None
        self.done = Event()
        self.close = Event()
        self.closed = Event()
        self.failure: Failure | None = None
        self.listener: Client | None = None
        self.scope = CancelScope()
        self.opens_again = False
        self.has_elicited = False
        self.child: Child | None = None

    @property
    def pid(self) -> int | None:
        """Of its child, while that lives."""
        return self.child.pid if self.child is not None and self.child.returncode is None else None

    def is_stale(self, setup: SessionSetup | None, fingerprint: str) -> bool:
        """Whether a session that is set up like this needs another opening, or the runtime is another by now.

        `_meta` is no reason: a trace id must not cost an agent its memory.
        """
        if self.fingerprint != fingerprint:
            return True
        if self.setup is None or setup is None:
            return False
        has, wants = self.setup, setup
        return (has.additional_directories, has.mcp_servers) != (wants.additional_directories, wants.mcp_servers)

    async def follow(self, attempt: Client) -> None:
        """Wait for its end, and tell `attempt` its phases. Raises BackendFailure."""
        self.listener = attempt
        if self.phase != "leasing":
            attempt.reached(self.phase)
        try:
            await self.done.wait()
        finally:
            self.listener = None
        if self.failure is not None:
            raise BackendFailure(self.failure)


class OpeningTools:
    """contract.Tools for one opening."""

    def __init__(self, standby: "Standby", opening: Opening) -> None:
        self.backend: BackendId = standby.runtime.candidate.backend
        self.clock: Clock = standby.clock
        self.setup = opening.setup = standby.setup
        self.client_capabilities = standby.whom.capabilities
        self.client_info = standby.whom.info
        self.authenticated_by = standby.whom.logins.get(self.backend)
        self.credential = standby.leased.secret
        self.is_token = standby.leased.is_token
        self.projects = standby.leased.projects
        self.environment = standby.runtime.environment(standby.whom.environ, standby.leased.secret)
        self.is_followed = standby.runtime.is_followed
        self.max_message_bytes = standby.runtime.max_message_bytes
        self.spawn: Spawn = self._spawn
        self.between = standby.between
        self._standby = standby
        self._opening = opening

    def reached(self, phase: Phase) -> None:
        self._opening.phase = phase
        if self._opening.listener is not None:
            self._opening.listener.reached(phase)

    def remember(self, runtime_session: str) -> None:
        self._standby.remember(runtime_session)

    def remembered(self) -> str | None:
        return self._standby.runtime_session

    def log(self, event: str, **fields: str | float | None) -> None:
        self._standby.trace(event, **fields)

    async def _spawn(self, command: Sequence[str], *, env: Mapping[str, str], cwd: str | None) -> Child:
        self._opening.child = child = await self._standby.runtime.spawn(command, env=env, cwd=cwd)
        return child
