"""`acp-broker serve` as a process: several clients and one broker, and what signals do to it, also under load."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import agent, chain
from tests.support.daemon import WEBSOCKET, Daemon
from tests.support.processes import GONE_WITHIN_S, guardians_of, wait_gone
from tests.support.talk import Talk

INTERRUPTED, BUSY = -33005, -33003
CROWD = 20
ASKS = {"do": "askPermission", "title": "?"}
CANCELLED = {"outcome": {"outcome": "cancelled"}}
# A turn that ends when its test says so.
WAITS = {"turns": [[ASKS, {"do": "say", "text": "done"}]]}
# One that never does, of an agent and a family that survive the end of stdin, SIGTERM and a cancel.
STUBBORN = agent(
    {
        "turns": [
            [
                {"do": "ignoreCancel"},
                {"do": "spawn", "setsid": True, "ignoreTerm": True},
                {"do": "say", "text": "so far"},
                {"do": "stall"},
            ]
        ],
        "exit": [{"do": "stall"}],
        "terminate": [{"do": "stall"}],
    },
    limits={"cancellingMs": 200, "stoppingMs": 100},
)


def asked(client: Talk) -> tuple[int, dict]:
    """A prompt of a new session, up to where its agent asks: the prompt's id, the agent's request."""
    running = client.start(client.open())
    return running, client.until_method("session/request_permission")


def in_the_middle(client: Talk) -> int:
    """A prompt of a new session, up to its first word."""
    running = client.start(client.open())
    client.until_method("session/update")
    return running


# --- clients


@pytest.mark.parametrize("way", [Daemon.unix, Daemon.websocket])
def test_a_failover_in_the_middle_of_a_conversation(tmp_path: Path, way: Callable[[Daemon], Talk]) -> None:
    """As over stdio, whichever way the client came."""
    dies = {"turns": [[{"do": "say", "text": "one"}], [{"do": "usage", "used": 1, "size": 9}, {"do": "die"}]]}
    spare = {"turns": [[{"do": "say", "text": "two"}]]}
    with Daemon(tmp_path, chain(primary=dies, spare=spare, frontends=WEBSOCKET)) as daemon:
        client = way(daemon)
        session = client.open()
        turns = [client.prompt(session), client.prompt(session)]

    assert [["say one"], ["say two"]] == [turn.words for turn in turns]
    assert [["primary"], ["primary crashed", "spare"]] == [turn.attempts for turn in turns]


def test_two_clients_have_one_broker(tmp_path: Path) -> None:
    """What one has found out about a backend, the other need not find out again."""
    fails = {"turns": [[{"do": "fail", "code": 529, "message": "Overloaded"}]]}
    with Daemon(tmp_path, chain(primary=fails, spare={}, frontends=WEBSOCKET)) as daemon:
        editor, bridge = daemon.unix(), daemon.websocket()
        first, second = editor.prompt(editor.open()), bridge.prompt(bridge.open())

    assert (["primary overloaded", "spare"], ["spare"]) == (first.attempts, second.attempts)


def test_two_clients_hear_nothing_of_each_other(tmp_path: Path) -> None:
    """Each has its own session, and its own agent."""
    with Daemon(tmp_path, chain(primary={"turns": [[{"do": "echo", "chunks": 1}]]}, frontends=WEBSOCKET)) as daemon:
        editor, bridge = daemon.unix(), daemon.websocket()
        mine, theirs = editor.open(), bridge.open()
        prompts = editor.start(mine, "one"), bridge.start(theirs, "two")
        words = [editor.until_reply(prompts[0]).words, bridge.until_reply(prompts[1]).words]
        sessions = [{m["params"]["sessionId"] for m in talk.heard if "method" in m} for talk in (editor, bridge)]

    assert ([["say one"], ["say two"]], [{mine}, {theirs}]) == (words, sessions)


def test_an_agent_is_started_in_its_editors_environment(tmp_path: Path) -> None:
    """What an editor's terminal has set holds for its agents, as over stdio."""
    config = chain(primary={})
    with Daemon(tmp_path, config, env={"OF_BOTH": "daemon", "OF_DAEMON": "1"}) as daemon:
        editor = daemon.unix(environment={**daemon.env, "OF_BOTH": "editor", "OF_EDITOR": "1"})
        editor.open()
        (one,) = daemon.agents("primary")
        environment = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
        mine = {entry for entry in environment if entry.startswith(b"OF_")}

    assert {b"OF_BOTH=editor", b"OF_DAEMON=1", b"OF_EDITOR=1"} == mine


