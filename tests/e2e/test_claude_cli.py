"""The real Claude Code CLI as the primary of a real broker, against a provider on loopback that fails.

Its program is that of tests/agents: the ACP adapter brings the whole CLI along.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.support import real_agents
from tests.support.broker import ROLE, BrokerProcess, chain
from tests.support.provider import Provider, provider

SAYS = "alpha beta gamma delta"
SPARE = {"turns": [[{"do": "say", "text": "spare here"}]]}
SWITCHED = ["say spare here"]
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

# Fault -> what it is said to have failed by, before its first word.
BEFORE = {
    "429": "rate_limited",
    "503": "server_error",
    "529": "overloaded",
    "401": "auth_rejected",
    "400": "unsupported",
    "402": "billing",
    "refused": "unreachable",
    "reset-headers": "unreachable",
    "garbage": "garbled",
    "err-first": "server_error",
    "eof-first": "unreachable",
    "empty": "empty_turn",
}
BEHIND = ("err-mid", "reset-mid", "eof-mid")


@pytest.fixture(scope="module")
def program() -> str:
    """The program for this machine; of several, the one that runs."""
    real_agents.install()
    found = sorted((real_agents.HERE / "node_modules" / "@anthropic-ai").glob("claude-agent-sdk-*/claude"))
    return next(str(path) for path in found if subprocess.run([path, "-v"], capture_output=True).returncode == 0)


@pytest.fixture
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


@pytest.fixture
def config(program: str, server: Provider, tmp_path: Path) -> Mapping[str, object]:
    home = tmp_path / "home"
    home.mkdir()
    env = {
        "ANTHROPIC_API_KEY": "sk-drill",
        "ANTHROPIC_BASE_URL": server.url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "HOME": str(home),
        ROLE: "primary",
    }
    return chain(primary={"kind": "anthropic-cli", "command": [program], "env": env}, spare=SPARE)


@contextmanager
def talking(folder: Path, config: Mapping[str, object]) -> Iterator[tuple[BrokerProcess, str]]:
    with BrokerProcess(folder, config) as broker:
        yield broker, broker.open()


def asked(server: Provider) -> dict:
    """The latest request of a turn."""
    return msgspec.json.decode(server.asked("anthropic", main=True)[-1].body)


def said(server: Provider) -> str:
    return msgspec.json.encode(asked(server)["messages"]).decode()


def words(turn) -> str:
    return "".join(one.removeprefix("say ") for one in turn.words if one.startswith("say "))


def test_two_turns_are_one_conversation_in_one_process(tmp_path, config, server):
    """A process for each turn would cost a third of a second more; and it remembers."""
    with talking(tmp_path, config) as (broker, session):
        first = broker.prompt(session, "the first")
        before = broker.agents("primary")[0].pid
        second = broker.prompt(session, "the second")
        after = broker.agents("primary")[0].pid

    assert (SAYS, SAYS, ["primary"], before) == (words(first), words(second), second.attempts, after)
    assert ("the first" in said(server), SAYS in said(server)) == (True, True)


@pytest.mark.parametrize("fault", BEFORE)
def test_what_fails_before_its_first_word_is_answered_by_the_spare(tmp_path, config, breaks, fault):
    """Not one word of the failure is shown, though it words it as a message."""
    breaks(fault)
    with talking(tmp_path, config) as (broker, session):
        turn = broker.prompt(session)
    heard = [word for word in turn.words if word.split()[0] not in ("usage", "commands")]

    assert (SWITCHED, [f"primary {BEFORE[fault]}", "spare"]) == (heard, turn.attempts)


@pytest.mark.parametrize("fault", BEHIND)
def test_what_fails_behind_words_keeps_them_and_is_an_error(tmp_path, config, breaks, fault):
    """A truncated stream is never a finished answer."""
    breaks(fault)
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


def test_a_new_broker_takes_the_conversation_up(tmp_path, config, server):
    """`--resume`: by its own memory, in which its own words are its own."""
    with talking(tmp_path, config) as (broker, session):
        broker.prompt(session, "the first")
    with BrokerProcess(tmp_path, config) as broker:
        broker.initialize()
        broker.call("session/load", sessionId=session, cwd=str(broker.work), mcpServers=[])
        broker.prompt(session, "the second")
    said_by_it = [one["content"] for one in asked(server)["messages"] if one["role"] == "assistant"]

    assert SAYS in msgspec.json.encode(said_by_it).decode()


def test_a_session_without_a_turn_begins_anew(tmp_path, config):
    """It writes nothing down before the first prompt: there is nothing to resume."""
    with talking(tmp_path, config) as (broker, session):
        assert session
    with BrokerProcess(tmp_path, config) as broker:
        broker.initialize()
        broker.call("session/load", sessionId=session, cwd=str(broker.work), mcpServers=[])
        turn = broker.prompt(session)

    assert (SAYS, ["primary"]) == (words(turn), turn.attempts)


@pytest.mark.parametrize(("option", "is_there"), [("allow", True), ("reject", False)])
def test_a_file_is_written_if_the_person_allows_it(tmp_path, config, breaks, option, is_there):
    """`session/request_permission` of ACP, by its own control requests."""
    breaks("tool-write")
    with talking(tmp_path, config) as (broker, session):
        reply = {"outcome": {"outcome": "selected", "optionId": option}}
        broker.answers["session/request_permission"] = reply
        turn = broker.prompt(session)
        status = next(one["status"] for one in reversed(turn.updates) if one["sessionUpdate"] == "tool_call_update")

    assert (is_there, "completed" if is_there else "failed") == ((broker.work / "drill.txt").exists(), status)


def test_a_mode_that_edits_asks_nobody(tmp_path, config, breaks):
    """`session/set_mode`, while the process runs."""
    breaks("tool-write")
    with talking(tmp_path, config) as (broker, session):
        broker.call("session/set_mode", sessionId=session, modeId="acceptEdits")
        turn = broker.prompt(session)
    questions = [one for one in turn.heard if one.get("method") == "session/request_permission"]

    assert ([], True) == (questions, (broker.work / "drill.txt").exists())


def test_tools_of_a_server_are_there_in_the_first_turn(tmp_path, config, server):
    """Told by its input, and ready before the prompt is read."""
    script = tmp_path / "ducks.py"
    script.write_text(MCP)
    ducks = {"name": "ducks", "command": "python3", "args": [str(script)], "env": []}
    with BrokerProcess(tmp_path, config) as broker:
        broker.initialize()
        opened = broker.call("session/new", cwd=str(broker.work), mcpServers=[ducks])
        broker.prompt(opened["result"]["sessionId"])

    assert "mcp__ducks__quack" in msgspec.json.encode(asked(server)).decode()


def test_a_cancel_leaves_it_running(tmp_path, config, breaks):
    """The next turn finds it as it was."""
    breaks("stall-mid")
    with talking(tmp_path, config) as (broker, session):
        request = broker.start(session)
        broker.until(lambda one: one.get("params", {}).get("update", {}).get("sessionUpdate") == "agent_message_chunk")
        before = broker.agents("primary")[0].pid
        broker.cancel(session)
        cancelled = broker.until_reply(request)
        breaks("good")
        again = broker.prompt(session)
        after = broker.agents("primary")[0].pid

    assert ("cancelled", SAYS, before) == (cancelled.reply["result"]["stopReason"], words(again), after)


def test_a_cancel_ends_a_turn_that_waits_for_the_person(tmp_path, config, breaks):
    """The question is taken back, and the file is not written."""
    breaks("tool-write")
    with talking(tmp_path, config) as (broker, session):
        request = broker.start(session)
        question = broker.until_method("session/request_permission")
        broker.cancel(session)
        broker.answer(question, {"outcome": {"outcome": "cancelled"}})
        turn = broker.until_reply(request)
        breaks("good")
        again = broker.prompt(session)

    assert ("cancelled", False) == (turn.reply["result"]["stopReason"], (broker.work / "drill.txt").exists())
    assert ["primary"] == again.attempts


def test_killed_in_the_middle_it_is_a_crash_and_comes_back(tmp_path, config, breaks):
    """kill -9, behind words that were shown."""
    breaks("stall-mid")
    with talking(tmp_path, config) as (broker, session):
        request = broker.start(session)
        broker.until(lambda one: one.get("params", {}).get("update", {}).get("sessionUpdate") == "agent_message_chunk")
        os.kill(broker.agents("primary")[0].pid, signal.SIGKILL)
        crashed = broker.until_reply(request)

    assert (-33002, ["primary crashed"]) == (crashed.reply["error"]["code"], crashed.attempts)


def test_it_does_not_outlive_its_broker(tmp_path, config, breaks):
    """kill -9 of the broker, in the middle of a turn."""
    breaks("stall-mid")
    with BrokerProcess(tmp_path, config) as broker:
        session = broker.open()
        broker.start(session)
        broker.until(lambda one: one.get("params", {}).get("update", {}).get("sessionUpdate") == "agent_message_chunk")
        broker.kill()

        assert [] == broker.left_over()


def test_its_own_commands_answer(tmp_path, config):
    """Without a model and without a token used."""
    with talking(tmp_path, config) as (broker, session):
        turns = [broker.prompt(session, text) for text in ("hello", "/context", "hello")]

    assert ["primary"] * 3 == [turn.told["backend"] for turn in turns]
    assert words(turns[1]).startswith("## Context Usage")
