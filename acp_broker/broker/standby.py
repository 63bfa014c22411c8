"""One backend of one session, opened: started with the session or when first needed, kept open between turns.

    closed --warm/join--> opening --> open --close--> closing --> closed      (by us, or by an idle limit)
                                       '------- its own death ------^

A runtime that dies between turns is opened again after a pause, longer each time, so that the session stays warm; a
turn that comes first opens it at once. Opening that fails stays failed until somebody joins again. What is closing
takes no turn any more: who wants it then waits for its end, and gets a new one.
"""

from collections.abc import Callable, Mapping
from itertools import count

from anyio import create_task_group
from msgspec.structs import replace

from acp_broker.broker.alarm import Alarm
from acp_broker.broker.guard import Tasks, guarded
from acp_broker.broker.memory import Knows
from acp_broker.broker.opening import Opening, OpeningTools
from acp_broker.broker.runtime import REAP_AFTER_S, Leased, Runtime
from acp_broker.broker.whom import Nobody, Whom
from acp_broker.clock import Clock
from acp_broker.contract import Backend, Client, SessionSetup
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.redact import without
from acp_broker.errors import BackendFailure
from acp_broker.observe.log import Log
from acp_broker.wire import agent

# One number per opening in this process: what tells one life of a runtime from another (see `ids`).
_LIVES = count(1)


