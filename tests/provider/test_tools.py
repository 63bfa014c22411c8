"""The call that the fault server makes of an agent's tools, in the words of agents that differ in all of them."""

import pytest

from tests.support.provider import tools
from tests.support.provider.shape import Call, Tool


def tool(name: str, *required: str, **properties: object) -> Tool:
    return Tool(name, {"type": "object", "properties": properties, "required": list(required)})


TEXT = {"type": "string"}
SHELLS = [
    (tool("Bash", "command", command=TEXT), {"command": "true"}),
    (tool("shell", "command", command={"type": "array"}), {"command": ["sh", "-c", "true"]}),
    (tool("run_commands", "commands", commands={"type": "array"}), {"commands": ["true"]}),
    (tool("exec_command", "cmd", cmd=TEXT, yield_time_ms={"type": "number"}), {"cmd": "true"}),
    (
        tool("run_shell_command", "command", "reason", command=TEXT, reason=TEXT),
        {"command": "true", "reason": "a drill"},
    ),
]
WRITES = [
    (tool("Write", "file_path", "content", file_path=TEXT, content=TEXT), {"file_path": "/f", "content": "words"}),
    (
        tool("text_editor", "command", "path", command={"enum": ["view", "create"]}, path=TEXT, file_text=TEXT),
        {"command": "create", "path": "/f", "file_text": "words"},
    ),
]
OTHER = tool("search", "query", query=TEXT)


@pytest.mark.parametrize(("offered", "expected"), SHELLS, ids=lambda one: getattr(one, "name", None))
def test_a_command_is_run_by_whatever_tool_runs_commands(offered: Tool, expected: dict[str, object]) -> None:
    assert Call(offered.name, expected) == tools.shell([OTHER, offered], "true")


@pytest.mark.parametrize(("offered", "expected"), WRITES, ids=lambda one: getattr(one, "name", None))
def test_a_file_is_written_by_whatever_tool_writes_files(offered: Tool, expected: dict[str, object]) -> None:
    assert Call(offered.name, expected) == tools.write([OTHER, offered], "/f", "words")


def test_an_agent_without_such_a_tool_is_not_called() -> None:
    """The turn is `good` then."""
    assert (None, None) == (tools.shell([OTHER], "true"), tools.write([OTHER], "/f", "words"))
