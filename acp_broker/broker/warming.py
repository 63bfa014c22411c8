"""Opening again what an edit of config.json has closed, some sessions at a time.

One save must not start a hundred agents at once.
"""

from collections import deque
from typing import TYPE_CHECKING

from acp_broker.broker.limit import within

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.session import Session

AT_ONCE = 4


class Warming:
    """One per broker. A session whose turn comes before is opened by that turn, as ever."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._waiting: deque[Session] = deque()
        self._tasks = 0

    def soon(self, session: "Session") -> None:
        """Open the selected backend of this session, once there is room."""
        self._waiting.append(session)
        if self._tasks < AT_ONCE:
            self._tasks += 1
            self._broker.tasks.start_soon(self._warm)

    async def _warm(self) -> None:
        while self._waiting:
            session = self._waiting.popleft()
            if session.repose.is_closed or self._broker.is_stopping:
                continue
            standby = session.warm()
            # One that hangs makes way after a while.
            with within(self._broker.clock, self._broker.policy.session_new_s):
                await standby.opened()
        self._tasks -= 1
