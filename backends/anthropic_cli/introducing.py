"""What a Claude Code session answers to ACP's `initialize` and `session/new`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
from anyio import sleep_forever
from msgspec import Raw, Struct

from acp_broker.contract import About, Backend, Client, Finished, Tools, TurnRequest
from acp_broker.errors import METHOD_NOT_FOUND, RpcError
from acp_broker.wire import acp, jsonrpc
from acp_broker.wire.acp import Update, update
from backends.anthropic_cli import PermissionMode, wire

_NAMES: Mapping[PermissionMode, str] = {
    "default": "Ask before edits and commands",
    "acceptEdits": "Edit files without asking",
    "plan": "Plan only",
    "dontAsk": "Refuse what is not allowed",
    "auto": "Let a classifier decide",
    "bypassPermissions": "Ask about nothing",
}
_OFFERED: tuple[PermissionMode, ...] = ("default", "acceptEdits", "plan")


def initialized(version: str = "") -> Raw:
    return jsonrpc.encode(
        {
            "protocolVersion": 1,
            "agentCapabilities": {
                "loadSession": False,
                "promptCapabilities": {"image": True, "audio": False, "embeddedContext": True},
                "mcpCapabilities": {"http": True, "sse": True},
                "sessionCapabilities": {"additionalDirectories": {}},
            },
            "agentInfo": {"name": "claude-code", "title": "Claude Code", "version": version},
            "authMethods": [],
        }
    )


def about(hello: wire.Hello, session: str, configured: PermissionMode) -> About:
    """`session` is its own id of the session. The modes are those that ask, and the one that is configured."""
    offered = dict.fromkeys((*_OFFERED, configured))
    current = hello.mode or configured
    modes = [{"id": mode, "name": _NAMES[mode]} for mode in offered]
    if current not in offered:
        modes.append({"id": current, "name": current})
    opened = {"sessionId": session, "modes": {"currentModeId": current, "availableModes": modes}}
    return About(initialized(hello.version), jsonrpc.encode(opened))


def commands(hello: wire.Hello) -> Update:
    """Its slash commands."""
    return update(
        "available_commands_update",
        availableCommands=[
            {"name": one.name, "description": one.description, **({"input": {"hint": one.hint}} if one.hint else {})}
            for one in hello.commands
        ],
    )


@asynccontextmanager
async def introduced(tools: Tools) -> AsyncIterator[Backend]:
    """Without a session nothing is started: what it can do is known."""
    tools.reached("starting")
    yield _Introduction()


class _Introduction:
    """contract.Backend that nobody gives a turn."""

    about = About(initialized())

    async def run(self, turn: TurnRequest, client: Client) -> Finished:  # noqa: ARG002 - the contract's shape
        raise AssertionError("it has no session")

    async def call(self, method: str, params: dict[str, Raw]) -> Raw:  # noqa: ARG002 - the contract's shape
        raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")

    def tell(self, method: str, params: dict[str, Raw]) -> None:
        """There is nobody to tell."""

    async def gone(self) -> str:
        await sleep_forever()
        raise AssertionError("unreachable")


class _Pair(Struct):
    name: str
    value: str


class _Server(Struct):
    """ACP v1, session setup, "MCP Servers"."""

    name: str
    type: str = "stdio"
    command: str = ""
    args: list[str] = []
    env: list[_Pair] = []
    url: str = ""
    headers: list[_Pair] = []


_server = msgspec.json.Decoder(_Server).decode


def servers(given: Sequence[Raw]) -> tuple[dict[str, object], list[str]]:
    """MCP servers as Claude Code wants them, by name; and the names of those of an unknown kind or shape."""
    taken: dict[str, object] = {}
    left_out: list[str] = []
    for raw in given:
        try:
            server = _server(raw)
        except msgspec.DecodeError:
            left_out.append(acp.mcp_server(raw).name)
            continue
        match server.type:
            case "stdio":
                env = {one.name: one.value for one in server.env}
                taken[server.name] = {"type": "stdio", "command": server.command, "args": server.args, "env": env}
            case "http" | "sse":
                headers = {one.name: one.value for one in server.headers}
                taken[server.name] = {"type": server.type, "url": server.url, "headers": headers}
            case _:
                left_out.append(server.name)
    return taken, left_out
