"""A call that a model would make of the tools it is offered, whatever they are called."""

import re
from collections.abc import Sequence
from typing import Any

from tests.support.provider.shape import Call, Tool

_SHELL = re.compile(r"shell|bash|terminal|exec|command", re.IGNORECASE)
_WRITE = re.compile(r"write|create|edit", re.IGNORECASE)
_COMMAND = ("command", "cmd", "commands", "script")
_PATH = ("file_path", "path", "filePath", "absolute_path", "file", "filename")
_CONTENT = ("content", "contents", "file_text", "text", "new_content", "file_content")
_PLAIN = {"string": "a drill", "integer": 60, "number": 60, "boolean": False, "array": [], "object": {}}


def shell(tools: Sequence[Tool], command: str) -> Call | None:
    """Run a command; None when no tool can."""
    for tool in tools:
        if _SHELL.search(tool.name) and (name := _one_of(_COMMAND, tool)):
            return Call(tool.name, {**_required(tool), name: _as_asked(tool, name, command)})
    return None


def write(tools: Sequence[Tool], path: str, content: str) -> Call | None:
    """Write a file; None when no tool can."""
    for tool in tools:
        where, what = _one_of(_PATH, tool), _one_of(_CONTENT, tool)
        if _WRITE.search(tool.name) and where and what:
            return Call(tool.name, {**_required(tool), where: path, what: content})
    return None


def _one_of(names: Sequence[str], tool: Tool) -> str | None:
    return next((name for name in names if name in _properties(tool)), None)


def _as_asked(tool: Tool, name: str, command: str) -> str | list[str]:
    if _properties(tool)[name].get("type") != "array":
        return command
    return [command] if name == "commands" else ["sh", "-c", command]


def _required(tool: Tool) -> dict[str, Any]:
    return {name: _plain(_properties(tool).get(name, {})) for name in tool.schema.get("required") or ()}


def _plain(schema: dict[str, Any]) -> Any:
    if choices := schema.get("enum"):
        return next((one for one in choices if one in ("create", "write", "low", "LOW")), choices[0])
    return _PLAIN.get(str(schema.get("type")).lower(), "a drill")


def _properties(tool: Tool) -> dict[str, Any]:
    return tool.schema.get("properties") or {}
