"""From what a script says to what stands on the wire."""

import msgspec
from msgspec import Raw, Struct

from acp_broker.wire.acp import Update
from backends.scripted import steps as s
from backends.scripted.actions import Reply

# Steps whose members are the update's own.
_UPDATES: dict[type, str] = {
    s.ToolCall: "tool_call",
    s.ToolCallUpdate: "tool_call_update",
    s.Plan: "plan",
    s.Usage: "usage_update",
    s.Commands: "available_commands_update",
}
_CHUNKS: dict[s.Voice, str] = {
    "agent": "agent_message_chunk",
    "thought": "agent_thought_chunk",
    "user": "user_message_chunk",
}


class _Ids(Struct, rename={"kind": "sessionUpdate", "message_id": "messageId", "tool_call_id": "toolCallId"}):
    kind: s.Json = None
    message_id: s.Json = None
    tool_call_id: s.Json = None


def as_update(update: bytes) -> Update:
    """An update from its JSON. A script may lie: what is missing or of another type counts as absent."""
    ids = msgspec.json.decode(update, type=_Ids)
    return Update(_word(ids.kind) or "", {"update": Raw(update)}, _word(ids.message_id), _word(ids.tool_call_id))


def chunk(voice: s.Voice, text: str, message_id: str | None = None) -> s.Object:
    named = {} if message_id is None else {"messageId": message_id}
    return {"sessionUpdate": _CHUNKS[voice], "content": {"type": "text", "text": text}, **named}


def members_of(step: s.ToolCall | s.ToolCallUpdate | s.Plan | s.Usage | s.Commands) -> s.Object:
    """The update of a step whose members are the update's own."""
    members: s.Object = msgspec.to_builtins(step)
    del members["do"]
    return {"sessionUpdate": _UPDATES[type(step)], **members}


def pieces(text: str, count: int) -> list[str]:
    """The text in `count` pieces of nearly one size; fewer when it has fewer characters, one when it is empty."""
    size = max(1, -(-len(text) // max(1, count)))
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


def reply(ending: s.Ending) -> Reply | s.Fail:
    match ending:
        case s.End():
            result: s.Object = {"stopReason": ending.stop_reason}
            if ending.usage is not None:
                result["usage"] = ending.usage
            if ending.meta is not None:
                result["_meta"] = ending.meta
            return Reply(Raw(msgspec.json.encode(result)))
        case s.Answer():
            return Reply(Raw(msgspec.json.encode(ending.result)))
        case s.Fail():
            return ending


def _word(value: s.Json) -> str | None:
    return value if isinstance(value, str) else None
