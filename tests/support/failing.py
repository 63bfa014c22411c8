"""An agent that reads, writes, asks and waits; and a chain of two of it, whose primary fails when it is told to act.

What it does depends on a word of the prompt: `hello`, `wait` (until it is cancelled), anything else is to act.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.support.broker import agent, chain
from tests.support.ways import direct

MODES = {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "code", "name": "Code"}]}
READS = [
    {"do": "think", "text": "let me see", "chunks": 2},
    {"do": "toolCall", "toolCallId": "read", "title": "Read notes.txt", "kind": "read", "status": "pending"},
    {"do": "askPermission", "toolCallId": "read", "title": "Read notes.txt"},
    {"do": "sayAnswer"},
    {"do": "readFile", "path": "notes.txt"},
    {"do": "sayAnswer"},
    {"do": "toolCallUpdate", "toolCallId": "read", "status": "completed"},
]
ACTS = [
    {"do": "toolCall", "toolCallId": "edit", "title": "Write new.txt", "kind": "edit", "status": "pending"},
    {"do": "askPermission", "toolCallId": "edit", "title": "Write new.txt"},
    {"do": "sayAnswer"},
    {"do": "writeFile", "path": "new.txt", "text": "new\n"},
    {"do": "sayAnswer"},
    {"do": "terminal", "command": "cat", "args": ["new.txt"]},
    {"do": "sayAnswer"},
    {"do": "toolCallUpdate", "toolCallId": "edit", "status": "completed"},
    {"do": "plan", "entries": [{"content": "rest", "priority": "low", "status": "pending"}]},
    {"do": "say", "text": "that is done", "chunks": 3},
    {"do": "end", "usage": {"totalTokens": 3, "inputTokens": 2, "outputTokens": 1}, "meta": {"mine": {"kept": True}}},
]
WAITS = [{"do": "say", "text": "waiting"}, {"do": "waitCancel", "steps": [{"do": "say", "text": "stopped"}]}]
TURN = [
    {"do": "ifText", "contains": "wait", "steps": WAITS},
    {"do": "ifText", "contains": "hello", "steps": [{"do": "say", "text": "hello you"}, {"do": "end"}]},
    *READS,
    *ACTS,
]
SCRIPT = {"modes": MODES, "turns": [TURN]}
# How the primary fails when it is asked to act; `killed` is done to it before.
FAULTS: Mapping[str, list] = {
    "killed": [],
    "dressed": [{"do": "say", "text": "API Error: 503 Service Unavailable"}, {"do": "end"}],
    "error": [{"do": "fail", "message": "Internal error: overloaded", "data": {"errorKind": "server_error"}}],
}


def alone(folder: Path) -> list[str]:
    """The command of one such agent, which never fails, and remembers its sessions in a later process."""
    return [*direct(SCRIPT).argv, "--memory", str(folder / "memory")]


def failing(fault: str, script: Path) -> dict:
    """The config of the chain. The primary's script is a file, and without it the primary cannot start again."""
    fails = [{"do": "ifText", "contains": "act", "steps": [*FAULTS[fault], {"do": "end"}]}] if FAULTS[fault] else []
    script.write_text(json.dumps({**SCRIPT, "turns": [[*fails, *TURN]]}))
    primary = agent(str(script), modes={"code": "code"})
    primary["command"] += ["--memory", str(script.with_name("memory"))]
    return chain(primary=primary, spare=agent(SCRIPT, modes={"code": "code"}))