def test_config_says_which_of_an_editors_variables_count(tmp_path: Path) -> None:
    """The others are the daemon's: an agent without PATH or HOME would not even start."""
    config = chain(primary={}, frontends={"unix": {"environment": ["OF_A*"]}})
    with Daemon(tmp_path, config, env={"OF_A": "daemon", "OF_ABSENT": "daemon", "OF_B": "daemon"}) as daemon:
        editor = daemon.unix(environment={"OF_A": "editor", "OF_B": "editor", "OF_ANEW": "editor"})
        editor.open()
        (one,) = daemon.agents("primary")
        environment = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
        mine = {entry for entry in environment if entry.startswith(b"OF_")}

    assert {b"OF_A=editor", b"OF_ANEW=editor", b"OF_B=daemon"} == mine


def test_a_turn_of_a_bridge_goes_on_without_it(tmp_path: Path) -> None:
    """It loses its connection and comes back: the answer is in the log by then."""
    with Daemon(tmp_path, chain(primary=WAITS, frontends=WEBSOCKET, limits={"unattendedMs": 100})) as daemon:
        bridge = daemon.websocket()
        bridge.start(bridge.open())
        bridge.until_method("session/request_permission")
        bridge.close()
        over = daemon.until_logged("turn_over")

    assert "end_turn" == over["stop_reason"]


def test_a_bridge_that_comes_back_is_asked_what_waited_for_it(tmp_path: Path) -> None:
    """Its connection was gone for a moment; the person behind it was not."""
    with Daemon(tmp_path, chain(primary=WAITS, frontends=WEBSOCKET)) as daemon:
        lost = daemon.websocket()
        session = lost.open()
        lost.start(session)
        lost.until_method("session/request_permission")
        lost.close()
        bridge = daemon.websocket()
        bridge.initialize()
        bridge.request("session/load", sessionId=session, cwd=str(daemon.work), mcpServers=[])
        bridge.answer(
            bridge.until_method("session/request_permission"), {"outcome": {"outcome": "selected", "optionId": "allow"}}
        )
        over = daemon.until_logged("turn_over")

    assert "end_turn" == over["stop_reason"]


def test_a_closed_editor_window_leaves_no_agent(tmp_path: Path) -> None:
    """The daemon goes on; its process would be the memory of a chat that nobody has."""
    with Daemon(tmp_path, chain(primary={})) as daemon:
        editor = daemon.unix()
        editor.prompt(editor.open())
        (one,) = daemon.agents("primary")
        editor.leave()
        daemon.until_logged("session_unattended_closed")

        assert wait_gone(one, time.monotonic() + GONE_WITHIN_S)


# --- SIGTERM


def test_sigterm_when_nothing_runs(tmp_path: Path) -> None:
    """Exit status 0, and nothing is left: no process, no socket, no daemon.json."""
    with Daemon(tmp_path, chain(primary={}, frontends=WEBSOCKET)) as daemon:
        editor, bridge = daemon.unix(), daemon.websocket()
        editor.prompt(editor.open())
        bridge.prompt(bridge.open())
        daemon.signal(signal.SIGTERM)
        daemon.ended()

    assert (1001, "acp-broker serve is stopping") == (bridge.code, bridge.reason)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_turn_may_end(tmp_path: Path, number: signal.Signals) -> None:
    """It was accepted: it is not cut off because somebody restarts a service. New ones are refused meanwhile."""
    with Daemon(tmp_path, chain(primary=WAITS, frontends=WEBSOCKET)) as daemon:
        bridge, editor = daemon.websocket(), daemon.unix()
        idle = editor.open()
        running, question = asked(bridge)
        daemon.signal(number)
        daemon.until_logged("draining")
        refused = editor.prompt(idle).reply
        bridge.answer(question, CANCELLED)
        turn = bridge.until_reply(running)
        daemon.ended()

    assert (BUSY, ["say done"]) == (refused["error"]["code"], turn.words)
    assert "end_turn" == turn.reply["result"]["stopReason"]


