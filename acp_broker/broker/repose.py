"""How a session comes to rest: closed by a frontend, or left alone by all of them. It stays loadable.

awake --begin--> its turn ends, its backends are closed --> closed, and asleep once nobody attends it either
  ^                                                            |
  '------------------ prompt, load, resume --------------------'

One whose backends were closed for being idle falls asleep as well, and nobody notices.
"""

from typing import TYPE_CHECKING

from anyio import Event

from acp_broker.broker.limit import within
from acp_broker.broker.runtime import REAP_AFTER_S
from acp_broker.clock import Timer

if TYPE_CHECKING:
    from acp_broker.broker.session import Session


class Repose:
    """One per session. `is_closed`: it came to rest, or is about to, and nobody has taken it up since."""

    def __init__(self, session: "Session") -> None:
        self.is_closed = False
        self._session = session
        self._under_way: Event | None = None
        self._timer: Timer | None = None
        self._is_over = False

    @property
    def is_under_way(self) -> bool:
        """Whether its backends are being closed: prompts wait until they are."""
        return self._under_way is not None

    def begin(self) -> Event:
        """ACP `session/close`: cancel what runs or waits now, then close every backend; set once that is done.

        A prompt that comes meanwhile is none of it: it waits for the end, and takes the session up again.
        """
        self._session.prompts.cancel()
        self.is_closed = True
        if self._under_way is None:
            self._under_way = Event()
            self._session.tasks.start_soon(self._close, self._under_way)
        return self._under_way

    def after(self, seconds: float) -> None:
        """Nobody attends it: close it in so many seconds unless somebody does by then, or a turn still runs."""
        self._disarm()
        clock = self._session.clock
        self._timer = None if self._is_over else clock.call_at(clock.now() + seconds, self._close_if_unattended)

    def turn_over(self) -> None:
        """Its client was lost in the middle of the turn: it has as long again to come back."""
        if not self._session.log.readers:
            self.after(REAP_AFTER_S)

    def doze(self) -> None:
        """Keep of an idle session what it needs to go on, and no more."""
        session = self._session
        if session.turn is not None or session.prompts.lease.is_awaited or session.log.is_at_rest:
            return
        session.memory.doze()
        if all(standby.is_shut for standby in session.standbys):
            self.sleep()
        else:
            session.log.forget()

    def sleep(self) -> None:
        """Keep nothing of a session that has no backend open: no task, no descriptor, no words. It wakes by itself."""
        session = self._session
        session.attempts.stop()
        session.alarm.stop()
        session.last = None
        if not session.prompts.lease.is_awaited:  # what was written elsewhere is being read under it
            session.log.rest()
        if self.is_closed and not session.log.readers:
            session.broker.asleep.closed(session)

    def end(self) -> None:
        """Nothing more is to come."""
        self._is_over = True
        self._disarm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _close(self, closed: Event) -> None:
        session = self._session
        with within(session.clock, session.broker.policy.leave_s):
            await session.idle()
        await session.standbys_closed()
        self._under_way = None
        closed.set()
        if not self.is_closed:
            session.warm()
        elif not session.log.readers:
            self.sleep()
        session.prompts.next()

    def _close_if_unattended(self) -> None:
        self._timer = None
        session = self._session
        if not session.log.readers and session.turn is None and not session.prompts.waiting and not self.is_closed:
            session.trace("session_unattended_closed", session=session.id)
            self.begin()
