"""What a frontend heard of one turn, as short strings that a test can compare."""

from collections.abc import Mapping


class Turn:
    """What a prompt brought: every message up to its reply, the reply last."""

    def __init__(self, heard: list[dict]) -> None:
        self.heard = heard
        self.reply = heard[-1]

    @property
    def updates(self) -> list[dict]:
        return [message["params"]["update"] for message in self.heard if message.get("method") == "session/update"]

    @property
    def words(self) -> list[str]:
        """What was shown, one short string each: `say hello`, `think hm`, `tool call-1 failed`, `usage`."""
        return [shown(update) for update in self.updates]

    @property
    def told(self) -> dict:
        """Our own part of the reply: `_meta["acp-broker"]`, or the error's `data`."""
        if "error" in self.reply:
            return self.reply["error"]["data"]
        return self.reply["result"]["_meta"]["acp-broker"]

    @property
    def attempts(self) -> list[str]:
        """Who was tried: `primary crashed`, `spare`."""
        return [" ".join(filter(None, (one["backend"], one.get("failure")))) for one in self.told.get("attempts", ())]


def shown(update: Mapping[str, object]) -> str:
    kind = str(update["sessionUpdate"])
    content = update.get("content")
    text = content.get("text") if isinstance(content, dict) else update.get("toolCallId")
    return " ".join(str(part) for part in (_VERBS.get(kind, kind), text, update.get("status")) if part is not None)


_VERBS = {
    "agent_message_chunk": "say",
    "agent_thought_chunk": "think",
    "user_message_chunk": "echo",
    "tool_call": "tool",
    "tool_call_update": "tool",
    "usage_update": "usage",
    "available_commands_update": "commands",
    "current_mode_update": "mode",
}
