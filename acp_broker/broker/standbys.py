"""What one session has opened: a standby per backend that it ever asked for."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from anyio import create_task_group

from acp_broker.broker.between import Between
from acp_broker.broker.runtime import Runtime
from acp_broker.broker.standby import Standby
from acp_broker.core.names import BackendId

if TYPE_CHECKING:
    from acp_broker.broker.session import Session


class Standbys:
    """One per session, which holds the setup that they are opened with."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._known: dict[BackendId, Standby] = {}

    @property
    def all(self) -> tuple[Standby, ...]:
        return tuple(self._known.values())

    def get(self, backend: BackendId) -> Standby | None:
        return self._known.get(backend)

    def of(self, backend: BackendId) -> Standby:
        """Made when first asked for."""
        standby = self._known.get(backend)
        if standby is None:
            session = self._session
            standby = session.broker.standby(session.policy.runtimes[backend], session.setup, session.whom)
            standby.between = Between(session, standby)
            standby.remembered = session.keep_memory
            session.memory.restore(standby)
            standby.on_open = partial(session.selection.heard, standby)
            self._known[backend] = standby
        return standby

    def rest(self) -> bool:
        """A turn is over: what is open is idle. As `renew`."""
        for standby in self._known.values():
            standby.rest()
        return self.renew()

    def set_up(self) -> None:
        """The session's setup has changed, for what opens from now on."""
        for standby in self._known.values():
            standby.setup, standby.whom = self._session.setup, self._session.whom

    def adopt(self, runtimes: Mapping[BackendId, Runtime]) -> None:
        """Open by these from now on. What is open by another is closed, and so is who is not among them any more.

        The one that is opened next waits until the one before it is gone: an agent finds its session let go.
        """
        for name, standby in self._known.items():
            if name in runtimes:
                standby.configure(runtimes[name])
            else:
                standby.close()
        self.renew()

    def renew(self) -> bool:
        """Close what was opened with another setup, or as another runtime; whether there was any."""
        stale = [standby for standby in self._known.values() if standby.is_stale]
        for standby in stale:
            standby.close()
        return bool(stale)

    async def abandon(self) -> None:
        """Close them all, and wait until nothing of them is left."""
        async with create_task_group() as tasks:
            for standby in self._known.values():
                tasks.start_soon(standby.abandon)

    async def end(self) -> None:
        """Abandon them for good."""
        async with create_task_group() as tasks:
            for standby in self._known.values():
                tasks.start_soon(standby.end)
