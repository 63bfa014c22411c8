"""Writes down what agents said, for tests that need none of them: tests/transcripts/AGENT/FAULT.jsonl."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from backends.acp import rows
from matrix.agents import Agent
from matrix.cell import Ran
from matrix.install import Installed
from matrix.scrub import transcript
from matrix.verdict import is_of_model

FOLDER = Path(__file__).parents[1] / "tests" / "transcripts"
# Longer than the limits that they are replayed with.
LIMIT_S = 25.0


def environment(installed: Installed) -> Mapping[str, str]:
    """What the broker would set for this agent: it is recorded as the broker hears it."""
    found = rows.find(None, installed.command)
    return found.row.env if found is not None else {}


def write(agent: Agent, fault: str, ran: Ran) -> None:
    """The head says what it is; `words`: what the model said before its provider failed, as far as it was passed on."""
    turn = ran.turn
    words = [one.text for one in turn.shown if is_of_model(one)]
    head = {
        "agent": agent.name,
        "packages": agent.source.packages,
        "command": agent.command,
        "fault": fault,
        "words": words,
    }
    path = FOLDER / agent.name / f"{fault.replace(';', '-')}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join([msgspec.json.encode(head), *transcript(turn.lines, ran.folder), b""]))