class Standby:
    """Opens, keeps and closes one runtime for one session. `life` is the number of its latest opening."""

    def __init__(
        self, runtime: Runtime, setup: SessionSetup | None, whom: Whom, tasks: Tasks, clock: Clock, log: Log
    ) -> None:
        self.runtime = runtime
        self.setup = setup
        self.whom = whom
        self.between: Client = Nobody()
        # Called as soon as it is open.
        self.on_open: Callable[[Backend], None] | None = None
        self.clock = clock
        self.log = log
        self.backend: Backend | None = None
        # Whether its latest attempt failed: what its runtime still says of that turn is nobody's.
        self.has_lost = False
        self.life = 0
        # Which of its profile's it is opened with, and what it was opened with last.
        self.credential = 0
        self.leased = Leased()
        self.runtime_session: str | None = None
        self.remembered: Callable[[Standby], None] = _nothing
        # What its latest turn is said to have used.
        self.usage = b""
        # What its runtime remembers of the session.
        self.knows = Knows()
        self._tasks = tasks
        self._opening: Opening | None = None
        self._failure: Failure | None = None
        # Whether its runtime can take up its session in another life.
        self._can_come_back = False
        # Opens it again after a death, or closes it when it was idle for long.
        self._alarm = Alarm(clock)
        self._deaths = 0
        self._ended = False
        self._is_asleep = True

    def warm(self) -> None:
        """Begin to open, unless it is open or opening; what is closing opens again."""
        self._is_asleep = False
        if self._opening is not None and self._opening.close.is_set():
            self._opening.opens_again = True
        elif self._opening is None and not self._ended:
            self._alarm.put_off()
            self.life = next(_LIVES)
            if self.runtime_session is None:  # it has none that it could come back to
                self.knows.forget()
            self._opening = opening = Opening(self.runtime.fingerprint)
            self._tasks.start_soon(self._live, opening)

    def take(self) -> Backend | None:
        """The backend, if it is open: from now on it is not idle."""
        self._alarm.put_off()
        return self.backend

    async def join(self, attempt: Client) -> Backend:
        """The open backend; opens it first where needed and tells `attempt` the phases. Raises BackendFailure.

        Cancelled, it leaves the opening alone: `abandon` ends it.
        """
        while self.take() is None:
            if self._ended:
                raise BackendFailure(Failure(FailureKind.CANCELLED, "its session has ended", seen_at="leasing"))
            self.warm()
            opening = self._opening
            assert opening is not None
            if opening.close.is_set() or opening.done.is_set():  # on its way out, by us or by itself
                await opening.closed.wait()
            else:
                await opening.follow(attempt)
        assert self.backend is not None
        return self.backend

    async def opened(self) -> Failure | None:
        """Wait until the opening under way, or the one that follows it, has ended; how the latest failed, or None."""
        while (opening := self._opening) is not None:
            await opening.done.wait()
            if not opening.opens_again:
                return opening.failure
            await opening.closed.wait()
        return self._failure

    @property
    def pid(self) -> int | None:
        """Of the child that it has, if there is one."""
        return self._opening.pid if self._opening is not None else None

    @property
    def is_stale(self) -> bool:
        """Whether it works with other folders or MCP servers than its session has by now, or as another runtime."""
        return self._opening is not None and self._opening.is_stale(self.setup, self.runtime.fingerprint)

    @property
    def is_shut(self) -> bool:
        """Whether nothing of it is open, opening or closing."""
        return self._opening is None

    @property
    def is_asleep(self) -> bool:
        """Whether it was closed, and nobody has asked for it since."""
        return self._is_asleep

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the runtime's child, but for its profile's secret."""
        return self.runtime.environment(self.whom.environ, None)

    def close(self) -> None:
        """Begin to end an opening or an open runtime; nothing opens it again but `warm` and `join`."""
        self._alarm.stop()
        self._is_asleep = True
        opening = self._opening
        if opening is not None:
            self.backend = None
            opening.opens_again = False
            opening.close.set()
            if not opening.done.is_set():
                opening.scope.cancel()

    async def abandon(self) -> None:
        """Close, and wait until nothing of it is left."""
        opening = self._opening
        self.close()
        if opening is not None:
            await opening.closed.wait()

    async def shut(self) -> None:
        """Wait until what is closing is closed."""
        if self._opening is not None:
            await self._opening.closed.wait()

    async def end(self) -> None:
        """Abandon for good: nothing opens it again."""
        self._ended = True
        await self.abandon()

    def configure(self, runtime: Runtime) -> None:
        """Open this from now on. Another than before has no session that it could come back to."""
        if runtime.fingerprint != self.runtime.fingerprint:
            self.runtime_session = None
            self.knows.forget()
        self.runtime = runtime

    def remember(self, runtime_session: str) -> None:
        """The runtime has begun a session of its own: nothing of ours is in it yet."""
        self.runtime_session = runtime_session
        self.knows.forget()
        self.remembered(self)

    def trace(self, event: str, **fields: str | float | None) -> None:
        """One line in the broker's log, with session and backend."""
        session = self.setup.session if self.setup is not None else None
        told = {name: self._hushed(one) if isinstance(one, str) else one for name, one in fields.items()}
        self.log(event, session=session, backend=self.runtime.candidate.backend, **told)

    def hushed(self, failure: Failure) -> Failure:
        """What its runtime said, without the credential that it was given: providers quote what they refuse."""
        code = None if failure.code is None else self._hushed(failure.code)
        return replace(failure, text=self._hushed(failure.text), code=code)

    def _hushed(self, text: str) -> str:
        return without(self.leased.secret, text)

    def elicited(self) -> None:
        """The runtime wanted something of a person: if it then does not open, it lacks a login."""
        if self._opening is not None:
            self._opening.has_elicited = True

    def refused(self) -> None:
        """Its credential was refused: what is opened next has another, where there may be another by now."""
        if self.leased.distrust():
            self.close()

    def use(self, credential: int) -> None:
        """A turn begins with this credential: open it anew if it has another, if that has ended, or if there is a newer
        one and nothing is lost."""
        leased = self.leased
        if credential != self.credential:
            self.credential = credential
            self.close()
        if self.backend is not None and (leased.is_spent() or (self._can_come_back and leased.is_outdated())):
            self.trace("credential_outdated")
            self.close()

    def rest(self) -> None:
        """A turn is over: close it after the idle limit, if it can come back with what it knows."""
        if self.backend is not None:
            self._deaths = 0
            self._close_when_idle()

    async def _live(self, opening: Opening) -> None:
        died: str | Failure | None = None
        try:
            with opening.scope:
                died = await guarded(self._hold_open(opening), self.log)
        finally:
            # Also when all of the broker's tasks are cancelled: its end waits for this one's.
            self._over(opening, died)

    def _over(self, opening: Opening, died: str | Failure | None) -> None:
        self.backend = None
        self._opening = None
        was_open = opening.done.is_set()
        if isinstance(died, Failure):
            died = self.hushed(died)
            lacks_login = opening.has_elicited and not was_open
            opening.failure = replace(died, kind=FailureKind.AUTH_MISSING) if lacks_login else died
        elif not was_open:
            opening.failure = Failure(FailureKind.CANCELLED, "the opening was given up", seen_at=opening.phase)
        self._failure = opening.failure
        opening.done.set()
        opening.closed.set()
        if opening.opens_again:
            self.warm()
        elif was_open and died is not None and not opening.close.is_set():
            self._died(died)

    async def _hold_open(self, opening: Opening) -> str | None:
        """Returns why the runtime died, or None when it was closed."""
        reason: str | None = None
        self.leased = await self.runtime.lease(self.whom.environ, self.credential)
        async with self.runtime.open(OpeningTools(self, opening)) as backend:
            self.backend = backend
            about = backend.about
            # One without a memory has nothing to lose.
            self._can_come_back = about.has_no_memory or agent.initialized(about.initialized).can_come_back
            if self.on_open is not None:
                self.on_open(backend)
            if opening.listener is None:
                self._close_when_idle()
            opening.done.set()

            async def watch() -> None:
                nonlocal reason
                reason = await backend.gone()
                group.cancel_scope.cancel()

            async with create_task_group() as group:
                group.start_soon(watch)
                await opening.close.wait()
                group.cancel_scope.cancel()
            self.backend = None
        return reason

    def _died(self, why: str | Failure) -> None:
        text = why.text if isinstance(why, Failure) else why
        pauses = self.runtime.restart_backoff_s
        pause = pauses[min(self._deaths, len(pauses) - 1)]
        self._deaths += 1
        self._alarm.put_off()
        self.trace("backend_died", why=text, opens_again_in_s=None if self._ended else pause)
        if not self._ended:
            self._alarm.set(self.clock.now() + pause, self.warm)

    def _close_when_idle(self) -> None:
        if self._can_come_back:
            self._alarm.set(self.clock.now() + REAP_AFTER_S, self._reap)

    def _reap(self) -> None:
        self.trace("backend_idle_closed")
        self.close()


def _nothing(_standby: Standby) -> None:
    """Nobody wants to know."""
