"""What an agent that is known is started with, through the whole broker: it depends on who follows it in the chain."""

import sys
from pathlib import Path

from tests.support.broker import BrokerProcess, agent, chain

RETRIES = "CLAUDE_CODE_MAX_RETRIES"
# Answers a prompt with how often it may retry; told to, it fails instead.
AGENT = f"""
import json, os, sys
def write(**message):
    print(json.dumps({{"jsonrpc": "2.0", **message}}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "session/prompt":
        if sys.argv[1:] == ["fails"]:
            write(id=message["id"], error={{"code": -32603, "message": "overloaded"}})
            continue
        text = {{"type": "text", "text": os.environ.get("{RETRIES}", "as many as it likes")}}
        update = {{"sessionUpdate": "agent_message_chunk", "content": text}}
        write(method="session/update", params={{"sessionId": "s", "update": update}})
        write(id=message["id"], result={{"stopReason": "end_turn"}})
    elif "id" in message:
        write(id=message["id"], result={{"protocolVersion": 1, "sessionId": "s"}})
"""


def claude(*arguments: str) -> dict:
    return {"kind": "acp", "command": [sys.executable, "-c", AGENT, *arguments], "agent": "claude"}


def words(folder: Path, **env: str) -> list[str]:
    """What a chain says that stands in `folder`'s config."""
    with BrokerProcess(folder, chain(primary=claude(), spare={}), env=env) as broker:
        return broker.prompt(broker.open()).words


def test_a_primary_with_a_fallback_does_not_retry(tmp_path: Path) -> None:
    """It fails at once, and the next answers."""
    assert ["say 0"] == words(tmp_path)


def test_what_the_user_has_set_holds(tmp_path: Path) -> None:
    """In their shell, or where the editor was started."""
    assert ["say 3"] == words(tmp_path, **{RETRIES: "3"})


def test_the_last_of_a_chain_retries(tmp_path: Path) -> None:
    """All others have failed by then."""
    with BrokerProcess(tmp_path, chain(primary=claude("fails"), spare=claude())) as broker:
        turn = broker.prompt(broker.open())

    assert ["say as many as it likes"] == turn.words


def test_an_agent_that_stands_alone_retries(tmp_path: Path) -> None:
    """It is a chain of one."""
    with BrokerProcess(tmp_path, chain(primary=claude())) as broker:
        turn = broker.prompt(broker.open())

    assert ["say as many as it likes"] == turn.words


def test_a_notice_of_a_known_agent_is_held_until_its_turn_has_ended(tmp_path: Path) -> None:
    """On a busy machine the end follows late: an agent whose failures come as messages is given the time."""
    notice = {"do": "say", "text": "API Error: 529 Overloaded"}
    late = {"turns": [[notice, {"do": "stall", "ms": 700}, {"do": "fail", "message": "API Error: 529 Overloaded"}]]}
    spare = {"turns": [[{"do": "say", "text": "spare here"}]]}
    with BrokerProcess(tmp_path, chain(primary=agent(late, agent="claude"), spare=spare)) as broker:
        turn = broker.prompt(broker.open())

    assert (["say spare here"], ["primary overloaded", "spare"]) == (turn.words, turn.attempts)
