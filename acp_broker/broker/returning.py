"""ACP's `session/load` and `session/resume`: a client takes up a session that is there, in memory or on the disk."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from acp_broker.broker import numbers, shapes
from acp_broker.broker.numbers import Seen
from acp_broker.broker.params import Then, checked, others, params_of, seen, session_of
from acp_broker.broker.replay import replay_frames
from acp_broker.contract import SessionSetup
from acp_broker.core.names import SessionId
from acp_broker.errors import INVALID_PARAMS, RpcError
from acp_broker.store.reading import numbered_records
from acp_broker.wire import jsonrpc
from acp_broker.wire.jsonrpc import Request

if TYPE_CHECKING:
    from acp_broker.broker.frontend import Frontend
    from acp_broker.broker.session import Session

# Bytes of a log that is read through count for less than those that are sent.
READ_AS_ONE = 4

_Handler = Callable[["Frontend", Request], "Raw | Awaitable[Raw | Then]"]


def load(frontend: "Frontend", request: Request) -> Awaitable[Raw | Then]:
    """Replay the session from our log, then answer; then go on from where the replay ended.

    What the client has seen already, by its numbers, is left out.
    """
    if (absent := _absent(frontend, request)) is not None:
        return _revived(load, frontend, request, absent)
    session, known = _reopened(frontend, request)
    after = known.number if known is not None else -1
    shown = frontend.outbox.hold(session.id, session.log, after)
    frontend.broker.asks.attended(session.id, frontend.number)

    async def loaded() -> Then:
        try:
            await frontend.replay(_past(frontend, session, known, shown))
        except BaseException:
            frontend.outbox.release(session.id)
            raise
        return Then(_result(frontend, session, max(after, session.log.by_number.offset(shown) - 1)), go_on)

    def go_on() -> None:
        frontend.outbox.release(session.id)
        if frontend.can.numbers:
            session.prompts.tell(frontend, running=False)

    return loaded()


def resume(frontend: "Frontend", request: Request) -> Awaitable[Raw | Then] | Raw:
    """Go on from here; or, by numbers, from where the client has seen it, which it is shown after the answer."""
    if (absent := _absent(frontend, request)) is not None:
        return _revived(resume, frontend, request, absent)
    session, known = _reopened(frontend, request)
    if not frontend.can.numbers:
        frontend.attend(session)
        return jsonrpc.encode(session.settings.members())
    position = frontend.outbox.position(session.id)
    if position is None:
        position = session.log.shown
    here = known or Seen(session.log.by_number.offset(position) - 1, position)

    async def resumed() -> Then:
        if known is not None:  # what it is shown is read from the file
            await frontend.pay((session.log.shown - known.position) // READ_AS_ONE)
        result = _result(frontend, session, here.number)
        return Then(result, lambda: frontend.attend(session, here, is_back=known is not None))

    return resumed()


def _past(frontend: "Frontend", session: "Session", known: Seen | None, shown: int) -> Iterable[bytes]:
    """The session up to position `shown`, for a client that has seen some of it."""
    if not frontend.can.numbers:
        return replay_frames(session.log.records(shown), session.id)
    start, after = (0, -1) if known is None else (session.log.by_number.offset(known.position), known.number)
    past = numbered_records(session.log.path, start, session.log.by_number.offset(shown))
    return numbers.replay_frames(past, session.id, after)


def _result(frontend: "Frontend", session: "Session", number: int) -> Raw:
    """The answer: the session's settings, and up to which number the client has seen it by now."""
    members = session.settings.members()
    return jsonrpc.encode({**members, "_meta": {"acp-broker": {"seq": number}}} if frontend.can.numbers else members)


def _absent(frontend: "Frontend", request: Request) -> SessionId | None:
    """The session that a request names, if it is in no memory."""
    name = SessionId(msgspec.json.decode(params_of(request), type=shapes.OfSession).session)
    return None if name in frontend.broker.sessions else name


async def _revived(handler: _Handler, frontend: "Frontend", request: Request, name: SessionId) -> Raw | Then:
    """Answer once the session is in memory, if there is one."""
    async with frontend.costly:
        await frontend.pay(await frontend.broker.revival.revive(name, frontend) // READ_AS_ONE)
    session_of(frontend, name)  # raises for one that is on no disk either
    outcome = handler(frontend, request)
    return outcome if isinstance(outcome, Raw) else await outcome


def _reopened(frontend: "Frontend", request: Request) -> "tuple[Session, Seen | None]":
    params = msgspec.json.decode(params_of(request), type=shapes.Reopen)
    session = session_of(frontend, params.session)
    if session.turn is None:  # who comes back for the end of a turn opens nothing
        frontend.broker.check_open()
    cwd, directories = checked(params)
    if cwd != session.setup.cwd:
        raise RpcError(INVALID_PARAMS, f"session {session.id} works in {session.setup.cwd!r}, not in {cwd!r}")
    rest = others(request, "sessionId", "cwd", "mcpServers", "additionalDirectories")
    known = seen(frontend, session, rest)
    frontend.claim(session.id)
    session.reopen(frontend, SessionSetup(session.id, cwd, directories, params.mcp_servers, rest))
    return session, known
