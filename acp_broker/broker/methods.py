"""The ACP v1 agent methods that the broker answers: a closed set. One function per method.

A handler returns the result, or None where the answer comes through the session's log (a prompt), or an awaitable
where something has to be waited for. It raises RpcError for what the frontend did wrong; params of the wrong shape
raise msgspec.DecodeError, which becomes -32602.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from acp_broker.broker import deleting, returning, shapes
from acp_broker.broker.asked import asked
from acp_broker.broker.order import Order
from acp_broker.broker.params import EMPTY, Then, checked, members, named, others, params_of, seen, session_of
from acp_broker.broker.whom import Whom
from acp_broker.contract import SessionSetup
from acp_broker.core.names import SessionId
from acp_broker.errors import INVALID_PARAMS, INVALID_REQUEST, RpcError
from acp_broker.wire import client, jsonrpc
from acp_broker.wire.jsonrpc import Notification, Request

if TYPE_CHECKING:
    from acp_broker.broker.frontend import Frontend

Handler = Callable[["Frontend", Request], "Raw | Awaitable[Raw | Then] | None"]
Listener = Callable[["Frontend", Notification], None]


def initialize(frontend: "Frontend", request: Request) -> Awaitable[Raw] | Raw:
    """ACP v1, initialization: we speak version 1, whichever is asked for."""
    if frontend.is_initialized:
        raise RpcError(INVALID_REQUEST, "initialize came twice on one connection")
    params = msgspec.json.decode(params_of(request), type=shapes.Initialize)
    capabilities = jsonrpc.given(params.capabilities) or EMPTY
    frontend.can = client.declared(capabilities)
    frontend.outbox.numbers = frontend.can.numbers
    frontend.whom = Whom(
        client.for_agents(capabilities),
        jsonrpc.given(params.info),
        frontend.broker.reception.logins,
        frontend.terms.environ,
    )
    frontend.is_initialized = True
    return frontend.broker.reception.introduction(frontend)


def new(frontend: "Frontend", request: Request) -> Awaitable[Raw | Then]:
    frontend.broker.check_open()
    params = msgspec.json.decode(params_of(request), type=shapes.Open)
    rest = others(request, "cwd", "mcpServers", "additionalDirectories")
    setup = SessionSetup(frontend.broker.new_id(), *checked(params), params.mcp_servers, rest)
    if not _is_folder(params.cwd):
        raise RpcError(INVALID_PARAMS, f"there is no folder {params.cwd!r}")
    frontend.claim(setup.session)
    session = frontend.broker.new_session(frontend, setup)
    # Updates that come before this answer are in the log: the frontend is shown them after it.
    start = session.log.shown

    async def opened() -> Then:
        result = await frontend.broker.opened(session)
        return Then(result, lambda: frontend.outbox.attach(session.id, session.log, start))

    return opened()


def list_sessions(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    """ACP v1, session list: those on the disk, the one written last first, in pages."""
    return frontend.broker.revival.listed(frontend, msgspec.json.decode(params_of(request), type=shapes.List))


def close(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    """It is about what came before it: it cancels nothing that comes while it waits."""
    session = session_of(frontend, msgspec.json.decode(params_of(request), type=shapes.OfSession).session)
    rested = session.repose.begin()

    async def closed() -> Raw:
        await rested.wait()
        is_told = await frontend.caught_up(session.id) and not session.log.is_pending
        if is_told and session.repose.is_closed:
            frontend.outbox.detach(session.id)
            session.repose.sleep()
        return EMPTY

    return closed()


def delete(frontend: "Frontend", request: Request) -> Awaitable[Raw] | Raw:
    """ACP v1, session delete: deleting what is not there succeeds."""
    name = SessionId(msgspec.json.decode(params_of(request), type=shapes.OfSession).session)
    session = frontend.broker.sessions.get(name)
    if session is None:
        frontend.broker.revival.delete(name)
        return EMPTY

    session.prompts.lease.check_free()
    del frontend.broker.sessions[name]
    frontend.broker.revival.going.add(name)

    async def deleted() -> Raw:
        await deleting.delete(frontend.broker, session)
        return EMPTY

    return deleted()


def prompt(frontend: "Frontend", request: Request) -> None:
    """The answer comes through the session's log, after everything that belongs before it."""
    frontend.broker.check_open()
    said = asked(request)
    session = session_of(frontend, said.session)
    known = seen(frontend, session, said.rest)
    turn = frontend.broker.new_turn()
    order = Order(turn, frontend.number, request.id, said.blocks, said.kinds, said.rest, said.key)
    frontend.attend(session, known, is_back=known is not None)
    session.prompts.accept(order)


def set_mode(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    params = msgspec.json.decode(params_of(request), type=shapes.SetMode)
    return session_of(frontend, params.session).fitting.set_mode(params.mode, members(request))


def set_option(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    params = msgspec.json.decode(params_of(request), type=shapes.SetOption)
    return session_of(frontend, params.session).fitting.set_option(params.option, params.value, members(request))


def authenticate(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    method = msgspec.json.decode(params_of(request), type=shapes.Authenticate).method
    return frontend.broker.reception.authenticate(frontend, method, members(request))


def logout(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    return frontend.broker.reception.logout(frontend, members(request))


def extension(method: str) -> Handler | None:
    """`_x`: to the backend that serves the session it names, else to this frontend's primary."""
    return _extension if method.startswith("_") else None


def _extension(frontend: "Frontend", request: Request) -> Awaitable[Raw]:
    rest = members(request)
    session = frontend.broker.sessions.get(SessionId(named(rest)))
    return frontend.broker.reception.extend(frontend, session, request.method, rest)


def extension_notification(method: str) -> Listener | None:
    return _extension_notification if method.startswith("_") else None


def _extension_notification(frontend: "Frontend", notification: Notification) -> None:
    rest = msgspec.json.decode(notification.params or EMPTY, type=dict[str, Raw])
    session = frontend.broker.sessions.get(SessionId(named(rest)))
    if session is not None:
        session.tell_backend(notification.method, rest)


def cancel(frontend: "Frontend", notification: Notification) -> None:
    params = msgspec.json.decode(notification.params or EMPTY, type=shapes.OfSession)
    session_of(frontend, params.session).prompts.cancel()


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
    "session/load": returning.load,
    "session/resume": returning.resume,
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


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # its name is too long, or what it is in is closed to us
        return False
