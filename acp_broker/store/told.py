"""The turns of a session log, as a backend is told of them: one that has not seen them, or one without a memory.

Blocks: use a thread.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from acp_broker.core.handoff import Said, Tool
from acp_broker.core.history import Exchange
from acp_broker.core.names import BackendId, TurnId
from acp_broker.store.records import Record

# How the broker's own words in a session begin: none of an agent's.
OURS = "[acp-broker] "


class _Content(Struct):
    type: str = ""
    text: str = ""


class _Location(Struct):
    path: str = ""


class _Update(Struct):
    kind: str = field(name="sessionUpdate", default="")
    content: Raw = Raw(b"null")
    message: str | None = field(name="messageId", default=None)
    call: str = field(name="toolCallId", default="")
    title: str | None = None
    status: str | None = None
    locations: list[_Location] | None = None


class _Shown(Struct):
    update: _Update


class _Resource(Struct, frozen=True):
    uri: str = ""


class _Block(_Content):
    uri: str = ""
    name: str = ""
    resource: _Resource = _Resource()


class _Candidate(Struct):
    backend: BackendId


class _Command(Struct):
    type: str
    candidate: _Candidate | UnsetType = UNSET


class _Result(Struct):
    stop_reason: str = field(name="stopReason", default="")


class _Frame(Struct):
    result: _Result | None = None


class _Tried(Struct):
    backend: str
    failure: str | None = None


class _Story(Struct):
    attempts: tuple[_Tried, ...] = ()


class _Meta(Struct):
    ours: _Story = field(name="acp-broker", default_factory=_Story)


class _Good(Struct):
    meta: _Meta = field(name="_meta", default_factory=_Meta)


class _Error(Struct):
    message: str = ""


class _Answer(Struct):
    """What `story.py` has put into the answer of a turn in which somebody failed."""

    result: _Good = field(default_factory=_Good)
    error: _Error = field(default_factory=_Error)


_shown = msgspec.json.Decoder(_Shown).decode
_commands = msgspec.json.Decoder(list[_Command]).decode


class _Turn:
    """One turn, while its records are read."""

    def __init__(self, turn: TurnId, prompt: Raw) -> None:
        self.turn = turn
        self._prompt = prompt
        self.by: BackendId | None = None
        self._words: list[str] = []
        self._message: str | None = None
        self._tools: dict[str, Tool] = {}
        self._answer = _Answer()

    def show(self, params: Raw) -> None:
        try:
            update = _shown(params).update
            text = msgspec.json.decode(update.content, type=_Content).text if _is_words(update) else ""
        except msgspec.DecodeError:  # what has another shape tells a person something, but no agent
            return
        if text and not text.startswith(OURS):
            if update.message != self._message and self._words:
                self._words.append("\n\n")
            self._message = update.message
            self._words.append(text)
        elif update.kind in ("tool_call", "tool_call_update"):
            known = self._tools.get(update.call, Tool("a tool call"))
            paths = known.paths if update.locations is None else tuple(one.path for one in update.locations)
            self._tools[update.call] = Tool(update.title or known.title, update.status or known.status, paths)

    def answered(self, frame: bytes) -> None:
        if b'"failure":' in frame or b'"error":' in frame:
            with suppress(msgspec.DecodeError):  # an agent's own members may have any shape
                self._answer = msgspec.json.decode(frame, type=_Answer)

    def said(self, end: str) -> Said:
        prompt, tools = prompt_text(self._prompt), tuple(self._tools.values())
        tried = self._answer.result.meta.ours.attempts
        before = tuple(f"{one.backend} ({one.failure})" for one in tried if one.failure is not None)
        why = self._answer.error.message
        return Said(self.turn, prompt, "".join(self._words).strip(), tools, self.by, end, before, why)

    def exchange(self, end: str) -> Exchange:
        return Exchange(self._prompt, self.said(end))


def told(records: Iterable[Record]) -> Iterator[Said]:
    """Each turn that is over, oldest first. One that the log has no answer of was interrupted."""
    return (turn.said(end) for turn, end in _turns(records))


def exchanges(records: Iterable[Record]) -> Iterator[Exchange]:
    """As `told`, with each prompt as it was sent."""
    return (turn.exchange(end) for turn, end in _turns(records))


def _turns(records: Iterable[Record]) -> Iterator[tuple[_Turn, str]]:
    """Each turn with its end."""
    turn: _Turn | None = None
    for record in records:
        if record.record == "accepted" and record.turn is not UNSET:
            if turn is not None:
                yield turn, "interrupted"
            turn = _Turn(TurnId(record.turn), record.prompt if record.prompt is not UNSET else Raw(b"[]"))
            continue
        if turn is None or record.turn not in (UNSET, turn.turn):
            continue
        for params in record.updates or ():
            turn.show(params)
        if record.commands is not UNSET:
            turn.by = started(record.commands) or turn.by
        if record.record == "answer" and record.turn is not UNSET:
            turn.answered(bytes(record.frame) if record.frame is not UNSET else b"")
            yield turn, ended(record.frame)
            turn = None
    if turn is not None:
        yield turn, "interrupted"


def _is_words(update: _Update) -> bool:
    return update.kind == "agent_message_chunk"


def started(commands: Raw) -> BackendId | None:
    """Whom a step has started, if anybody."""
    if b'"Start"' not in bytes(commands):
        return None
    started = [one.candidate for one in _commands(commands) if one.type == "Start"]
    return started[-1].backend if started and started[-1] is not UNSET else None


def ended(frame: Raw | UnsetType) -> str:
    """The stop reason in a prompt's answer; `failed` for an error."""
    result = msgspec.json.decode(frame, type=_Frame).result if frame is not UNSET else None
    return result.stop_reason if result is not None and result.stop_reason else "failed"


def prompt_text(raw: Raw | UnsetType) -> str:
    """A prompt's text; of what is no text, its name."""
    try:
        blocks = msgspec.json.decode(raw, type=list[_Block]) if raw is not UNSET else []
    except msgspec.DecodeError:
        return "[a prompt of another shape]"
    return "\n".join(_block(block) for block in blocks)


def _block(block: _Block) -> str:
    match block.type:
        case "text":
            return block.text
        case "resource_link":
            return f"[link: {block.name or block.uri} {block.uri}]"
        case "resource":
            return f"[attached: {block.resource.uri}]"
        case kind:
            return f"[{kind or 'a block without a type'}]"
