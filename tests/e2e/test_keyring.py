"""A secret on its way through a real Secret Service: from a pipe into the keyring, and from there into an agent."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import secret_service
from tests.support.broker import BrokerProcess, chain
from tests.support.secret_service import SecretService

CANARY = "canary-5d0e61b7aa \N{SNOWMAN}"
PROFILE = {"type": "token", "token": {"source": "keyring", "id": "work key"}, "env": "WORK_TOKEN"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    secret_service.need()
    with secret_service.secret_service(tmp_path_factory.mktemp("session")) as service:
        yield service


def made(folder: Path, service: SecretService) -> BrokerProcess:
    script = {"turns": [[{"do": "say", "text": "primary"}]]}
    config = chain(
        primary=script, spare={"turns": [[{"do": "say", "text": "spare"}]]}, limits={"leasingMs": 300, "learnMs": 100}
    )
    config["backends"]["primary"]["auth"] = "work"
    return BrokerProcess(folder, {**config, "auth": {"profiles": {"work": PROFILE}}}, env=service.environ)


def ran(broker: BrokerProcess, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        broker.command(*words), env=broker.env, input=given, capture_output=True, text=True, timeout=60
    )


def test_a_secret_goes_into_the_keyring_and_from_there_into_an_agent(tmp_path: Path, service: SecretService) -> None:
    """By the commands that a person types; and it is in no file of ours."""
    broker = made(tmp_path, service)
    kept = ran(broker, "auth", "set", "work", given=f"{CANARY}\n")
    status = ran(broker, "auth", "status", "--json")
    with broker:
        turn = broker.prompt(broker.open())
        given = [Path(f"/proc/{one.pid}/environ").read_bytes() for one in broker.agents("primary")]

    assert (0, "Kept in the keyring, as work key.") == (kept.returncode, kept.stdout.splitlines()[0])
    assert ["ok"] == [one["state"] for one in json.loads(status.stdout)["profiles"][0]["credentials"]]
    assert ["say primary"] == turn.words
    assert given
    assert all(f"WORK_TOKEN={CANARY}".encode() in one.split(b"\0") for one in given)
    assert [] == [file for file in tmp_path.rglob("*") if file.is_file() and CANARY.encode() in file.read_bytes()]


def test_a_secret_that_was_removed_is_gone(tmp_path: Path, service: SecretService) -> None:
    """The next broker says so, and its fallback answers."""
    broker = made(tmp_path, service)
    ran(broker, "auth", "set", "work", given=CANARY)
    removed, again = ran(broker, "auth", "logout", "work"), ran(broker, "auth", "logout", "work")
    with broker:
        turn = broker.prompt(broker.open())

    assert (0, 1) == (removed.returncode, again.returncode)
    assert (["say spare"], ["primary auth_missing", "spare"]) == (turn.words, turn.attempts)


def test_a_keyring_that_hangs_holds_up_neither_a_turn_nor_the_end(tmp_path: Path, service: SecretService) -> None:
    """A stopped daemon takes the question and never answers: the bus does not know."""
    broker = made(tmp_path, service)
    os.kill(service.pid, signal.SIGSTOP)
    try:
        with broker:
            turn = broker.prompt(broker.open())
    finally:
        os.kill(service.pid, signal.SIGCONT)

    assert (["say spare"], ["primary silent", "spare"]) == (turn.words, turn.attempts)
