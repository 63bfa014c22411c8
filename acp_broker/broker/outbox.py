"""One frontend's side of the logs: a cursor per attached session, advanced as fast as the frontend reads.

Agents are never held up by a slow frontend: what it has not read yet is in the session's log, in memory while it
keeps up and in the file when it does not.
"""

from asyncio import get_running_loop
from collections.abc import Callable

from acp_broker.broker.numbers import View
from acp_broker.core.names import SessionId
from acp_broker.edge.channel import Channel
from acp_broker.store.log import SessionLog

# A frontend with more than this unread gets no more until it has read it all: the rest waits in the log.
FULL_BYTES = 256 * 1024
# So much of a log is passed in one go, whatever of it is shown: some milliseconds. Then others have their turn.
AT_ONCE_BYTES = 1024 * 1024


class _Cursor:
    def __init__(self, log: SessionLog, position: int, advance: Callable[[], None], view: View | None) -> None:
        self.log = log
        self.position = position
        self.advance = advance
        self.view = view
        self.is_held = False
        # Whether it goes on by itself, as soon as others had their turn.
        self.goes_on = False


class Outbox:
    """Writes what logs hold for frontend `reader` to its channel, each log in order.

    `moved` is called when a log has gone on that was too long for one go.
    """

    def __init__(self, channel: Channel, reader: int, moved: Callable[[], None] = lambda: None) -> None:
        self._channel = channel
        self._moved = moved
        self._reader = reader
        # Whether what it shows is numbered.
        self.numbers = False
        self._cursors: dict[SessionId, _Cursor] = {}
        # Those that have to wait for the channel: a client may attend a thousand sessions.
        self._waiting: dict[_Cursor, None] = {}
        channel.when_drained(self._drained)

    def attach(self, session: SessionId, log: SessionLog, position: int, after: int = -1) -> None:
        """Show everything of this log from `position` on; attaching again moves the cursor.

        `after`: what has a number up to that is known.
        """
        self.detach(session)

        def advance() -> None:
            self._advance(cursor)

        view = View(session, self._reader, after, log.shown) if self.numbers else None
        cursor = _Cursor(log, position, advance, view)
        self._cursors[session] = cursor
        log.attach(advance, of_records=self.numbers)
        advance()

    def hold(self, session: SessionId, log: SessionLog, after: int = -1) -> int:
        """Show nothing of this log until `release`; returns the position that the frontend has been shown it up to.

        `after`: what has a number up to that is known.
        """
        log.commit()
        cursor = self._cursors.get(session)
        if cursor is None:
            self.attach(session, log, log.shown)
            cursor = self._cursors[session]
        cursor.is_held = True
        if cursor.view is not None:
            cursor.view.after = after
        return cursor.position

    def release(self, session: SessionId) -> None:
        """Go on from where it was held; does nothing for a log that was detached meanwhile."""
        cursor = self._cursors.get(session)
        if cursor is not None:
            cursor.is_held = False
            self._advance(cursor)

    @property
    def sessions(self) -> tuple[SessionId, ...]:
        """The sessions whose logs it shows."""
        return tuple(self._cursors)

    def position(self, session: SessionId) -> int | None:
        """Up to where a log was shown; None for one that is not attached."""
        cursor = self._cursors.get(session)
        return None if cursor is None else cursor.position

    def is_attached(self, session: SessionId) -> bool:
        return session in self._cursors

    def unsent(self, session: SessionId | None = None) -> int:
        """How many bytes of one log, or of all, wait for the frontend to read on."""
        cursors = [cursor for name, cursor in self._cursors.items() if session in (None, name)]
        for cursor in cursors:
            self._advance(cursor)  # past records that show nothing: nobody was told of them
        # A cursor may be ahead of a log that has yet to see what another process has written.
        return sum(max(0, cursor.log.shown - cursor.position) for cursor in cursors)

    def detach(self, session: SessionId) -> None:
        cursor = self._cursors.pop(session, None)
        if cursor is not None:
            cursor.log.detach(cursor.advance)
            cursor.is_held = True
            self._waiting.pop(cursor, None)

    def close(self) -> None:
        for session in tuple(self._cursors):
            self.detach(session)

    def _drained(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for cursor in waiting:
            self._advance(cursor)

    def _advance(self, cursor: _Cursor) -> None:
        channel = self._channel
        until = cursor.position + AT_ONCE_BYTES
        while cursor.position < cursor.log.shown and not (cursor.is_held or cursor.goes_on):
            if cursor.position >= until:
                cursor.goes_on = True
                get_running_loop().call_soon(self._go_on, cursor)
                return
            if channel.pending > FULL_BYTES:
                self._waiting[cursor] = None
                return
            if cursor.view is None:
                position, frames = cursor.log.read(cursor.position, self._reader)
            else:
                position, frames = cursor.view.read(cursor.log, cursor.position)
            if position == cursor.position:
                return
            cursor.position = position
            if frames:
                channel.write(frames)

    def _go_on(self, cursor: _Cursor) -> None:
        cursor.goes_on = False
        self._advance(cursor)
        self._moved()
