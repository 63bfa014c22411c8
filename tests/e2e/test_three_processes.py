"""Three turns in three broker processes: the primary, a fallback, the primary again. Each is told what it missed."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.test_handoff import text_of
from tests.support.broker import BrokerProcess, chain
from tests.support.heard import Turn

SAYS = {"turns": [[{"do": "say", "text": "the primary answers"}]]}
SPARE = {"turns": [[{"do": "say", "text": "the spare answers"}]]}
# By what the primary can do once its process is another one.
LOADS = {**SAYS, "capabilities": {"loadSession": True}}
RESUMES = {**SAYS, "capabilities": {"sessionCapabilities": {"resume": {}}}}
FORGETS = {**SAYS, "capabilities": {"promptCapabilities": {"embeddedContext": True}}}
LIES = {
    **SAYS,
    "capabilities": {"loadSession": True},
    "load": [{"do": "answer", "result": {}}],
    "unknownSession": [*SAYS["turns"][0], {"do": "end"}],
}
ONE = ["[user]", "one", "[answer of primary]", "the primary answers"]
TWO = ["[user]", "two", "[answer of spare]", "the spare answers"]


def said(text: str) -> list[str]:
    """The lines of a handoff within its frame, which depends on what the agent can take."""
    return [line for line in text.split("\n") if line and not line.startswith(("Earlier turns", "<resource", "</"))]


class Agent:
    """An agent as a process that writes down what it is sent. While it `is_down` it cannot be started."""

    def __init__(self, folder: Path, name: str, script: dict, *, keeps: bool = False) -> None:
        self.heard = folder / f"{name}.heard"
        self.heard.touch()
        self._down = folder / f"{name}.heard.down"
        memory = ["--memory", str(folder / f"{name}.memory")] if keeps else []
        agent = [sys.executable, "-m", "backends.scripted", "--script", json.dumps(script), *memory]
        written = 'test ! -e "$0.down" || exit 1; tee -a "$0" | exec "$@"'
        self.entry = {"kind": "acp", "command": ["/bin/sh", "-c", written, str(self.heard), *agent]}

    def go_down(self) -> None:
        self._down.touch()

    def come_up(self) -> None:
        self._down.unlink()

    @property
    def prompts(self) -> list[list[str]]:
        """The texts of every prompt that it was given, in order."""
        messages = map(json.loads, self.heard.read_text().splitlines())
        blocks = [one["params"]["prompt"] for one in messages if one.get("method") == "session/prompt"]
        return [[text_of(block) for block in prompt] for prompt in blocks]


def three_turns(folder: Path, primary: Agent, spare: Agent) -> list[str]:
    """Who answered each of three prompts, each in a broker of its own."""
    turns = list(_turns(folder, primary, spare))
    return [turn.told["backend"] for turn in turns]


def _turns(folder: Path, primary: Agent, spare: Agent) -> Iterator[Turn]:
    config = chain(primary=primary.entry, spare=spare.entry)
    with BrokerProcess(folder, config) as broker:
        session = broker.open()
        yield broker.prompt(session, "one")
    primary.go_down()
    with BrokerProcess(folder, config) as broker:
        yield _resumed(broker, session, "two")
    primary.come_up()
    # That it was down is remembered; this is about what happens when that is over.
    (broker.home / "health.json").unlink(missing_ok=True)
    with BrokerProcess(folder, config) as broker:
        yield _resumed(broker, session, "three")


def _resumed(broker: BrokerProcess, session: str, text: str) -> Turn:
    broker.initialize()
    broker.call("session/resume", sessionId=session, cwd=str(broker.work), mcpServers=[])
    return broker.prompt(session, text)


@pytest.mark.parametrize("script", [LOADS, RESUMES], ids=["loads", "resumes"])
def test_an_agent_that_finds_its_session_again_is_told_of_the_turn_that_it_missed(tmp_path: Path, script: dict) -> None:
    """And of nothing that it remembers."""
    primary, spare = Agent(tmp_path, "primary", script, keeps=True), Agent(tmp_path, "spare", SPARE)
    served = three_turns(tmp_path, primary, spare)
    (first,), (missed, third) = primary.prompts
    ((handed, second),) = spare.prompts

    assert ["primary", "spare", "primary"] == served
    assert ("one", TWO, "three") == (first, said(missed), third)
    assert (ONE, "two") == (said(handed), second)


@pytest.mark.parametrize("script", [FORGETS, LIES], ids=["neither loads nor resumes", "lies"])
def test_an_agent_that_remembers_nothing_is_told_all(tmp_path: Path, script: dict) -> None:
    """One that answers `session/load` of an id that it does not know with success remembers nothing either."""
    primary, spare = Agent(tmp_path, "primary", script), Agent(tmp_path, "spare", SPARE)
    served = three_turns(tmp_path, primary, spare)
    (first,), (missed, third) = primary.prompts

    assert ["primary", "spare", "primary"] == served
    assert ("one", ONE + TWO, "three") == (first, said(missed), third)
