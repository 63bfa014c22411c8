"""What the handlers of ACP's methods share: reading their params, and what an answer may bring with it."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from acp_broker.broker import shapes
from acp_broker.broker.numbers import Seen
from acp_broker.core.names import SessionId
from acp_broker.errors import INVALID_PARAMS, RESOURCE_NOT_FOUND, RpcError
from acp_broker.wire import acp, jsonrpc
from acp_broker.wire.jsonrpc import Request

if TYPE_CHECKING:
    from acp_broker.broker.frontend import Frontend
    from acp_broker.broker.session import Session

EMPTY = Raw(b"{}")
_members = msgspec.json.Decoder(dict[str, Raw]).decode


class Then(Struct):
    """A result, and what to do once it is sent: nothing of a session may overtake the answer that names it."""

    result: Raw
    then: Callable[[], None]


def params_of(request: Request) -> Raw:
    return request.params if request.params is not None else EMPTY


def members(request: Request) -> dict[str, Raw]:
    """The params, member by member, to be passed on."""
    return _members(params_of(request))


def others(request: Request, *read: str) -> dict[str, Raw]:
    """The params' members besides those that we read."""
    rest = members(request)
    for name in read:
        rest.pop(name, None)
    return rest


def named(rest: dict[str, Raw]) -> str:
    """The session that params name, if any."""
    return msgspec.json.decode(jsonrpc.encode(rest), type=shapes.MaybeOfSession).session or ""


def session_of(frontend: "Frontend", name: str) -> "Session":
    """Raises RpcError for one that is in no memory."""
    session = frontend.broker.sessions.get(SessionId(name))
    if session is None:
        raise RpcError(RESOURCE_NOT_FOUND, f"no session is called {name!r}", jsonrpc.encode({"sessionId": name}))
    return session


def checked(params: shapes.Open) -> tuple[str, tuple[str, ...]]:
    """Where a session works. Raises RpcError for what is no absolute path."""
    directories = params.directories or ()
    for server in params.mcp_servers:
        acp.mcp_server(server)
    for path in (params.cwd, *directories):
        if not PurePosixPath(path).is_absolute():
            raise RpcError(INVALID_PARAMS, f"{path!r} is not an absolute path")
    return params.cwd, directories


def seen(frontend: "Frontend", session: "Session", rest: dict[str, Raw]) -> Seen | None:
    """Up to where a client says that it has seen the session (`after`). Raises RpcError, StoreError."""
    number = shapes.after(rest["_meta"]) if "_meta" in rest else None
    if number is None:
        return None
    if not frontend.can.numbers:
        text = 'after is for clients that have declared clientCapabilities._meta["acp-broker"].seq: nothing is numbered'
        raise RpcError(INVALID_PARAMS, text)
    position = session.log.by_number.position_of(number)
    if position is None:
        text = f"this session's log ends before {number}: it was cut, or is another one; load the session without after"
        raise RpcError(INVALID_PARAMS, text)
    return Seen(number, position)
