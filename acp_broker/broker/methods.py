"""The ACP v1 agent methods that the broker answers: a closed set. One function per method.

A handler returns the result, or None where the answer comes through the session's log (a prompt), or an awaitable
where something has to be waited for. It raises RpcError for what the frontend did wrong; params of the wrong shape
raise msgspec.DecodeError, which becomes -32602.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from acp_broker.broker import shapes
from acp_broker.broker.keys import Key, digest
from acp_broker.broker.replay import replay_frames
from acp_broker.broker.runner import Order
from acp_broker.broker.session import Session
from acp_broker.broker.standby import Whom
from acp_broker.contract import SessionSetup
from acp_broker.core.names import SessionId
from acp_broker.errors import INVALID_PARAMS, INVALID_REQUEST, RESOURCE_NOT_FOUND, RpcError
from acp_broker.wire import acp, client, jsonrpc
from acp_broker.wire.jsonrpc import Notification, Request

if TYPE_CHECKING:
    from acp_broker.broker.frontend import Frontend

EMPTY = Raw(b"{}")
_prompt = msgspec.json.Decoder(shapes.Prompt).decode
_blocks = msgspec.json.Decoder(list[shapes.Block]).decode


class Then(Struct):
    """A result, and what to do once it is sent: nothing of a session may overtake the answer that names it."""

    result: Raw
    then: Callable[[], None]


Handler = Callable[["Frontend", Request], "Raw | Awaitable[Raw | Then] | None"]
Listener = Callable[["Frontend", Notification], None]


def initialize(frontend: "Frontend", request: Request) -> Awaitable[Raw] | Raw:
    """ACP v1, initialization: we speak version 1, whichever is asked for."""
    if frontend.is_initialized:
        raise RpcError(INVALID_REQUEST, "initialize came twice on one connection")
    params = msgspec.json.decode(_params(request), type=shapes.Initialize)
    capabilities = jsonrpc.given(params.capabilities) or EMPTY
    frontend.can = client.declared(capabilities)
    frontend.whom = Whom(
        capabilities, jsonrpc.given(params.info), frontend.broker.reception.logins, frontend.terms.environ
    )
    frontend.is_initialized = True
    return frontend.broker.reception.introduction(frontend)


def new(frontend: "Frontend", request: Request) -> Awaitable[Raw | Then]:
    frontend.broker.check_open()
    params = msgspec.json.decode(_params(request), type=shapes.Open)
    rest = _others(request, "cwd", "mcpServers", "additionalDirectories")
    setup = SessionSetup(frontend.broker.new_id(), *_checked(params), params.mcp_servers, rest)
    if not Path(params.cwd).is_dir():
        raise RpcError(INVALID_PARAMS, f"there is no folder {params.cwd!r}")
    frontend.claim(setup.session)
    session = frontend.broker.new_session(frontend, setup)
    # Updates that come before this answer are in the log: the frontend is shown them after it.
    start = session.log.shown

    async def opened() -> Then:
        result = await frontend.broker.opened(session)
        return Then(result, lambda: frontend.outbox.attach(session.id, session.log, start))

    return opened()


def load(frontend: "Frontend", request: Request) -> Awaitable[Raw | Then]:
    """Replay the session from our log, then answer; then go on from where the replay ended."""
    if (absent := _absent(frontend, request)) is not None:
        return _revived(load, frontend, request, absent)
    session = _reopened(frontend, request)
    shown = frontend.outbox.hold(session.id, session.log)
    frontend.broker.asks.attended(session.id, frontend.number)

    async def loaded() -> Then:
        try:
            await frontend.replay(replay_frames(session.log.records(shown), session.id))
        except BaseException:
            frontend.outbox.release(session.id)
            raise
        return Then(jsonrpc.encode(session.settings.members()), lambda: frontend.outbox.release(session.id))

    return loaded()


def resume(frontend: "Frontend", request: Request) -> Awaitable[Raw | Then] | Raw:
    if (absent := _absent(frontend, request)) is not None:
        return _revived(resume, frontend, request, absent)
    session = _reopened(frontend, request)
    frontend.attend(session)
    return jsonrpc.encode(session.settings.members())


def list_sessions(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    """ACP v1, session list: those on the disk, the one written last first, in pages."""
    return frontend.broker.revival.listed(msgspec.json.decode(_params(request), type=shapes.List))


def close(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    """It is about what came before it: it cancels nothing that comes while it waits."""
    session = _session(frontend, msgspec.json.decode(_params(request), type=shapes.OfSession).session)
    rested = session.repose.begin()

    async def closed() -> Raw:
        await rested.wait()
        if await frontend.caught_up(session.id) and session.repose.is_closed:
            frontend.outbox.detach(session.id)
            session.repose.sleep()
        return EMPTY

    return closed()


def delete(frontend: "Frontend", request: Request) -> Awaitable[Raw] | Raw:
    """ACP v1, session delete: deleting what is not there succeeds."""
    name = SessionId(msgspec.json.decode(_params(request), type=shapes.OfSession).session)
    session = frontend.broker.sessions.pop(name, None)
    if session is None:
        frontend.broker.revival.delete(name)
        return EMPTY

    frontend.broker.revival.going.add(name)

    async def deleted() -> Raw:
        await frontend.broker.delete(session)
        return EMPTY

    return deleted()


def prompt(frontend: "Frontend", request: Request) -> None:
    """The answer comes through the session's log, after everything that belongs before it."""
    frontend.broker.check_open()
    params = _prompt(_params(request))
    kinds = frozenset(block.type for block in _blocks(params.prompt))
    session = _session(frontend, params.session)
    rest = _others(request, "sessionId", "prompt")
    name = shapes.idempotency_key(rest["_meta"]) if "_meta" in rest else None
    key = Key(name, digest(params.prompt)) if name is not None else None
    order = Order(frontend.broker.new_turn(), frontend.number, request.id, params.prompt, kinds, rest, key)
    frontend.attend(session)
    session.prompts.accept(order)


