"""config.json is edited while an editor works: real brokers, real agents, real files."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess, chain
from tests.support.daemon import WEBSOCKET, Daemon
from tests.support.matrix import strike
from tests.support.processes import GONE_WITHIN_S, wait_gone


def says(text: str) -> dict:
    return {"turns": [[{"do": "say", "text": text}]]}


HANGS = {"turns": [[{"do": "stall"}]]}
OLD, NEW = chain(old=says("old")), chain(new=says("new"))


def edited(broker: BrokerProcess, config: object) -> None:
    """Put it into the file as it stands there, and wait until it holds."""
    before = len(broker.log("config_adopted"))
    broker.config.write_text(json.dumps(config))
    broker.until_logged("config_adopted", before + 1)


def refused(broker: BrokerProcess) -> str:
    return " ".join(broker.until_logged("config_refused")["problems"])


def test_an_edit_of_the_fallbacks_holds_from_the_next_turn(tmp_path):
    """The session stays, and so does the editor's connection."""
    dies = {"turns": [[{"do": "die"}]]}
    with BrokerProcess(tmp_path, chain(primary=dies, one=says("one"))) as broker:
        session = broker.open()
        first = broker.prompt(session)
        edited(broker, chain(primary=dies, other=says("other")))
        second = broker.prompt(session)

    assert (["say one"], ["say other"]) == (first.words, second.words)


def test_a_turn_that_runs_while_the_file_is_edited_fails_over_as_it_would_have(tmp_path):
    """The backend that takes over is in config.json no more; the next turn does not find it."""
    with BrokerProcess(tmp_path, chain(primary=HANGS, one=says("one"))) as broker:
        session = broker.open()
        running = broker.start(session)
        broker.until_agents("primary", 1)
        edited(broker, chain(other=says("other")))
        strike(broker, "primary")
        first = broker.until_reply(running)
        second = broker.prompt(session)

    assert (["primary crashed", "one"], ["other"]) == (first.attempts, second.attempts)


def test_who_is_removed_is_gone_when_its_turn_is_over(tmp_path):
    """No agent of an old config stays behind."""
    with BrokerProcess(tmp_path, chain(primary=says("old"))) as broker:
        broker.prompt(broker.open())
        agents = broker.agents("primary")
        edited(broker, NEW)

        assert agents
        assert all(wait_gone(one, time.monotonic() + GONE_WITHIN_S) for one in agents)


def test_an_agents_new_environment_is_its_next_processs(tmp_path):
    """A rotated key, say: the old process has the old one for life."""
    with BrokerProcess(tmp_path, chain(primary=says("x"))) as broker:
        broker.prompt(broker.open())
        before = broker.agents("primary")[-1]
        anew = chain(primary=says("x"))
        anew["backends"]["primary"]["env"]["NEW_ONE"] = "1"
        edited(broker, anew)
        turn = broker.prompt(broker.sessions[0])
        after = broker.agents("primary")[-1]

        has = b"NEW_ONE=1" in Path(f"/proc/{after.pid}/environ").read_bytes().split(b"\0")
        assert (["say x"], True, False) == (turn.words, has, before == after)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"acp": {"backend": "a"', "not JSON"),
        (b"", "is empty"),
        (json.dumps({**OLD, "acp": {"backend": "nobody"}}).encode(), "no backend is called"),
    ],
    ids=["half", "empty", "wrong"],
)
def test_an_edit_that_cannot_be_used_changes_nothing_and_is_said(tmp_path, content, said):
    """The work goes on."""
    with BrokerProcess(tmp_path, OLD) as broker:
        session = broker.open()
        broker.config.write_bytes(content)
        told = refused(broker)
        turn = broker.prompt(session)

    assert (True, ["say old"]) == (said in told, turn.words)


def test_a_file_that_is_deleted_holds_until_there_is_another(tmp_path):
    """As some tools save."""
    with BrokerProcess(tmp_path, OLD) as broker:
        session = broker.open()
        broker.config.unlink()
        told = refused(broker)
        first = broker.prompt(session)
        broker.configure(NEW)
        broker.until_logged("config_adopted")
        second = broker.prompt(session)

    assert (True, ["say old"], ["say new"]) == ("no such file" in told, first.words, second.words)


def test_a_link_that_leads_to_another_file_is_followed(tmp_path):
    """As where a ConfigMap is mounted: nothing at the link's end was written to."""
    with BrokerProcess(tmp_path, OLD) as broker:
        session = broker.open()
        for name, config in (("one", OLD), ("two", NEW)):
            (tmp_path / name).write_text(json.dumps(config))
            (tmp_path / name).chmod(0o600)
        for name in ("one", "two"):
            link = tmp_path / "link"
            link.symlink_to(tmp_path / name)
            link.replace(broker.config)
        broker.until_logged("config_adopted")

        assert ["say new"] == broker.prompt(session).words


def test_a_daemon_reads_it_at_once_when_it_is_told_to(tmp_path):
    """SIGHUP, as administrators expect."""
    with Daemon(tmp_path, chain(old=says("old"), frontends=WEBSOCKET)) as daemon:
        bridge = daemon.websocket()
        session = bridge.open()
        daemon.configure(chain(new=says("new"), frontends=WEBSOCKET))
        daemon.signal(signal.SIGHUP)
        daemon.until_logged("config_adopted")

        assert ["say new"] == bridge.prompt(session).words


def test_status_shows_what_is_wrong_with_an_edit(tmp_path):
    """Where an administrator looks first."""
    with Daemon(tmp_path, chain(old=says("old"), frontends=WEBSOCKET)) as daemon:
        daemon.configure({**OLD, "acp": {"backend": "nobody"}})
        daemon.until_logged("config_refused")
        shown = daemon.ask("status").stdout
        (problem,) = daemon.status()["config"]["refused"]["problems"]

    assert ("acp.backend", True) == (problem["path"], problem["finding"] in shown)


def test_status_shows_what_waits_for_a_restart(tmp_path):
    """An edited port is not the one that it listens on."""
    with Daemon(tmp_path, chain(old=says("old"), frontends=WEBSOCKET)) as daemon:
        daemon.configure(chain(old=says("old"), frontends={"websocket": {"port": 1}}))
        daemon.until_logged("config_needs_restart")

        assert ["frontends.websocket.port"] == daemon.status()["config"]["needsRestart"]


def test_limits_of_clients_hold_for_who_comes_next(tmp_path):
    """Nobody has to restart a daemon to let one more in."""
    full = chain(old=says("old"), frontends=WEBSOCKET, limits={"connections": 1})
    with Daemon(tmp_path, full) as daemon:
        daemon.websocket()
        before, _ = daemon.get("/acp", daemon.upgrade())
        daemon.configure(chain(old=says("old"), frontends=WEBSOCKET, limits={"connections": 2}))
        daemon.until_logged("config_adopted")
        after = daemon.websocket().open()

    assert (503, True) == (before, after.startswith("acpb-"))
