"""Taking a session up again whose log is on the disk and in no memory: its broker ended, or was killed.

What the log says is what is known. A turn without an answer was interrupted: the log says so from now on, its words
stay, and nobody runs it again. The runtimes' own memory of the session is theirs.
"""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
from anyio import Lock
from msgspec import Raw

from acp_broker import __version__
from acp_broker.broker import shapes
from acp_broker.broker.lease import interrupted
from acp_broker.broker.session import Session
from acp_broker.contract import SessionSetup
from acp_broker.core.names import SessionId
from acp_broker.errors import INVALID_PARAMS, RpcError, SessionInUse, StoreError
from acp_broker.store import owned, past, records
from acp_broker.store.log import SessionLog
from acp_broker.wire import jsonrpc

# Sessions in one answer to `session/list`.
PAGE = 100
# What it costs to list one, as bytes of a message: some 7 us.
LISTED_BYTES = 256

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.frontend import Frontend


class Revival:
    """One per broker."""

    def __init__(self, broker: "Broker") -> None:
        # Sessions that are being deleted: nobody finds them any more.
        self.going: set[SessionId] = set()
        self._broker = broker
        # Two frontends may ask for the same session at once; who asks for another one waits for neither.
        self._reading: dict[SessionId, Lock] = {}
        self._listing = Lock()

    async def revive(self, name: SessionId, frontend: "Frontend") -> int:
        """Have the session in memory if there is a log of it; how many bytes of it were read. Raises StoreError."""
        lock = self._reading.setdefault(name, Lock())
        try:
            async with lock:
                return await self._revive(name, frontend)
        finally:
            if not lock.locked():  # else the next who waited for it has it now
                self._reading.pop(name, None)

    async def _revive(self, name: SessionId, frontend: "Frontend") -> int:
        log = None if name in {*self._broker.sessions, *self.going} else self._broker.folder.old_log(name)
        if log is None:
            return 0
        size = log.end
        try:
            # While a turn runs in another process, what is unanswered is so for now.
            is_free = _is_free(log)
            known = await anyio.to_thread.run_sync(partial(past.past, log.path))
            self._take_up(known, log, frontend, is_free=is_free)
        except BaseException:
            log.close()
            raise
        return size

    async def listed(self, frontend: "Frontend", wanted: shapes.List) -> Raw:
        """The result of `session/list`. A cursor names the last session of the page before. Raises StoreError."""
        async with frontend.costly:
            async with self._listing:
                stored = await anyio.to_thread.run_sync(self._broker.folder.sessions)
            await frontend.pay(len(stored) * LISTED_BYTES)
        found = [one for one in stored if wanted.cwd in (None, one.cwd) and one.session not in self.going]
        names = [one.session for one in found]
        if wanted.cursor is not None and wanted.cursor not in names:
            raise RpcError(INVALID_PARAMS, f"no page ends with the cursor {wanted.cursor!r}; list again from the start")
        start = 0 if wanted.cursor is None else names.index(SessionId(wanted.cursor)) + 1
        page = found[start : start + PAGE]
        shown = [_info(one) for one in page]
        more = {"nextCursor": page[-1].session} if start + PAGE < len(found) else {}
        return jsonrpc.encode({"sessions": shown, **more})

    def delete(self, name: SessionId) -> None:
        """Delete a log that is in no memory; none is fine. Raises StoreError; SessionInUse while a turn runs in it."""
        path = None if name in self.going else self._broker.folder.log_path(name)
        if path is not None:
            owned.remove(path)

    def _take_up(self, known: past.Past, log: SessionLog, frontend: "Frontend", *, is_free: bool) -> None:
        broker = self._broker
        session = Session(broker, SessionSetup(known.session, known.cwd, known.directories), log, frontend)
        session.ids.taken(known.ids)
        primary = broker.policy.runtimes[session.settings.backend]
        session.settings.opened(broker.reception.learnt_opening(primary, frontend.whom))
        session.restore_choices(known)
        session.memory.turns, session.memory.kept = known.turns, known.kept
        # One that runs in another process is not interrupted: whoever sends it again here waits for its end.
        session.prompts.restore({key: one for key, one in known.keyed.items() if is_free or one.frame is not None})
        session.is_announced = True
        # As any that nobody works in: whoever has asked for it may be refused.
        session.repose.is_closed = True
        # A turn that runs in another process ends, or dies, unseen: the next one here begins with a look.
        log.is_behind = not is_free
        if is_free:
            self._begin_again(session, known)
        broker.sessions[session.id] = session
        broker.log(
            "session_revived",
            session=session.id,
            interrupted=list(known.unanswered) if is_free and known.unanswered else None,
        )

    def _begin_again(self, session: Session, known: past.Past) -> None:
        """Have the log say that this process goes on with it, and which turns' process has died. Raises StoreError."""
        log = session.log
        opened = {"session": known.session, "cwd": known.cwd, "broker": __version__}
        log.append(records.line("opened", format=records.FORMAT, at=self._broker.clock.wall(), **opened))
        interrupted(session, known.unanswered)
        log.let_go()
        if log.fault is not None:
            raise StoreError(log.fault)


def _is_free(log: SessionLog) -> bool:
    """Take the lease, if no turn runs in another process. Raises StoreError."""
    try:
        log.hold()
    except SessionInUse:
        return False
    return True


def _info(one: past.Listed) -> dict[str, str]:
    """ACP v1 schema, SessionInfo."""
    titled = {"title": one.title} if one.title is not None else {}
    return {"sessionId": one.session, "cwd": one.cwd, **titled, "updatedAt": _iso(one.at)}


def _iso(at: float) -> str:
    """ACP v1 schema, SessionInfo.updatedAt: ISO 8601."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
