"""The shapes of ACP v1 that the broker itself reads; everything it does not read stays raw JSON."""

import msgspec
from msgspec import Raw, Struct

from acp_broker.errors import RpcError


class Update(Struct, gc=False):
    """One `session/update` notification. `params` is the notification's, member by member, untouched.

    `kind` is the update's `sessionUpdate`; `message_id` and `tool_call_id` are the runtime's own, None where absent.
    """

    kind: str
    params: dict[str, Raw]
    message_id: str | None = None
    tool_call_id: str | None = None


# What came back for a request: the raw result, or the error.
Answer = Raw | RpcError


class McpServer(Struct):
    """One of a session's MCP servers; the rest of it is the agent's business."""

    type: str | None = None
    name: str = "(unnamed)"


mcp_server = msgspec.json.Decoder(McpServer).decode


class _Content(Struct):
    type: str = ""
    text: str = ""


class _Chunk(Struct):
    content: _Content


_chunk = msgspec.json.Decoder(_Chunk).decode


def text_of(update: Update) -> str | None:
    """The text of a message or thought chunk; None when the update carries no text content block."""
    try:
        content = _chunk(update.params["update"]).content
    except msgspec.DecodeError:
        return None
    return content.text if content.type == "text" else None


def update(kind: str, /, **members: object) -> Update:
    """An update of our own making: `update("agent_message_chunk", content={"type": "text", "text": "Hi"})`."""
    body = msgspec.json.encode({"sessionUpdate": kind, **members})
    message_id, tool_call_id = members.get("messageId"), members.get("toolCallId")
    return Update(
        kind,
        {"update": Raw(body)},
        message_id if isinstance(message_id, str) else None,
        tool_call_id if isinstance(tool_call_id, str) else None,
    )


def message(text: str, **members: object) -> Update:
    """An `agent_message_chunk` with one text block."""
    return update("agent_message_chunk", content={"type": "text", "text": text}, **members)
