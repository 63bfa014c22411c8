"""What is handed to an agent, as this one can take it: MCP servers that it reaches, content that it understands."""

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from acp_broker.core import redact
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import INVALID_PARAMS, BackendFailure
from acp_broker.wire import acp, agent, content


def prompt(blocks: Raw, can: agent.Prompt) -> tuple[Raw, tuple[str, ...]]:
    """The prompt's blocks, and what was changed in them, in sentences.

    Raises BackendFailure (unsupported, bad_request).
    """
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
