"""What the broker says of itself in answer to `initialize`: the primary's promises, and methods of its own."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from acp_broker import __version__
from acp_broker.core.names import BackendId
from acp_broker.wire import agent, jsonrpc

_EMPTY: dict[str, object] = {}


def result(selected: BackendId, known: Mapping[BackendId, agent.Initialized], *, terminal_login: bool) -> Raw:
    """The result of `initialize`. What is not known of the primary is not promised.

    Embedded context always: it is flattened for a backend that cannot take it. Sessions are ours, so are their methods.
    """
    can = known.get(selected, agent.Initialized()).can
    session: dict[str, object] = {"list": _EMPTY, "resume": _EMPTY, "close": _EMPTY, "delete": _EMPTY}
    if can.session.additional_directories is not None:
        session["additionalDirectories"] = _EMPTY
    methods = [
        method
        for backend, said in known.items()
        for raw in said.auth_methods
        if (method := _method(backend, raw, terminal_login=terminal_login)) is not None
    ]
    return jsonrpc.encode(
        {
            "protocolVersion": 1,
            "agentCapabilities": {
                "loadSession": True,
                "promptCapabilities": {"image": can.prompt.image, "audio": can.prompt.audio, "embeddedContext": True},
                "mcpCapabilities": {"http": can.mcp.http, "sse": can.mcp.sse},
                "sessionCapabilities": session,
                "auth": {"logout": _EMPTY} if can.auth.logout is not None else _EMPTY,
                "_meta": {"acp-broker": {"version": __version__, "seq": True}},
            },
            "agentInfo": {"name": "acp-broker", "title": "ACP Broker", "version": __version__},
            "authMethods": methods,
        }
    )


def _method(backend: BackendId, raw: Raw, *, terminal_login: bool) -> dict[str, object] | None:
    """One backend's authentication method under our name; None for one that this client cannot perform, or nobody."""
    try:
        method: dict[str, object] = msgspec.json.decode(raw, type=dict[str, object])
    except msgspec.DecodeError:
        return None
    own = method.get("id")
    if not isinstance(own, str):
        return None
    if method.get("type") == "terminal":
        if not terminal_login:
            return None
        # The client runs *our* command line in a terminal: it must reach the backend's own login.
        method["args"] = ["login", backend, own]
        method.pop("env", None)
    name = method.get("name")
    method["id"] = f"{backend}/{own}"
    method["name"] = f"{name if isinstance(name, str) else own} ({backend})"
    return method
