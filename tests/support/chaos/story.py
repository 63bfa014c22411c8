"""What was asked and shown in a life: by its client, by the session's log, and by the providers."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import UNSET, Struct, field

from acp_broker.store.reading import read_records
from acp_broker.store.records import Record
from tests.support.chaos.place import Asked

# Of an answer; it is in each of its words.
LABEL = re.compile(r"[A-Z]\d+n\d+")
_OURS = "[acp-broker] "


class Prompt(Struct, eq=False):
    """One prompt. `updates` are what was shown of it, `reply` its answer; None where its broker ended before."""

    session: str
    tag: str
    text: str
    request: int = 0
    # The process that was asked, where that has a log of its own.
    broker: int | None = None
    updates: list[dict] = field(default_factory=list)
    reply: dict | None = None
    # What was done to it: somebody cancelled or left, its broker was ended, the disk was full.
    may_cancel: bool = False
    is_cut_off: bool = False
    was_full: bool = False
    # It could not be kept, and was read again: some of what was shown may be missing.
    is_torn: bool = False

    @property
    def words(self) -> str:
        return _text(self.updates, "agent_message_chunk")

    @property
    def thoughts(self) -> str:
        return _text(self.updates, "agent_thought_chunk")

    @property
    def told(self) -> dict:
        """Our part of the reply."""
        if self.reply is None:
            return {}
        if "error" in self.reply:
            return self.reply["error"].get("data") or {}
        return self.reply["result"].get("_meta", {}).get("acp-broker", {})

    @property
    def end(self) -> str | int | None:
        """Its stop reason, or the code of its error."""
        if self.reply is None:
            return None
        return self.reply["error"]["code"] if "error" in self.reply else self.reply["result"]["stopReason"]

    @property
    def attempts(self) -> list[tuple[str, str | None]]:
        return [(one["backend"], one.get("failure")) for one in self.told.get("attempts", ())]


class Kept(Struct):
    """A turn as its session's log has it: who was started, and what was shown."""

    turn: str
    started: list[str] = field(default_factory=list)
    words: str = ""
    has_answer: bool = False


def kept(log: Path, tag: str) -> Kept | None:
    """The turn of this prompt; None where it was never accepted."""
    found: Kept | None = None
    for record in read_records(log):
        if record.record == "accepted":
            if found is not None:
                break
            found = Kept(record.turn) if tag.encode() in bytes(record.prompt) else None
        elif found is not None and record.turn in (UNSET, found.turn):
            _keep(found, record)
    return found


def _keep(found: Kept, record: Record) -> None:
    shown = [json.loads(bytes(one))["update"] for one in record.updates or ()]
    found.words += _text(shown, "agent_message_chunk")
    found.has_answer |= record.record == "answer"
    if record.commands is not UNSET:
        commands = json.loads(bytes(record.commands))
        found.started += [one["candidate"]["backend"] for one in commands if one["type"] == "Start"]


def history(asked: Asked) -> list[tuple[str, str]] | None:
    """The turns before the prompt in a request; None where user and model do not take turns."""
    said = _said(asked.body)
    if [role for role, _ in said] != ["user", "model"] * (len(said) // 2) + ["user"]:
        return None
    texts = [text for _, text in said]
    return list(zip(texts[:-1:2], texts[1:-1:2], strict=True))


def asks(asked: Asked) -> str:
    """The prompt of a request."""
    return _said(asked.body)[-1][1]


def who(words: str) -> str | None:
    """The agent that speaks so; None where it is a provider."""
    return words[1:].partition(" ")[0] if words.startswith("<") else None


def bare(text: str) -> str:
    """Without blanks."""
    return "".join(text.split())


def _said(body: Mapping) -> list[tuple[str, str]]:
    """Roles and texts, whatever the API."""
    found = body.get("messages") or body.get("input") or body.get("contents") or []
    return [("user" if one["role"] == "user" else "model", _joined(one)) for one in found]


def _joined(message: Mapping) -> str:
    content = message.get("content", message.get("parts"))
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _text(updates: Iterable[Mapping], kind: str) -> str:
    texts = (one["content"].get("text", "") for one in updates if one["sessionUpdate"] == kind)
    return "".join(text for text in texts if not text.startswith(_OURS))
