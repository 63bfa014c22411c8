"""Several credentials in one profile: each is tried before the next backend is, and rests by itself."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess, chain
from tests.support.daemon import Daemon

# Plays one script with the good key, another with any other.
_CHOOSES = """
import os, sys
good, other = sys.argv[1:]
script = good if os.environ["THE_KEY"] == "canary-good" else other
os.execv(sys.executable, [sys.executable, "-m", "backends.scripted", "--script", script])
"""
GOOD = {"turns": [[{"do": "say", "text": "primary"}]] * 3}
REFUSES = {"turns": [[{"do": "fail", "code": 401, "message": "invalid api key"}]] * 3}
LIMITS = {"turns": [[{"do": "fail", "code": 429, "message": "rate limit exceeded"}]] * 3}
DIES = {"turns": [[{"do": "die"}]] * 3}


def config(other: dict) -> dict:
    """A primary with two keys, of which KEY_B may be the good one; with any other it plays `other`."""
    command = [sys.executable, "-c", _CHOOSES, json.dumps(GOOD), json.dumps(other)]
    primary = {"kind": "acp", "command": command, "auth": "work"}
    profile = {"type": "api_key", "key": ["${KEY_A}", "${KEY_B}"], "env": "THE_KEY"}
    made = chain(primary=primary, spare={"turns": [[{"do": "say", "text": "spare"}]] * 3})
    return {**made, "auth": {"profiles": {"work": profile}}}


def keys(second: str = "canary-good") -> dict[str, str]:
    return {"KEY_A": "canary-bad", "KEY_B": second}


@pytest.mark.parametrize(("other", "kind"), [(REFUSES, "auth_rejected"), (LIMITS, "rate_limited")])
def test_the_next_credential_is_tried_before_the_next_backend(tmp_path: Path, other: dict, kind: str) -> None:
    """In the same turn; and the next one begins with the one that works."""
    with BrokerProcess(tmp_path, config(other), env=keys()) as broker:
        session = broker.open()
        turns = [broker.prompt(session), broker.prompt(session), broker.prompt(broker.open())]
        why = [line["why"] for line in broker.log("attempt_failed")]

    assert [[f"primary {kind}", "primary"], ["primary"], ["primary"]] == [one.attempts for one in turns]
    assert [["say primary"]] * 3 == [one.words for one in turns]
    assert 1 == len(why)


def test_a_new_session_begins_with_the_credential_that_works(tmp_path: Path) -> None:
    """No agent is started with one that rests."""
    with BrokerProcess(tmp_path, config(REFUSES), env=keys()) as broker:
        broker.prompt(broker.open())
        broker.open()
        given = [entry for one in broker.agents("primary") for entry in _environment(one.pid) if b"THE_KEY" in entry]

    assert [b"THE_KEY=canary-good"] * 2 == given


def test_the_spare_answers_when_no_credential_works(tmp_path: Path) -> None:
    """Each of them was asked for once."""
    with BrokerProcess(tmp_path, config(REFUSES), env=keys("canary-other")) as broker:
        turn = broker.prompt(broker.open())

    assert ["primary auth_rejected", "primary auth_rejected", "spare"] == turn.attempts


def test_a_credential_that_cannot_be_had_is_passed_over(tmp_path: Path) -> None:
    """A variable that is not set says nothing of the other one."""
    with BrokerProcess(tmp_path, config(REFUSES), env={"KEY_B": "canary-good"}) as broker:
        turn = broker.prompt(broker.open())

    assert ["primary auth_missing", "primary"] == turn.attempts


def test_what_no_credential_is_the_cause_of_goes_on_to_the_next_backend(tmp_path: Path) -> None:
    """A process that dies would die with any."""
    with BrokerProcess(tmp_path, config(DIES), env=keys("canary-other")) as broker:
        turn = broker.prompt(broker.open())

    assert ["primary crashed", "spare"] == turn.attempts


def test_none_of_several_keys_is_in_a_file_or_with_somebody_else(tmp_path: Path) -> None:
    """Nor in what is said of them; and the agent has but one under its own name."""
    with Daemon(tmp_path, config(REFUSES), env=keys("canary-other")) as daemon:
        editor = daemon.unix()
        turn = editor.prompt(editor.open())
        spares = [entry for one in daemon.agents("spare") for entry in _environment(one.pid)]
        status = daemon.ask("status", "--json").stdout
        checked = daemon.ask("config", "check")
    # The script in config.json knows the good one.
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "config.json"]

    assert ["primary auth_rejected", "primary auth_rejected", "spare"] == turn.attempts
    assert spares
    assert not [entry for entry in spares if b"canary" in entry]
    assert "canary" not in status + checked.stdout + checked.stderr + json.dumps(turn.heard)
    assert [] == [path for path in files if b"canary" in path.read_bytes()]


def _environment(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