def test_nobody_is_let_in_while_it_drains(tmp_path: Path) -> None:
    """Who asks is told; a proxy is told by /healthz."""
    with Daemon(tmp_path, chain(primary=WAITS, frontends=WEBSOCKET)) as daemon:
        bridge = daemon.websocket()
        before = daemon.get("/healthz")
        running, question = asked(bridge)
        daemon.signal(signal.SIGTERM)
        daemon.until_logged("draining")
        health, door = daemon.get("/healthz"), daemon.get("/acp", daemon.upgrade())
        refused = daemon.greeted()
        state = daemon.status()["state"]
        bridge.answer(question, CANCELLED)
        bridge.until_reply(running)
        daemon.ended()

    assert [(200, '{"status":"ok","version":"0.1.0"}'), (503, '{"status":"draining"}')] == [before, health]
    assert (503, {"refused": "acp-broker serve is stopping"}, "draining") == (door[0], refused, state)


def test_a_turn_that_does_not_end_is_interrupted(tmp_path: Path) -> None:
    """After limits.drainMs, with an error of its own; the words that were shown stay."""
    with Daemon(tmp_path, chain(primary=STUBBORN, limits={"drainMs": 100})) as daemon:
        editor = daemon.unix()
        running = in_the_middle(editor)
        daemon.signal(signal.SIGTERM)
        reply = editor.until_reply(running).reply
        daemon.ended()
        (log,) = (daemon.home / "sessions").iterdir()

    assert (INTERRUPTED, True) == (reply["error"]["code"], b"so far" in log.read_bytes())


def test_a_second_signal_waits_for_no_turn(tmp_path: Path) -> None:
    """drainMs would be a day."""
    with Daemon(tmp_path, chain(primary=STUBBORN, limits={"drainMs": 86_400_000})) as daemon:
        editor = daemon.unix()
        running = in_the_middle(editor)
        daemon.signal(signal.SIGTERM)
        daemon.until_logged("draining")
        daemon.signal(signal.SIGTERM)
        reply = editor.until_reply(running).reply
        daemon.ended()

    assert INTERRUPTED == reply["error"]["code"]


def test_further_signals_keep_it_from_nothing(tmp_path: Path) -> None:
    """Whoever loses patience still gets an end without left-overs."""
    with Daemon(tmp_path, chain(primary=STUBBORN)) as daemon:
        editor = daemon.unix()
        in_the_middle(editor)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            daemon.signal(number)
        daemon.ended()


