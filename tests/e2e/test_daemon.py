"""`acp-broker serve` as a process: two clients and one broker, and what signals do to it."""

import signal
from pathlib import Path

import pytest

from tests.support.broker import agent, chain
from tests.support.daemon import Daemon

AT = {"do": "ext", "method": "_at"}
INTERRUPTED, BUSY = -33005, -33003


def test_a_conversation_over_the_unix_socket(tmp_path: Path) -> None:
    """As over stdio."""
    with Daemon(tmp_path, chain(primary={"turns": [[{"do": "say", "text": "hi"}]]})) as daemon:
        editor = daemon.unix()
        turn = editor.prompt(editor.open())

    assert (["say hi"], "end_turn") == (turn.words, turn.reply["result"]["stopReason"])


def test_sigterm_when_nothing_runs(tmp_path: Path) -> None:
    """Exit status 0, and nothing is left: no process, no socket, no daemon.json."""
    with Daemon(tmp_path, chain(primary={})) as daemon:
        editor = daemon.unix()
        editor.prompt(editor.open())
        daemon.signal(signal.SIGTERM)
        daemon.ended()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_turn_may_end(tmp_path: Path, number: signal.Signals) -> None:
    """It was accepted: it is not cut off because somebody restarts a service. New ones are refused."""
    waits = {"turns": [[AT, {"do": "askPermission", "title": "?"}, {"do": "say", "text": "done"}]]}
    with Daemon(tmp_path, chain(primary=waits)) as daemon:
        editor, other = daemon.unix(), daemon.unix()
        idle = other.open()
        running = editor.start(editor.open())
        question = editor.until_method("session/request_permission")
        daemon.signal(number)
        daemon.until_logged("draining")
        refused = other.prompt(idle).reply
        editor.answer(question, {"outcome": {"outcome": "cancelled"}})
        turn = editor.until_reply(running)
        daemon.ended()

    assert (BUSY, ["say done"]) == (refused["error"]["code"], turn.words)
    assert "end_turn" == turn.reply["result"]["stopReason"]


def test_a_turn_that_does_not_end_is_interrupted(tmp_path: Path) -> None:
    """With an error of its own; the words that were shown stay."""
    endless = {"turns": [[{"do": "say", "text": "so far"}, {"do": "stall"}]]}
    config = chain(primary=agent(endless, limits={"cancellingMs": 200, "stoppingMs": 100}), limits={"drainMs": 100})
    with Daemon(tmp_path, config) as daemon:
        editor = daemon.unix()
        running = editor.start(editor.open())
        editor.until_method("session/update")
        daemon.signal(signal.SIGTERM)
        reply = editor.until_reply(running).reply
        daemon.ended()

    assert INTERRUPTED == reply["error"]["code"]
