"""Sessions that nobody works with: thousands of them must not cost thousands of descriptors and tails."""

from typing import TYPE_CHECKING

from acp_broker.core.names import SessionId

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.session import Session

# How long an idle session may keep what it does not need: its next prompt is some microseconds slower without it.
DOZE_EVERY_S = 60.0
# Closed sessions that a prompt finds in memory; older ones are taken up from the disk, by load or resume.
MOST_CLOSED = 1_000


class Asleep:
    """One per broker."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        # Those that were closed while nobody attended them, the one closed last behind.
        self._closed: dict[SessionId, None] = {}

    async def let_doze(self) -> None:
        """Runs until it is cancelled."""
        while True:
            await self._broker.clock.sleep(DOZE_EVERY_S)
            for session in tuple(self._broker.sessions.values()):
                session.repose.doze()

    def closed(self, session: "Session") -> None:
        """It sleeps, and nobody attends it: of many such sessions the disk remembers the oldest well enough."""
        self._closed.pop(session.id, None)
        self._closed[session.id] = None
        while len(self._closed) > MOST_CLOSED:
            oldest = next(iter(self._closed))
            del self._closed[oldest]
            self._leave_to_the_disk(oldest)

    def _leave_to_the_disk(self, name: SessionId) -> None:
        sessions = self._broker.sessions
        asleep = sessions.get(name)
        if asleep is None or asleep.log.is_pending or asleep.fitting.is_busy:
            return
        if asleep.repose.is_closed and not asleep.log.readers:
            del sessions[asleep.id]
            self._broker.tasks.start_soon(asleep.end)
