"""docs/scripted.md is true: every example plays as written, and nothing of the language is missing from it."""

import json
import re
import signal
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from backends.scripted import steps
from backends.scripted.script import Script
from tests.support.scripted_agent import AgentProcess

PAGE = (Path(__file__).parents[2] / "docs" / "scripted.md").read_text()
EXAMPLES = re.findall(r"^```json\n(.*?)^```\n```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
STEPS = {step.__struct_config__.tag: step for step in get_args(steps.Step)}


class Conversation:
    """Does the client's lines of a transcript, and gives the agent's lines as they are written there."""

    def __init__(self, agent):
        self._agent = agent
        self._session = None
        self._last_request = None

    def do(self, line):
        order, _, rest = line.removeprefix("> ").partition(" ")
        match order:
            case "initialize":
                self._agent.request("initialize", protocolVersion=1)
            case "new":
                self._agent.request("session/new", cwd=str(self._agent.cwd), mcpServers=[])
            case "prompt":
                self._session = self._session or self._agent.open()
                self._agent.prompt(self._session, rest)
            case "cancel":
                self._agent.notify("session/cancel", sessionId=self._session)
            case "answer":
                self._agent.send(id=self._last_request, result=json.loads(rest))
            case "eof":
                self._agent.process.stdin.close()
            case "SIGTERM":
                self._agent.process.send_signal(signal.SIGTERM)
            case _:
                raise AssertionError(f"unknown line {line!r}")

    def hear(self):
        line = self._agent.read_line()
        if line is None:
            status = self._agent.status()
            return f"(exit {status})" if status >= 0 else f"(killed by {signal.Signals(-status).name})"
        try:
            message = json.loads(line)
        except json.JSONDecodeError:
            return f"(noise) {line.decode()}"
        return self._shown(message)

    def _shown(self, message):
        match message:
            case {"method": "session/update", "params": {"update": update}}:
                return shown_update(dict(update))
            case {"method": method, "id": request_id}:
                self._last_request = request_id
                return f"? {method}"
            case {"method": method}:
                return f"! {method}"
            case {"error": {"code": code, "message": text, **more}}:
                return " ".join([f"= error {code} {text}", *(json.dumps(data) for data in more.values())])
            case {"result": {"stopReason": reason, **more}} if not more:
                return f"= {reason}"
            case {"result": result}:
                self._session = result.get("sessionId", self._session)
                return f"= {json.dumps(result)}"


def shown_update(update):
    kind = update.pop("sessionUpdate")
    if kind.endswith("_chunk"):
        return f"{kind} {json.dumps(update['content']['text'])}"
    return f"{kind} {json.dumps(update)}"


@pytest.mark.parametrize(("script", "transcript"), EXAMPLES)
def test_every_example_plays_as_written(script, transcript, tmp_path):
    """Whoever copies an example relies on the lines below it."""
    expected = transcript.splitlines()
    heard = []
    with AgentProcess(json.loads(script), cwd=tmp_path) as agent:
        conversation = Conversation(agent)
        for line in expected:
            if line.startswith("> "):
                conversation.do(line)
                heard.append(line)
            else:
                heard.append(conversation.hear())

    assert expected == heard


def test_every_json_block_has_a_transcript():
    """An example without one is not tested."""
    assert PAGE.count("```json") == len(EXAMPLES)


@pytest.mark.parametrize("tag", STEPS)
def test_every_step_stands_in_a_table_with_its_members(tag):
    """What is not written down is not public."""
    steps_only = PAGE.partition("\n## Steps\n")[2]
    row = next(line for line in steps_only.splitlines() if line.startswith(f"| `{tag}` |"))
    members = {field.encode_name for field in msgspec.structs.fields(STEPS[tag])} - {"branches", "withdrawMs"}
    same_as_above = members if "the same" in row else set()

    assert members <= set(re.findall(r"`(\w+)`", row)) | same_as_above


@pytest.mark.parametrize("member", [field.encode_name for field in msgspec.structs.fields(Script)])
def test_every_member_of_a_script_stands_in_the_table(member):
    """The same for what is around the steps."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]

    assert any(f"`{member}`" in row.split("|")[1] for row in rows)
