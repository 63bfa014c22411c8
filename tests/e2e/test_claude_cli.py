"""The real Claude Code CLI as the primary of a real broker, against a provider on loopback that fails.

Its program is that of tests/agents: the ACP adapter brings the whole CLI along.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.support import real_agents
from tests.support.broker import ROLE, BrokerProcess, chain
from tests.support.provider import Provider, provider

SAYS = "alpha beta gamma delta"
SPARE = {"turns": [[{"do": "say", "text": "spare here"}]]}
SWITCHED = ["say spare here"]
PERMISSION = "session/request_permission"
# What the provider wants to be written.
FILE = "drill.txt"
# A server that offers one tool.
MCP = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    tools = [{"name": "quack", "description": "Quacks.", "inputSchema": {"type": "object", "properties": {}}}]
    hello = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "d", "version": ""}}
    if "id" in asked:
        result = {"initialize": hello, "tools/list": {"tools": tools}}.get(asked["method"], {})
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""

# Fault -> what it is said to have failed by, before its first word: one that it words itself, one of the connection,
# and one that it does not notice. What it writes for all others is played in tests/backends/test_anthropic_cli.py.
BEFORE = {"529": "overloaded", "eof-first": "unreachable", "empty": "empty_turn"}


@pytest.fixture(scope="module")
def program() -> str:
    """The program for this machine; of several, the one that runs."""
    real_agents.install()
    found = sorted((real_agents.HERE / "node_modules" / "@anthropic-ai").glob("claude-agent-sdk-*/claude"))
    return next(str(path) for path in found if subprocess.run([path, "-v"], capture_output=True).returncode == 0)


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as made:
        yield made


@pytest.fixture
def server(portal: BlockingPortal) -> Iterator[Provider]:
    with portal.wrap_async_context_manager(provider(SAYS)) as made:
        yield made


@pytest.fixture
def breaks(portal: BlockingPortal, server: Provider) -> Callable[[str], None]:
    """From now on the provider fails so."""
    return lambda fault: portal.call(setattr, server, "fault", fault)


def configured(program: str, server: Provider, folder: Path) -> Mapping[str, object]:
    home = folder / "home"
    home.mkdir()
    env = {
        "ANTHROPIC_API_KEY": "sk-drill",
        "ANTHROPIC_BASE_URL": server.url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "HOME": str(home),
        ROLE: "primary",
    }
    return chain(primary={"kind": "anthropic-cli", "command": [program], "env": env}, spare=SPARE)


@pytest.fixture
def config(program: str, server: Provider, tmp_path: Path) -> Mapping[str, object]:
    return configured(program, server, tmp_path)


@contextmanager
def talking(folder: Path, config: Mapping[str, object]) -> Iterator[tuple[BrokerProcess, str]]:
    with BrokerProcess(folder, config) as broker:
        yield broker, broker.open()


class Shared(NamedTuple):
    """A broker whose primary never fails, for all tests that open a session of their own in it."""

    broker: BrokerProcess
    server: Provider
    does: Callable[[str], None]


@pytest.fixture(scope="module")
def everybody(program: str, portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("shared")
    with (
        portal.wrap_async_context_manager(provider(SAYS)) as server,
        BrokerProcess(folder, configured(program, server, folder)) as broker,
    ):
        broker.initialize()
        yield Shared(broker, server, lambda fault: portal.call(setattr, server, "fault", fault))


@pytest.fixture
def shared(everybody: Shared) -> Iterator[Shared]:
    """As it was."""
    everybody.does("good")
    (everybody.broker.work / FILE).unlink(missing_ok=True)
    yield everybody
    everybody.broker.answers.clear()


def asked(server: Provider) -> dict:
    """The latest request of a turn."""
    return msgspec.json.decode(server.asked("anthropic", main=True)[-1].body)


def said(server: Provider) -> str:
    return msgspec.json.encode(asked(server)["messages"]).decode()


def pids(broker: BrokerProcess) -> list[int]:
    return [one.pid for one in broker.agents("primary")]


def is_word(message: dict) -> bool:
    return message.get("params", {}).get("update", {}).get("sessionUpdate") == "agent_message_chunk"


def words(turn) -> str:
    return "".join(one.removeprefix("say ") for one in turn.words if one.startswith("say "))


def test_turns_are_one_conversation_in_one_process(shared):
    """A process for each turn would cost a third of a second more; and it remembers. Its own commands answer, too."""
    broker, session = shared.broker, shared.broker.new()
    first = broker.prompt(session, "the first")
    before = pids(broker)
    context = broker.prompt(session, "/context")
    second = broker.prompt(session, "the second")

    assert (SAYS, SAYS, ["primary"], before) == (words(first), words(second), second.attempts, pids(broker))
    assert ("the first" in said(shared.server), SAYS in said(shared.server)) == (True, True)
    assert words(context).startswith("## Context Usage")


@pytest.mark.parametrize("fault", BEFORE)
def test_what_fails_before_its_first_word_is_answered_by_the_spare(tmp_path, config, breaks, fault):
    """Not one word of the failure is shown, though it words it as a message."""
    breaks(fault)
    with talking(tmp_path, config) as (broker, session):
        turn = broker.prompt(session)
    heard = [word for word in turn.words if word.split()[0] not in ("usage", "commands")]

    assert (SWITCHED, [f"primary {BEFORE[fault]}", "spare"]) == (heard, turn.attempts)


def test_what_fails_behind_words_keeps_them_and_is_an_error(tmp_path, config, breaks):
    """A truncated stream is never a finished answer."""
    breaks("eof-mid")
    with talking(tmp_path, config) as (broker, session):
        turn = broker.prompt(session)

    assert ("alpha beta gamma ", -33002) == (words(turn), turn.reply["error"]["code"])


def test_without_a_login_the_spare_answers(tmp_path, config):
    """`claude` was installed, and nobody has logged in yet."""
    del config["backends"]["primary"]["env"]["ANTHROPIC_API_KEY"]
    with talking(tmp_path, config) as (broker, session):
        turn = broker.prompt(session)

    assert ["primary auth_missing", "spare"] == turn.attempts


def test_silence_is_answered_by_the_spare(tmp_path, config, breaks):
    """It waits for its provider for minutes; interrupted, it obeys."""
    breaks("stall-headers")
    config["backends"]["primary"]["limits"] = {"firstOutputMs": 300}
    with talking(tmp_path, config) as (broker, session):
        turn = broker.prompt(session)

    assert ["primary silent", "spare"] == turn.attempts


def test_what_the_spare_has_said_is_handed_to_it(tmp_path, config, server, breaks):
    """After a failover it knows nothing of the turn that it lost."""
    breaks("529")
    with talking(tmp_path, config) as (broker, session):
        lost = broker.prompt(session, "the first")
        breaks("good")
        broker.call("session/close", sessionId=session)
    with BrokerProcess(tmp_path, {**config, "acp": {"backend": "primary", "fallbacks": []}}) as broker:
        broker.initialize()
        broker.call("session/load", sessionId=session, cwd=str(broker.work), mcpServers=[])
        back = broker.prompt(session, "the second")

    assert (["primary overloaded", "spare"], ["primary"]) == (lost.attempts, back.attempts)
    assert "spare here" in said(server)


def test_a_new_broker_takes_its_sessions_up(tmp_path, config, server):
    """`--resume`: by its own memory, in which its own words are its own. Before a first prompt it writes nothing down:
    where there is nothing to resume, it begins anew.
    """
    with talking(tmp_path, config) as (broker, session):
        broker.prompt(session, "the first")
        unused = broker.new()
    with BrokerProcess(tmp_path, config) as broker:
        broker.initialize()
        for one in (session, unused):
            broker.call("session/load", sessionId=one, cwd=str(broker.work), mcpServers=[])
        broker.prompt(session, "the second")
        said_by_it = [one["content"] for one in asked(server)["messages"] if one["role"] == "assistant"]
        anew = broker.prompt(unused)

    assert SAYS in msgspec.json.encode(said_by_it).decode()
    assert (SAYS, ["primary"]) == (words(anew), anew.attempts)


@pytest.mark.parametrize(("option", "is_there"), [("allow", True), ("reject", False)])
def test_a_file_is_written_if_the_person_allows_it(shared, option, is_there):
    """`session/request_permission` of ACP, by its own control requests."""
    broker = shared.broker
    shared.does("tool-write")
    broker.answers[PERMISSION] = {"outcome": {"outcome": "selected", "optionId": option}}
    turn = broker.prompt(broker.new())
    status = next(one["status"] for one in reversed(turn.updates) if one["sessionUpdate"] == "tool_call_update")

    assert (is_there, "completed" if is_there else "failed") == ((broker.work / FILE).exists(), status)


def test_a_mode_that_edits_asks_nobody(shared):
    """`session/set_mode`, while the process runs."""
    broker, session = shared.broker, shared.broker.new()
    shared.does("tool-write")
    broker.call("session/set_mode", sessionId=session, modeId="acceptEdits")
    turn = broker.prompt(session)

    assert ([], True) == ([one for one in turn.heard if one.get("method") == PERMISSION], (broker.work / FILE).exists())


def test_tools_of_a_server_are_there_in_the_first_turn(shared, tmp_path):
    """Told by its input, and ready before the prompt is read."""
    script = tmp_path / "ducks.py"
    script.write_text(MCP)
    ducks = {"name": "ducks", "command": "python3", "args": [str(script)], "env": []}
    opened = shared.broker.call("session/new", cwd=str(shared.broker.work), mcpServers=[ducks])
    shared.broker.prompt(opened["result"]["sessionId"])

    assert "mcp__ducks__quack" in msgspec.json.encode(asked(shared.server)).decode()


def test_a_cancel_leaves_it_running(shared):
    """The next turn finds it as it was."""
    broker, session = shared.broker, shared.broker.new()
    shared.does("stall-mid")
    request = broker.start(session)
    broker.until(is_word)
    before = pids(broker)
    broker.cancel(session)
    cancelled = broker.until_reply(request)
    shared.does("good")
    again = broker.prompt(session)

    assert ("cancelled", SAYS, before) == (cancelled.reply["result"]["stopReason"], words(again), pids(broker))


def test_a_cancel_ends_a_turn_that_waits_for_the_person(shared):
    """The question is taken back, and the file is not written."""
    broker, session = shared.broker, shared.broker.new()
    shared.does("tool-write")
    request = broker.start(session)
    question = broker.until_method(PERMISSION)
    broker.cancel(session)
    broker.answer(question, {"outcome": {"outcome": "cancelled"}})
    turn = broker.until_reply(request)
    shared.does("good")
    again = broker.prompt(session)

    assert ("cancelled", False) == (turn.reply["result"]["stopReason"], (broker.work / FILE).exists())
    assert ["primary"] == again.attempts


def test_killed_in_the_middle_it_is_a_crash_and_comes_back(tmp_path, config, breaks):
    """kill -9, behind words that were shown."""
    breaks("stall-mid")
    with talking(tmp_path, config) as (broker, session):
        request = broker.start(session)
        broker.until(is_word)
        os.kill(pids(broker)[0], signal.SIGKILL)
        crashed = broker.until_reply(request)

    assert (-33002, ["primary crashed"]) == (crashed.reply["error"]["code"], crashed.attempts)


def test_it_does_not_outlive_its_broker(tmp_path, config, breaks):
    """kill -9 of the broker, in the middle of a turn."""
    breaks("stall-mid")
    with BrokerProcess(tmp_path, config) as broker:
        session = broker.open()
        broker.start(session)
        broker.until(is_word)
        broker.kill()

        assert [] == broker.left_over()
