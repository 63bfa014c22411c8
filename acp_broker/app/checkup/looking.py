"""Opening every backend of the chain once, as a session would, and seeing how it goes.

No broker runs for it: nothing is learnt, logged or kept in the state folder, and no session of the user's is touched.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from anyio import CancelScope, CapacityLimiter, create_task_group
from msgspec import Raw, Struct
from msgspec.structs import replace

from acp_broker import __version__
from acp_broker.app.checkup.turn import Turn, take
from acp_broker.app.checkup.watch import Watch
from acp_broker.app.policy import policy
from acp_broker.app.vault import opened
from acp_broker.broker.guard import Tasks
from acp_broker.broker.limit import within
from acp_broker.broker.policy import Policy
from acp_broker.broker.runtime import Runtime
from acp_broker.broker.standby import Standby
from acp_broker.broker.whom import Whom
from acp_broker.clock import Clock, SystemClock
from acp_broker.config import Config, state_dir
from acp_broker.contract import About, Backend, Looked, Looks, SessionSetup
from acp_broker.core.failures import Failure, Spends, spends
from acp_broker.core.names import BackendId, SessionId
from acp_broker.edge import lookups
from acp_broker.edge.household import Household
from acp_broker.errors import BackendFailure, RpcError
from acp_broker.wire import agent, jsonrpc
from backends.acp import AcpConfig

# Agents are some 300 MB each, and start the slower the more of them start at once.
MOST_AT_ONCE = 4
# An agent that keeps its empty session annoys nobody for long; one that hangs while it forgets it would.
FORGET_S = 2.0
# What an editor in a terminal can do. Without files and terminals: nobody would answer.
_CAPABILITIES = Raw(b'{"auth":{"terminal":true}}')
_INFO = jsonrpc.encode({"name": "acp-broker check", "version": __version__})
_SESSION = SessionId("acp-broker-check")


class Refused(Struct, frozen=True):
    """A credential of its profile, by number, and how it failed with it."""

    credential: int
    failure: Failure


class Look(Struct, frozen=True):
    """What was seen of one backend. Seconds; None: it did not get so far.

    `failure` is why no session could be opened in it. `about` is what it said of itself as far as it came. `refused`
    are credentials that failed before the one that it was looked at with. `provider` is what the provider of one
    that asks it itself has shown, unless a turn has shown more.
    """

    started_s: float | None = None
    opened_s: float | None = None
    failure: Failure | None = None
    about: About = About()
    turn: Turn | None = None
    provider: Looked | None = None
    refused: tuple[Refused, ...] = ()

    @property
    def fault(self) -> Failure | None:
        """Why it cannot answer."""
        told = self.turn or self.provider
        return self.failure or (told.failure if told is not None else None)


class Looking:
    """Looks at backends of one chain; made by `looking`."""

    def __init__(
        self, config: Config, policy: Policy, environ: Mapping[str, str], folder: Path, tasks: Tasks, clock: Clock
    ) -> None:
        self._config = config
        self._policy = policy
        self._whom = Whom(_CAPABILITIES, _INFO, environ=environ)
        self._folder = folder
        self._tasks = tasks
        self._clock = clock
        self._places = CapacityLimiter(MOST_AT_ONCE)

    def environment(self, name: BackendId) -> Mapping[str, str]:
        """Of its child, but for its profile's secret."""
        return self._policy.runtimes[name].environment(self._whom.environ, None)

    async def look(self, name: BackendId, *, takes_turn: bool) -> Look:
        """Open it in a folder of its own, and close it; nothing of it is left, whatever happened."""
        runtime = self._policy.runtimes[name]
        setup, refused = SessionSetup(_SESSION, self._folder_of(name)), list[Refused]()
        async with self._places:
            look = await self._opened(runtime, setup, takes_turn=takes_turn)
            for number in range(1, runtime.credentials):
                if look.fault is None or spends(look.fault.kind) is not Spends.PROFILE:
                    break
                refused.append(Refused(number - 1, look.fault))
                look = await self._opened(runtime, setup, number, takes_turn=takes_turn)
            if look.failure is not None and look.failure.seen_at == "opening":
                # It has introduced itself, and opens no session: what it said is worth a second start.
                introduced = await self._opened(runtime, None, takes_turn=False)
                look = replace(look, started_s=introduced.started_s, about=introduced.about)
            return replace(look, refused=tuple(refused))

    def _folder_of(self, name: BackendId) -> str:
        """An empty one; on another machine, where we can make none, the one that each has."""
        settings = self._config.backends[name]
        if isinstance(settings, AcpConfig) and settings.url is not None:
            return "/"
        folder = self._folder / name
        folder.mkdir()
        return str(folder)

    async def _opened(
        self, runtime: Runtime, setup: SessionSetup | None, credential: int = 0, *, takes_turn: bool
    ) -> Look:
        standby = Standby(runtime, setup, self._whom, self._tasks, self._clock, _unheard)
        standby.use(credential)
        limits = runtime.known_limits() if runtime.known_limits is not None else runtime.limits
        watch = Watch(self._clock, limits)
        try:
            with watch.running("leasing"):
                backend = await standby.join(watch)
            if watch.failure is not None:
                return Look(failure=watch.failure)
            turn = await take(backend, self._clock, limits) if takes_turn else None
            if turn is not None and turn.failure is not None:
                turn = replace(turn, failure=standby.hushed(turn.failure))
            looked = await backend.look() if isinstance(backend, Looks) and (turn is None or turn.failure) else None
            if looked is not None and looked.failure is not None:
                looked = replace(looked, failure=standby.hushed(looked.failure))
            await self._forget(backend)
            started_s, opened_s = watch.lasted("starting"), watch.lasted("opening")
            return Look(started_s, opened_s, about=backend.about, turn=turn, provider=looked)
        except BackendFailure as error:
            has_started = watch.lasted("opening") is not None
            return Look(watch.lasted("starting") if has_started else None, failure=error.failure)
        finally:
            with CancelScope(shield=True):
                await standby.end()

    async def _forget(self, backend: Backend) -> None:
        """Take the session back, where the agent can: its user would find it in their list."""
        if agent.initialized(backend.about.initialized).can.session.delete is None:
            return
        with within(self._clock, FORGET_S):
            try:
                await backend.call("session/delete", {"sessionId": jsonrpc.encode(_SESSION)})
            except (RpcError, BackendFailure):
                return


@asynccontextmanager
async def looking(config: Config, environ: Mapping[str, str]) -> AsyncIterator[Looking]:
    """Use it within a task group of your own; leaving it ends everything that it has started. Raises UsageError."""
    lookups.apart()
    clock, most_at_once = SystemClock(), config.secrets.resolution.max_provider_concurrency
    with _scratch() as folder:
        async with (
            Household(_unheard) as household,
            opened(household.spawn, environ, clock, most_at_once, state_dir(environ), _unheard) as vault,
            create_task_group() as group,
        ):
            spawn = partial(household.spawn, max_line_bytes=config.limits.max_message_bytes)
            tasks = Tasks(group, _unheard)
            yield Looking(config, policy(config, spawn, vault), environ, Path(folder), tasks, clock)


def _scratch() -> TemporaryDirectory[str]:
    # Agents name folders without links; on macOS the one for temporary files is behind one.
    place = Path(gettempdir()).resolve()
    return TemporaryDirectory(prefix="acp-broker-check-", dir=place, ignore_cleanup_errors=True)


def _unheard(event: str, **fields: object) -> None:
    """What would be logged is seen by whoever looks."""
