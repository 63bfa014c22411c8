"""The lease on a session: the processes that work in it take turns, one turn at a time.

    free --taken--> ours, until the turn is over and nothing waits here, or another process waits for it
    another's --taken--> awaited: prompts wait in the queue, and are refused by name after a limit

Whoever gets the lease and finds that another process has written reads the log again first: a turn begins knowing all
turns before it.
"""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
from anyio import Event

from acp_broker.broker.guard import guarded
from acp_broker.broker.limit import within
from acp_broker.broker.replies import reply_to_failure
from acp_broker.core.failures import Failure
from acp_broker.core.names import TurnId
from acp_broker.errors import BUSY, RpcError, SessionInUse, StoreError
from acp_broker.store import records
from acp_broker.store.past import past

if TYPE_CHECKING:
    from acp_broker.broker.session import Session

# How soon it is looked again whether the other process has let go: at first, and at most.
SOON_S, LATE_S = 0.02, 0.1
# And after it has given way: whoever else waits has looked by then.
WAY_S = 2 * LATE_S


class Lease:
    """One per session."""

    def __init__(self, session: "Session") -> None:
        # Whether prompts wait until the lease is ours, or what was written elsewhere is read.
        self.is_awaited = False
        self._session = session
        # Set once that is known.
        self._known = Event()

    def taken(self) -> bool:
        """Whether a turn may begin; if not, the waiting prompts begin, or are refused, as soon as that is known.

        Raises StoreError for a log that cannot be had at all.
        """
        if self.is_awaited:
            return False
        try:
            has_grown = self._session.log.hold()
        except SessionInUse:
            self._await(has_lease=False)
            return False
        if has_grown:
            self._await(has_lease=True)
        return not has_grown

    def let_go(self) -> None:
        """A turn is over: another process may have it, unless something waits for it here."""
        if not self.is_awaited:
            self._session.log.let_go()

    def give_way(self) -> None:
        """Between two turns here: let another process have it that waits for it, and wait like that one."""
        session = self._session
        if not self.is_awaited and session.broker.folder.awaited.is_elsewhere(session.id):
            session.log.let_go()
            self._await(has_lease=False, after_s=WAY_S)

    def check_free(self) -> None:
        """Raises SessionInUse while another process has it. A log that cannot be had at all is nobody's."""
        try:
            self._session.log.hold()
        except SessionInUse:
            raise
        except StoreError:
            return
        if self._session.turn is None:
            self.let_go()

    async def written(self) -> None:
        """Wait until what was appended to the log is written. Raises RpcError where another process has the lease for
        too long."""
        session, log = self._session, self._session.log
        with within(session.clock, session.broker.policy.session_busy_s):
            while self.is_awaited and log.is_pending:
                await self._known.wait()
        log.commit()
        if log.is_pending:
            text = f"it holds here, but is not kept yet: a turn of this session runs in another process ({log.path})"
            raise RpcError(BUSY, text)

    def wait(self) -> None:
        """Have it as soon as the other process lets go, for what waits to be written."""
        if not self.is_awaited:
            self._await(has_lease=False)

    def _await(self, *, has_lease: bool, after_s: float = SOON_S) -> None:
        self.is_awaited, self._known = True, Event()
        self._session.tasks.start_soon(self._wait, has_lease, after_s)

    async def _wait(self, has_lease: bool, after_s: float) -> None:  # noqa: FBT001 - a task's arguments have no names
        session, known = self._session, self._known
        fault = await guarded(self._ready(has_lease, after_s), session.trace)
        self.is_awaited = False
        if fault is not None:
            why = fault if isinstance(fault, RpcError) else reply_to_failure(fault)
            session.prompts.refuse(why)
        session.prompts.next()
        if session.turn is None:
            self.let_go()
        known.set()

    async def _ready(self, has_lease: bool, after_s: float) -> "RpcError | Failure | None":  # noqa: FBT001
        session = self._session
        has_grown = has_lease
        if not has_lease:
            try:
                has_grown = await self._had(after_s)
            except SessionInUse as error:
                return RpcError(BUSY, str(error))
        if has_grown:
            # What was set here while the other process had it is later than all that it wrote.
            session.log.commit()
            session.absorb(await anyio.to_thread.run_sync(partial(past, session.log.path)))
        return None

    async def _had(self, pause: float) -> bool:
        """Wait for the lease. Raises SessionInUse once that takes too long, StoreError."""
        awaited = self._session.broker.folder.awaited
        awaited.add(self._session.id)
        try:
            return await self._polled(pause)
        finally:
            awaited.remove(self._session.id)

    async def _polled(self, pause: float) -> bool:
        session = self._session
        until = session.clock.now() + session.broker.policy.session_busy_s
        while session.prompts.waiting or session.log.is_pending:
            await session.clock.sleep(pause)
            try:
                return session.log.hold()
            except SessionInUse:
                if session.clock.now() >= until:
                    raise
            pause = min(LATE_S, pause * 1.5)
        return False


def interrupted(session: "Session", turns: Iterable[TurnId]) -> None:
    """Turns without an answer, and nobody has the lease but we: their process has died, and nothing runs them again."""
    at = session.clock.wall()
    for turn in turns:
        told = records.update_frames([records.interruption(session.id, turn)])
        session.log.append(records.line("interrupted", turn=turn, at=at, over=True), told)
    session.log.commit()