def set_mode(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    params = msgspec.json.decode(_params(request), type=shapes.SetMode)
    return _session(frontend, params.session).fitting.set_mode(params.mode, _rest(request))


def set_option(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    params = msgspec.json.decode(_params(request), type=shapes.SetOption)
    return _session(frontend, params.session).fitting.set_option(params.option, params.value, _rest(request))


def authenticate(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    method = msgspec.json.decode(_params(request), type=shapes.Authenticate).method
    return frontend.broker.reception.authenticate(frontend, method, _rest(request))


def logout(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    return frontend.broker.reception.logout(frontend, _rest(request))


def extension(method: str) -> Handler | None:
    """`_x`: to the backend that serves the session it names, else to this frontend's primary."""
    return _extension if method.startswith("_") else None


def _extension(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    rest = _rest(request)
    session = frontend.broker.sessions.get(SessionId(_named(rest)))
    return frontend.broker.reception.extend(frontend, session, request.method, rest)


def extension_notification(method: str) -> Listener | None:
    return _extension_notification if method.startswith("_") else None


def _extension_notification(frontend: "Frontend", notification: Notification) -> None:
    rest = msgspec.json.decode(notification.params or EMPTY, type=dict[str, Raw])
    session = frontend.broker.sessions.get(SessionId(_named(rest)))
    if session is not None:
        session.tell_backend(notification.method, rest)


def cancel(frontend: "Frontend", notification: Notification) -> None:
    params = msgspec.json.decode(notification.params or EMPTY, type=shapes.OfSession)
    _session(frontend, params.session).prompts.cancel()


def cancel_request(frontend: "Frontend", notification: Notification) -> None:
    """ACP v1, cancellation: of a prompt, it is a cancel of that prompt; anything else runs to its end."""
    request = msgspec.json.decode(notification.params or EMPTY, type=shapes.Cancelled).request
    for session in tuple(frontend.broker.busy.values()):
        session.prompts.cancel_of(frontend.number, jsonrpc.same_id(request))


REQUESTS: dict[str, Handler] = {
    "initialize": initialize,
    "authenticate": authenticate,
    "logout": logout,
    "session/new": new,
    "session/load": load,
    "session/resume": resume,
    "session/list": list_sessions,
    "session/close": close,
    "session/delete": delete,
    "session/prompt": prompt,
    "session/set_mode": set_mode,
    "session/set_config_option": set_option,
}

NOTIFICATIONS: dict[str, Listener] = {
    "session/cancel": cancel,
    "$/cancel_request": cancel_request,
}


def _params(request: Request) -> Raw:
    return request.params if request.params is not None else EMPTY


def _rest(request: Request) -> dict[str, Raw]:
    """The params, member by member, to be passed on."""
    return msgspec.json.decode(_params(request), type=dict[str, Raw])


def _others(request: Request, *read: str) -> dict[str, Raw]:
    """The params' members besides those that we read."""
    rest = _rest(request)
    for name in read:
        rest.pop(name, None)
    return rest


def _named(rest: dict[str, Raw]) -> str:
    return msgspec.json.decode(jsonrpc.encode(rest), type=shapes.MaybeOfSession).session or ""


def _session(frontend: "Frontend", name: str) -> Session:
    session = frontend.broker.sessions.get(SessionId(name))
    if session is None:
        raise RpcError(RESOURCE_NOT_FOUND, f"no session is called {name!r}", jsonrpc.encode({"sessionId": name}))
    return session


def _absent(frontend: "Frontend", request: Request) -> SessionId | None:
    """The session that a request names, if it is in no memory."""
    name = SessionId(msgspec.json.decode(_params(request), type=shapes.OfSession).session)
    return None if name in frontend.broker.sessions else name


async def _revived(handler: Handler, frontend: "Frontend", request: Request, name: SessionId) -> Raw | Then:
    """Answer once the session is in memory, if there is one."""
    await frontend.broker.revival.revive(name, frontend)
    _session(frontend, name)  # raises for one that is on no disk either
    outcome = handler(frontend, request)
    assert outcome is not None, "load and resume answer"
    return outcome if isinstance(outcome, Raw) else await outcome


def _checked(params: shapes.Open) -> tuple[str, tuple[str, ...]]:
    directories = params.directories or ()
    for server in params.mcp_servers:
        acp.mcp_server(server)
    for path in (params.cwd, *directories):
        if not PurePosixPath(path).is_absolute():
            raise RpcError(INVALID_PARAMS, f"{path!r} is not an absolute path")
    return params.cwd, directories


def _reopened(frontend: "Frontend", request: Request) -> Session:
    params = msgspec.json.decode(_params(request), type=shapes.Reopen)
    session = _session(frontend, params.session)
    if session.turn is None:  # who comes back for the end of a turn opens nothing
        frontend.broker.check_open()
    cwd, directories = _checked(params)
    if cwd != session.setup.cwd:
        raise RpcError(INVALID_PARAMS, f"session {session.id} works in {session.setup.cwd!r}, not in {cwd!r}")
    rest = _others(request, "sessionId", "cwd", "mcpServers", "additionalDirectories")
    frontend.claim(session.id)
    session.reopen(frontend, SessionSetup(session.id, cwd, directories, params.mcp_servers, rest))
    return session
