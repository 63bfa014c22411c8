"""`acp-broker stdio` beside `acp-broker serve`: for an editor nothing is different, whatever happens to either."""

import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess, chain
from tests.support.daemon import Daemon
from tests.support.relayed import Relayed
from tests.support.talk import Talk

ASKS = {"do": "askPermission", "title": "?"}
ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}
# One that answers, asks, and dies in the middle of the conversation; and the one that takes over.
PRIMARY = {
    "turns": [
        [{"do": "think", "text": "hm"}, {"do": "say", "text": "one"}],
        [{"do": "usage", "used": 1, "size": 9}, {"do": "die"}],
    ]
}
SPARE = {"turns": [[ASKS, {"do": "say", "text": "two"}], [{"do": "say", "text": "x" * 200_000}]]}
# What is made anew in each run: ids of sessions, turns and messages, and how long things took.
OWN = re.compile(r'acpb-[0-9a-f]{24}|t-[0-9a-f]{12}|m[0-9a-f]{8}-\d+|"ms": \d+|"at": [\d.]+')
ENDED = "acp-broker: the daemon (pid {}) has ended; start the session again, its sessions are kept\n"
ALONE = "acp-broker: not through the daemon (pid {}), but in this process: {}\n"


def conversation(editor: Talk) -> list[str]:
    """All that an editor hears from the first word to the last, failover and refusals included."""
    editor.answers["session/request_permission"] = ALLOW
    session = editor.open()
    for text in ("first", "second", "third"):
        editor.prompt(session, text)
    editor.call("session/prompt", sessionId="unknown", prompt=[])
    editor.call("session/close", sessionId=session)
    return same(editor.heard)


def same(heard: Sequence[dict]) -> list[str]:
    """What was heard, in a form that is equal in every run."""
    return [OWN.sub("ours", json.dumps(message)) for message in heard]


def test_a_conversation_is_the_one_without_a_daemon(tmp_path: Path) -> None:
    """Byte for byte, but for the ids that are made anew; the failover in the middle of it included."""
    config = chain(primary=PRIMARY, spare=SPARE)
    (tmp_path / "alone").mkdir()
    with BrokerProcess(tmp_path / "alone", config) as broker:
        alone = conversation(broker)
    with Daemon(tmp_path, config) as daemon, Relayed(daemon) as editor:
        through = conversation(editor)

    assert alone == through
    assert "" == editor.said


def test_two_editors_hear_nothing_of_each_other(tmp_path: Path) -> None:
    """Every window of an editor starts its own relay."""
    config = chain(primary={"turns": [[{"do": "echo", "chunks": 1}]]})
    with Daemon(tmp_path, config) as daemon, Relayed(daemon, "one") as one, Relayed(daemon, "two") as two:
        editors = (one, two)
        sessions = [editor.open() for editor in editors]
        running = [editor.start(session, text) for editor, session, text in zip(editors, sessions, "ab", strict=True)]
        words = [editor.until_reply(prompt).words for editor, prompt in zip(editors, running, strict=True)]
        heard = [{m["params"]["sessionId"] for m in editor.heard if "method" in m} for editor in editors]

    assert ([["say a"], ["say b"]], [{session} for session in sessions]) == (words, heard)


def test_an_agent_has_its_editors_environment(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 too: a PATH may hold them."""
    with Daemon(tmp_path, chain(primary={})) as daemon, Relayed(daemon, env={"OF_EDITOR": "caf\udce9"}) as editor:
        editor.open()
        (one,) = editor.agents("primary")
        environment = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")

    assert b"OF_EDITOR=caf\xe9" in environment


def test_another_config_is_served_in_process(tmp_path: Path) -> None:
    """Two projects may well have two configs, and one daemon has one."""
    other = chain(other={"turns": [[{"do": "say", "text": "from the other"}]]})
    with Daemon(tmp_path, chain(primary={})) as daemon, Relayed(daemon, config=other) as editor:
        turn = editor.prompt(editor.open())

    why = f"acp-broker serve runs with another config: {daemon.config}"
    assert (["say from the other"], ALONE.format(daemon.process.pid, why)) == (turn.words, editor.said)


def test_a_stopped_daemon_keeps_nobody(tmp_path: Path) -> None:
    """It does not answer, and the kernel takes connections for it all the same."""
    with Daemon(tmp_path, chain(primary={"turns": [[{"do": "say", "text": "here"}]]})) as daemon:
        daemon.pause()
        with Relayed(daemon) as editor:
            turn = editor.prompt(editor.open())
        daemon.resume()

    assert (["say here"], ALONE.format(daemon.process.pid, "it did not answer within 1 s")) == (turn.words, editor.said)


def test_a_killed_daemon_is_said_and_the_session_is_kept(tmp_path: Path) -> None:
    """In the middle of a turn: the editor shows the line, starts again, and finds what was said before."""
    says = {"turns": [[{"do": "say", "text": "kept"}], [{"do": "say", "text": "lost?"}, {"do": "stall"}]]}
    with Daemon(tmp_path, chain(primary=says)) as daemon:
        with Relayed(daemon) as editor:
            session = editor.open()
            editor.prompt(session)
            editor.start(session)
            editor.until_method("session/update")
            daemon.kill()
            editor.ended(status=1)
        with Relayed(daemon, "again") as again:
            again.initialize()
            loading = again.request("session/load", sessionId=session, cwd=str(editor.work), mcpServers=[])
            words = again.until_reply(loading).words

    assert (ENDED.format(daemon.process.pid), "") == (editor.said, again.said)
    assert ["say kept", "say lost?", "say [acp-broker] interrupted"] == [
        word.partition(":")[0] for word in words if word.startswith("say")
    ]


def test_a_daemon_that_is_told_to_stop_lets_the_turn_end_first(tmp_path: Path) -> None:
    """The relay has carried the answer before it says that the daemon has ended."""
    waits = {"turns": [[ASKS, {"do": "say", "text": "done"}]]}
    with Daemon(tmp_path, chain(primary=waits)) as daemon, Relayed(daemon) as editor:
        running = editor.start(editor.open())
        question = editor.until_method("session/request_permission")
        daemon.signal(signal.SIGTERM)
        daemon.until_logged("draining")
        editor.answer(question, ALLOW)
        turn = editor.until_reply(running)
        editor.ended(status=1)
        daemon.ended()

    assert ("say done", ENDED.format(daemon.process.pid)) == (turn.words[-1], editor.said)


@pytest.mark.parametrize("way", ["stdin", "SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
def test_an_editor_that_leaves_takes_its_agents_along(tmp_path: Path, way: str) -> None:
    """Nobody else can want what they do; the daemon goes on for the others."""
    stalls = {"turns": [[{"do": "say", "text": "so far"}, {"do": "stall"}]]}
    with Daemon(tmp_path, chain(primary=stalls)) as daemon:
        with Relayed(daemon) as editor:
            running = editor.start(editor.open())
            editor.until_method("session/update")
            if way == "SIGKILL":
                editor.kill()
            elif way == "stdin":
                editor.leave()
            else:
                editor.process.send_signal(signal.Signals[way])
                editor.ended()
            left = editor.left_over()
        with Relayed(daemon, "another") as another:
            another.open()

    reasons = [message["result"]["stopReason"] for message in editor.heard if message.get("id") == running]
    assert ([], [] if way == "SIGKILL" else ["cancelled"]) == (left, reasons)
