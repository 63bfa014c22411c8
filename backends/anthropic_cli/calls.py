"""Calls of Claude Code's tools, as ACP tells of calls: a title, a kind, the files, what is changed in them."""

from collections.abc import Mapping
from pathlib import PurePath

import msgspec
from msgspec import Raw, Struct

from backends.anthropic_cli import wire

_KINDS: Mapping[str, str] = {
    "Bash": "execute",
    "BashOutput": "execute",
    "Edit": "edit",
    "ExitPlanMode": "switch_mode",
    "Glob": "search",
    "Grep": "search",
    "KillShell": "execute",
    "LS": "search",
    "MultiEdit": "edit",
    "NotebookEdit": "edit",
    "NotebookRead": "read",
    "Read": "read",
    "Task": "think",
    "ToolSearch": "search",
    "WebFetch": "fetch",
    "WebSearch": "fetch",
    "Write": "edit",
}
# As ACP spells where an entry of a plan stands.
_STATES = frozenset({"pending", "in_progress", "completed"})
_LONGEST_TITLE = 300


class _Edit(Struct):
    old_string: str = ""
    new_string: str = ""


class _Input(_Edit):
    """The arguments that are read, of whichever tool."""

    command: str = ""
    description: str = ""
    file_path: str = ""
    notebook_path: str = ""
    path: str = ""
    pattern: str = ""
    url: str = ""
    query: str = ""
    plan: str = ""
    content: str | None = None
    edits: list[_Edit] = []


class _Todo(Struct):
    content: str
    status: str = "pending"


class _Todos(Struct):
    todos: list[_Todo]


_input = msgspec.json.Decoder(_Input).decode
_todos = msgspec.json.Decoder(_Todos).decode


class Call(Struct):
    """`members` are those of a `tool_call`, without its id and status."""

    kind: str
    members: dict[str, object]

    @classmethod
    def read(cls, tool: str, arguments: Raw, cwd: str) -> "Call":
        kind = _KINDS.get(tool, "other")
        try:
            given = _input(arguments)
        except msgspec.DecodeError:
            given = _Input()
        file = given.file_path or given.notebook_path
        members: dict[str, object] = {"title": _title(tool, given), "kind": kind, "rawInput": arguments}
        if file:
            path = str(PurePath(cwd, file))
            members["locations"] = [{"path": path}]
            if kind == "edit" and (diffs := _diffs(path, given)):
                members["content"] = diffs
        elif given.plan:
            members["content"] = [_text(given.plan)]
        return cls(kind, members)


def content_of(block: wire.Block, *, keeps_diff: bool) -> dict[str, object]:
    """What a tool gave back; nothing where the diff of its call is to stay."""
    if keeps_diff:
        return {}
    try:
        found = wire.blocks(block.content)
    except msgspec.DecodeError:
        return {}
    parts = [wire.Block("text", found)] if isinstance(found, str) else found
    return {"content": [_part(part) for part in parts if part.text or part.source.data]}


def plan_of(arguments: Raw) -> list[dict[str, str]] | None:
    """The entries of a plan; None for what is no list of things to do."""
    try:
        todos = _todos(arguments).todos
    except msgspec.DecodeError:
        return None
    return [
        {"content": one.content, "priority": "medium", "status": one.status if one.status in _STATES else "pending"}
        for one in todos
    ]


def _title(tool: str, given: _Input) -> str:
    match tool:
        case "Bash" if given.command:
            title = given.command
        case "Task" if given.description:
            title = given.description
        case _:
            what = given.file_path or given.notebook_path or given.pattern or given.url or given.query or given.path
            title = f"{tool} {what}" if what else tool or "tool"
    return title if len(title) <= _LONGEST_TITLE else f"{title[:_LONGEST_TITLE]}…"


def _diffs(path: str, given: _Input) -> list[dict[str, object]]:
    if given.content is not None:
        return [{"type": "diff", "path": path, "oldText": None, "newText": given.content}]
    edits = given.edits or [given]
    return [
        {"type": "diff", "path": path, "oldText": one.old_string, "newText": one.new_string}
        for one in edits
        if one.old_string or one.new_string
    ]


def _part(part: wire.Block) -> dict[str, object]:
    if part.source.data:
        image = {"type": "image", "data": part.source.data, "mimeType": part.source.media_type}
        return {"type": "content", "content": image}
    return _text(part.text)


def _text(text: str) -> dict[str, object]:
    return {"type": "content", "content": {"type": "text", "text": text}}
