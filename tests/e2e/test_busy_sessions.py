"""A prompt never goes into an agent's session in which another one still runs: every agent does something else then."""

import os
import sys
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess, chain

# Writes down each prompt: its own pid, the prompt's last word, and whether another one still ran. "go" is answered;
# "obeys" waits for its cancel, "ignores" for ever.
AGENT = """
import json, os, sys
running = {}
def write(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "session/prompt":
        word = message["params"]["prompt"][-1]["text"].split()[-1]
        with open(sys.argv[1], "a") as story:
            print(os.getpid(), word, "busy" if running else "idle", file=story)
        if word == "go":
            text = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "gone"}}
            write(method="session/update", params={"sessionId": "theirs", "update": text})
            write(id=message["id"], result={"stopReason": "end_turn"})
        else:
            running[message["id"]] = word
    elif method == "session/cancel":
        for id in [id for id, word in running.items() if word == "obeys"]:
            del running[id]
            write(id=id, result={"stopReason": "cancelled"})
    elif "id" in message:
        can = {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}
        write(id=message["id"], result=can if method == "initialize" else {"sessionId": "theirs"})
"""
LIMITS = {"firstOutputMs": 400, "cancellingMs": 400, "stoppingMs": 400}


class Heard:
    """What the agents have written down."""

    def __init__(self, path: Path) -> None:
        lines = [line.split() for line in path.read_text().splitlines()]
        self.pids = [int(pid) for pid, _, _ in lines]
        self.words = [word for _, word, _ in lines]
        self.is_ever_busy = any(state == "busy" for _, _, state in lines)


def busy(folder: Path) -> dict:
    command = [sys.executable, "-c", AGENT, str(folder / "story")]
    return chain(primary={"kind": "acp", "command": command}, limits=LIMITS)


@pytest.mark.parametrize(("word", "is_kept"), [("obeys", True), ("ignores", False)])
def test_after_a_cancel(tmp_path: Path, word: str, is_kept: bool) -> None:
    """One that has answered is asked again; one that has not is ended, and a new one asked."""
    with BrokerProcess(tmp_path, busy(tmp_path)) as broker:
        session = broker.open()
        cancelled = broker.start(session, word)
        while not (tmp_path / "story").exists():
            broker.call("session/list")
        broker.cancel(session)
        broker.until_reply(cancelled)
        first, words = Heard(tmp_path / "story").pids[0], broker.prompt(session, "go").words
        heard = Heard(tmp_path / "story")

    assert (["say gone"], False, [word, "go"]) == (words, heard.is_ever_busy, heard.words)
    assert is_kept == (heard.pids[1] == first)


@pytest.mark.parametrize(("word", "is_kept"), [("obeys", True), ("ignores", False)])
def test_after_a_turn_that_took_too_long(tmp_path: Path, word: str, is_kept: bool) -> None:
    """The broker asks it to end by itself, then ends it: nothing of it runs when the turn is answered."""
    with BrokerProcess(tmp_path, busy(tmp_path)) as broker:
        session = broker.open()
        refused = broker.prompt(session, word).reply
        words = broker.prompt(session, "go").words
        heard = Heard(tmp_path / "story")

    assert "no first output within 0.4 s" in refused["error"]["message"]
    assert (["say gone"], False, [word, "go"]) == (words, heard.is_ever_busy, heard.words)
    assert is_kept == (heard.pids[1] == heard.pids[0])


def test_one_that_must_be_ended_is_gone_before_the_turn_is_answered(tmp_path: Path) -> None:
    """Otherwise two agents would work in one folder."""
    with BrokerProcess(tmp_path, busy(tmp_path)) as broker:
        broker.prompt(broker.open(), "ignores")
        (pid,) = Heard(tmp_path / "story").pids
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_agent_that_is_known_to_ignore_cancels_is_not_waited_for(tmp_path: Path) -> None:
    """Its row says so. With the limit of the file it would be waited for longer than this test reads."""
    config = busy(tmp_path)
    config["backends"]["primary"]["agent"] = "goose"
    config["limits"] = {"firstOutputMs": 400, "stoppingMs": 600_000}
    with BrokerProcess(tmp_path, config) as broker:
        refused = broker.prompt(broker.open(), "ignores").reply

    assert "no first output within 0.4 s" in refused["error"]["message"]
