"""What is handed to an agent, as this one can take it: MCP servers that it reaches, content that it understands."""

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from acp_broker.contract import SessionSetup
from acp_broker.core import redact
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import INVALID_PARAMS, BackendFailure
from acp_broker.wire import acp, agent, content

# What acts on this machine: capabilities of a client, and the beginnings of the methods behind them.
OF_THIS_MACHINE = ("fs", "terminal")


def prompt(blocks: Raw, kinds: frozenset[str] | None, can: agent.Prompt) -> tuple[Raw, tuple[str, ...]]:
    """The prompt's blocks, and what was changed in them, in sentences; `kinds` are their types, where they are known.

    Raises BackendFailure (unsupported, bad_request).
    """
    if kinds is None:
        kinds = content.kinds(blocks)
    for kind, is_taken in (("image", can.image), ("audio", can.audio)):
        if kind in kinds and not is_taken:
            raise BackendFailure(Failure(FailureKind.UNSUPPORTED, f"takes no {kind} content", seen_at="opening"))
    if "resource" not in kinds or can.embedded:
        return blocks, ()
    try:
        flat, count = content.flattened(blocks)
    except msgspec.DecodeError as error:
        text = f"cannot read a resource of the prompt: {error}"
        raise BackendFailure(
            Failure(FailureKind.BAD_REQUEST, redact.plain(text), str(INVALID_PARAMS), seen_at="opening")
        ) from error
    return flat, (f"{count} embedded resources were sent as text",)


def servers(mcp_servers: Sequence[Raw], can: agent.Mcp) -> tuple[list[Raw], list[str]]:
    """The MCP servers that the agent can reach, and the names of the others. stdio is for every agent."""
    taken: list[Raw] = []
    left_out: list[str] = []
    for raw in mcp_servers:
        server = acp.mcp_server(raw)
        if (server.type == "http" and not can.http) or (server.type == "sse" and not can.sse):
            left_out.append(server.name)
        else:
            taken.append(raw)
    return taken, left_out


def session(setup: SessionSetup, can: agent.Capabilities, cwd: str | None) -> tuple[dict[str, object], tuple[str, ...]]:
    """The params that open the session, and what was changed in them, in sentences.

    Raises BackendFailure (unsupported).
    `cwd` is a folder of another machine: what is named by paths of this one is not for an agent there.
    """
    if setup.additional_directories and (cwd is not None or can.session.additional_directories is None):
        text = "cannot work in additional directories"
        raise BackendFailure(Failure(FailureKind.UNSUPPORTED, text, seen_at="opening"))
    taken, left_out = servers(setup.mcp_servers, can.mcp)
    if cwd is not None:
        there = [raw for raw in taken if acp.mcp_server(raw).type in ("http", "sse")]
        left_out += [acp.mcp_server(raw).name for raw in taken if raw not in there]
        taken = there
    params: dict[str, object] = {**setup.rest, "cwd": cwd or setup.cwd, "mcpServers": taken}
    if setup.additional_directories:
        params["additionalDirectories"] = setup.additional_directories
    return params, tuple(f"MCP server {name} was left out: this agent cannot reach it" for name in left_out)