def test_a_signal_during_the_start_is_not_lost(tmp_path: Path) -> None:
    """A service manager may change its mind at once."""
    with Daemon(tmp_path, chain(primary={})) as daemon:
        daemon.stop()
        for _ in range(3):
            daemon.begin("serve", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            daemon.until_logged("ready")
            daemon.signal(signal.SIGTERM)
            daemon.ended()


def test_what_was_not_read_yet_is_read_to_the_end(tmp_path: Path) -> None:
    """A client that is slow when it ends still gets its answer, and all words before it."""
    floods = {"turns": [[{"do": "flood", "count": 20_000, "text": "word ", "perWrite": 500}]]}
    with Daemon(tmp_path, chain(primary=floods, frontends=WEBSOCKET)) as daemon:
        bridge = daemon.websocket(max_queue=1)
        running = bridge.start(bridge.open())
        daemon.until_logged("turn_over")
        daemon.signal(signal.SIGTERM)
        daemon.until_logged("draining")
        turn = bridge.until_reply(running)
        daemon.ended()

    assert (20_000, "end_turn") == (len(turn.words), turn.reply["result"]["stopReason"])


# --- SIGKILL


def test_sigkill_leaves_no_agent_and_does_not_hinder_the_next(tmp_path: Path) -> None:
    """Its guardian ends the agents; the socket and daemon.json that it left are the next one's."""
    with Daemon(tmp_path, chain(primary=STUBBORN)) as daemon:
        in_the_middle(daemon.unix())
        daemon.kill()
        assert [] == daemon.left_over()
        (tmp_path / "next").mkdir()
        with Daemon(tmp_path / "next", chain(primary={}), home=daemon.home) as following:
            editor = following.unix()
            turn = editor.prompt(editor.open())

    assert "end_turn" == turn.reply["result"]["stopReason"]


def test_the_next_one_sweeps_what_a_guardian_could_not(tmp_path: Path) -> None:
    """Daemon and guardian are killed: what carries their marker is ended by whoever comes next."""
    with Daemon(tmp_path, chain(primary=STUBBORN)) as daemon:
        in_the_middle(daemon.unix())
        for guardian in guardians_of(daemon.seen):
            os.kill(guardian.pid, signal.SIGKILL)
        daemon.kill()
        (tmp_path / "next").mkdir()
        with Daemon(tmp_path / "next", chain(primary={}), home=daemon.home):
            assert [] == daemon.left_over()


# --- the same under load


def test_sigterm_under_load_lets_every_turn_end(tmp_path: Path) -> None:
    """Each client gets its words and its one answer, whatever the others do."""
    with Daemon(tmp_path, chain(primary=WAITS, frontends=WEBSOCKET)) as daemon:
        crowd = [daemon.websocket() if number % 2 else daemon.unix() for number in range(CROWD)]
        running = [asked(client) for client in crowd]
        daemon.signal(signal.SIGTERM)
        assert CROWD == daemon.until_logged("draining")["turns"]
        for client, (_, question) in zip(crowd, running, strict=True):
            client.answer(question, CANCELLED)
        turns = [client.until_reply(prompt) for client, (prompt, _) in zip(crowd, running, strict=True)]
        daemon.ended()

    assert [(["say done"], "end_turn")] * CROWD == [(turn.words, turn.reply["result"]["stopReason"]) for turn in turns]


def test_sigterm_under_load_interrupts_every_turn_that_does_not_end(tmp_path: Path) -> None:
    """All of them at once: the end takes as long as the slowest, not as all together."""
    config = chain(primary=STUBBORN, limits={"drainMs": 100}, frontends=WEBSOCKET)
    with Daemon(tmp_path, config) as daemon:
        crowd = [daemon.websocket() if number % 2 else daemon.unix() for number in range(CROWD)]
        running = [in_the_middle(client) for client in crowd]
        daemon.signal(signal.SIGTERM)
        replies = [client.until_reply(prompt).reply for client, prompt in zip(crowd, running, strict=True)]
        daemon.ended()

    assert [INTERRUPTED] * CROWD == [reply["error"]["code"] for reply in replies]


def test_sigkill_under_load_leaves_no_process(tmp_path: Path) -> None:
    """Twenty agents and their families."""
    with Daemon(tmp_path, chain(primary=STUBBORN, frontends=WEBSOCKET)) as daemon:
        for _ in range(CROWD):
            in_the_middle(daemon.websocket())
        daemon.kill()

        assert [] == daemon.left_over()


# --- SIGHUP


def test_sighup_reads_config_at_once(tmp_path: Path) -> None:
    """And says again what is wrong with it, to whoever asked: the daemon itself says it once."""
    with Daemon(tmp_path, chain(primary={})) as daemon:
        daemon.configure({"acp": {}})
        first = daemon.until_logged("config_refused")
        daemon.signal(signal.SIGHUP)
        again = daemon.until_logged("config_refused", 2)
        refused = daemon.status()["config"]["refused"]["problems"]

    assert first["problems"] == again["problems"] == [f"{one['path']}: {one['finding']}" for one in refused]


def test_sighup_under_load_touches_no_running_turn(tmp_path: Path) -> None:
    """Each turn ends on the chain that it was accepted on; the next one has the new chain."""
    config = chain(primary=WAITS, spare={"turns": [[{"do": "say", "text": "spare here"}]]}, frontends=WEBSOCKET)
    with Daemon(tmp_path, config) as daemon:
        crowd = [daemon.websocket() if number % 2 else daemon.unix() for number in range(CROWD)]
        running = [asked(client) for client in crowd]
        daemon.configure({**config, "acp": {"backend": "spare"}})
        daemon.signal(signal.SIGHUP)
        daemon.until_logged("config_adopted")
        for client, (_, question) in zip(crowd, running, strict=True):
            client.answer(question, CANCELLED)
        turns = [client.until_reply(prompt) for client, (prompt, _) in zip(crowd, running, strict=True)]
        after = [client.prompt(client.new()) for client in crowd]

    assert [["say done"]] * CROWD == [turn.words for turn in turns]
    assert [["spare"]] * CROWD == [turn.attempts for turn in after]
