"""An agent gets its key through each kind of reference; what hangs holds up nobody; and no key is anywhere else."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.auth.programs import kept, program
from tests.support.broker import BrokerProcess, agent, chain
from tests.support.daemon import Daemon

CANARY = "canary-8c1fd3a977"
# Beside the leasing limit: how long `initialize` and `session/new` wait for a primary that does not open.
BRIEF = {"leasingMs": 500, "learnMs": 100, "sessionNewMs": 100}
HANGS = "time.sleep(600)"
RING = f"""
from keyring.backend import KeyringBackend

class Ring(KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        return "{CANARY}" if (service, username) == ("acp-broker", "work") else None
    def set_password(self, service, username, password):
        raise NotImplementedError
"""


def says(text: str) -> dict:
    return {"turns": [[{"do": "say", "text": text}]]}


def secret(folder: Path, source: str) -> tuple[object, dict, dict]:
    """A reference of this source to CANARY; the providers that it needs, and variables of the broker."""
    match source:
        case "env":
            return "${WORK_KEY}", {}, {"WORK_KEY": CANARY}
        case "file":
            path = kept(folder, json.dumps({"team": {"key": CANARY}}))
            provider = {"source": "file", "path": str(path)}
            return {"source": "file", "provider": "kept", "id": "/team/key"}, {"kept": provider}, {}
        case "single":
            provider = {"source": "file", "path": str(kept(folder, f"{CANARY}\n")), "mode": "singleValue"}
            return {"source": "file", "provider": "kept", "id": "value"}, {"kept": provider}, {}
        case "exec":
            helper = program(folder, f'answer({{name: "{CANARY}"}})')
            provider = {"source": "exec", "command": str(helper)}
            return {"source": "exec", "provider": "vault", "id": "work/key"}, {"vault": provider}, {}
    (folder / "ring.py").write_text(RING)
    env = {"PYTHONPATH": str(folder), "PYTHON_KEYRING_BACKEND": "ring.Ring"}
    return {"source": "keyring", "id": "work"}, {}, env


def keyed(reference: object, providers: dict, *, primary: dict | None = None, **members: object) -> dict:
    """A chain whose primary has such a key in THE_KEY, and whose spare has none."""
    config = chain(primary=agent(primary or says("primary"), auth="work"), spare=says("spare"), **members)
    profile = {"type": "api_key", "key": reference, "env": "THE_KEY"}
    return {**config, "auth": {"profiles": {"work": profile}}, "secrets": {"providers": providers}}


def hanging(folder: Path) -> dict:
    provider = {"source": "exec", "command": str(program(folder, HANGS)), "timeoutMs": 600_000}
    return keyed({"source": "exec", "provider": "vault", "id": "k"}, {"vault": provider}, limits=BRIEF)


def environment(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


@pytest.mark.parametrize("source", ["env", "file", "single", "exec", "keyring"])
def test_an_agent_gets_its_key(tmp_path: Path, source: str) -> None:
    """Wherever it is kept; and it answers."""
    reference, providers, env = secret(tmp_path, source)
    with BrokerProcess(tmp_path, keyed(reference, providers), env=env) as broker:
        turn = broker.prompt(broker.open())
        given = [environment(one.pid) for one in broker.agents("primary")]

    assert ["say primary"] == turn.words
    assert given
    assert all(f"THE_KEY={CANARY}".encode() in one for one in given)


def test_a_key_that_cannot_be_had_moves_on_and_is_explained(tmp_path: Path) -> None:
    """Who reads it knows the profile, the reference and what to do."""
    path = kept(tmp_path, "{}", mode=0o644)
    reference = {"source": "file", "provider": "kept", "id": "/k"}
    config = keyed(reference, {"kept": {"source": "file", "path": str(path)}})
    with BrokerProcess(tmp_path, config) as broker:
        turn = broker.prompt(broker.open())

    why = (
        f'profile work has no credential: file secret /k of "kept": '
        f"others can read or write {path} (mode 0644): chmod 600 {path}"
    )
    assert ["say spare"] == turn.words
    assert ["primary auth_missing", "spare"] == turn.attempts
    assert [why] == [line["why"] for line in broker.log("attempt_failed")]


def test_a_key_that_was_put_right_is_found(tmp_path: Path) -> None:
    """By the next session that needs it: a failure is not kept."""
    reference, providers, _ = secret(tmp_path, "file")
    path = tmp_path / "secrets.json"
    path.chmod(0o644)
    only = keyed(reference, providers)
    only["acp"]["fallbacks"] = []
    with BrokerProcess(tmp_path, only) as broker:
        first = broker.prompt(broker.open())
        path.chmod(0o600)
        second = broker.prompt(broker.open())

    assert ("error" in first.reply, ["say primary"]) == (True, second.words)


def test_the_fallback_answers_for_a_primary_whose_secret_program_hangs(tmp_path: Path) -> None:
    """Within the primary's leasingMs; and the broker ends at once, with the program and all of its kin."""
    with BrokerProcess(tmp_path, hanging(tmp_path)) as broker:
        session = broker.open()
        began = time.monotonic()
        turn = broker.prompt(session)
        took = time.monotonic() - began
        began = time.monotonic()
    ended = time.monotonic() - began

    assert (["say spare"], ["primary silent", "spare"]) == (turn.words, turn.attempts)
    assert took < 3
    assert ended < 3


def test_a_program_that_is_late_puts_no_login_in_doubt(tmp_path: Path) -> None:
    """Its own limit ends it before the attempt's does, and says what it was that took so long."""
    config = hanging(tmp_path)
    config["secrets"]["providers"]["vault"]["timeoutMs"] = 100
    with BrokerProcess(tmp_path, {**config, "limits": {}}) as broker:
        turn = broker.prompt(broker.open())

    why = 'profile work has no credential: exec secret k of "vault": no answer within 0.1 s'
    assert ["primary silent", "spare"] == turn.attempts
    assert [why] == [line["why"] for line in broker.log("attempt_failed")]


def test_the_broker_ends_at_once_while_a_secret_is_looked_up(tmp_path: Path) -> None:
    """A program that hangs is ended with it, and so is who waits for it."""
    with BrokerProcess(tmp_path, hanging(tmp_path)) as broker:
        broker.open()
        began = time.monotonic()
    assert time.monotonic() - began < 3


def test_the_broker_ends_at_once_while_a_keyring_hangs(tmp_path: Path) -> None:
    """Its thread cannot be ended, and is not waited for."""
    (tmp_path / "ring.py").write_text(RING.replace("return ", "import time; time.sleep(600); return "))
    config = keyed({"source": "keyring", "id": "work"}, {}, limits=BRIEF)
    env = {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "ring.Ring"}
    with BrokerProcess(tmp_path, config, env=env) as broker:
        turn = broker.prompt(broker.open())
        began = time.monotonic()

    assert ["say spare"] == turn.words
    assert time.monotonic() - began < 3


def test_a_hung_program_is_ended_when_the_broker_is_killed(tmp_path: Path) -> None:
    """kill -9: its guardian does it."""
    with BrokerProcess(tmp_path, hanging(tmp_path)) as broker:
        broker.open()
        broker.kill()
        left = broker.left_over()

    assert [] == left


def test_an_agent_whose_key_is_refused_is_given_the_new_one(tmp_path: Path) -> None:
    """A rotated key: the process has the old one for life, and the one that was looked up is kept for minutes."""
    rotated = tmp_path / "rotated"
    helper = program(tmp_path, f'answer({{name: "new" if Path({str(rotated)!r}).exists() else "old"}})')
    refuses = {"turns": [[{"do": "fail", "code": 401, "message": "invalid api key"}], [{"do": "say", "text": "well"}]]}
    reference = {"source": "exec", "provider": "vault", "id": "k"}
    config = keyed(reference, {"vault": {"source": "exec", "command": str(helper)}}, primary=refuses)
    with BrokerProcess(tmp_path, config) as broker:
        session = broker.open()
        turn = broker.prompt(session)
        rotated.touch()
        broker.prompt(broker.open())
        given = {entry for one in broker.agents("primary") for entry in environment(one.pid)}

    assert ["primary auth_rejected", "spare"] == turn.attempts
    assert (True, False) == (b"THE_KEY=new" in given, b"THE_KEY=old" in given)


@pytest.mark.parametrize("source", ["env", "file", "exec", "keyring"])
def test_a_key_is_in_no_file_and_with_nobody_else(tmp_path: Path, source: str) -> None:
    """Neither in logs, session logs, errors, status nor `config check`; nor with another backend's agent."""
    reference, providers, env = secret(tmp_path, source)
    config = keyed(reference, providers, primary={"turns": [[{"do": "fail", "message": "boom"}]]})
    with Daemon(tmp_path, config, env=env) as daemon:
        editor = daemon.unix()
        turn = editor.prompt(editor.open())
        others = [entry for one in daemon.agents("spare") for entry in environment(one.pid)]
        status = daemon.ask("status", "--json").stdout
        checked = daemon.ask("config", "check")
    kept_here = {tmp_path / "secrets.json", tmp_path / "helper", tmp_path / "ring.py"}
    files = [
        path for path in tmp_path.rglob("*") if path.is_file() and path not in kept_here and "pyc" not in path.name
    ]
    found = [path for path in files if CANARY.encode() in path.read_bytes()]

    assert ["primary unclassified", "spare"] == turn.attempts
    assert others
    assert not any(CANARY.encode() in entry for entry in others)
    assert CANARY not in status + checked.stdout + checked.stderr + json.dumps(turn.heard)
    assert [] == found


def test_ask_gets_its_key_from_a_program_with_what_config_passes_on(tmp_path: Path) -> None:
    """A program is given the variables that `passEnv` names, and no other of the broker's."""
    seen = tmp_path / "seen"
    body = f"Path({str(seen)!r}).write_text(json.dumps(dict(os.environ))); answer({{name: '{CANARY}'}})"
    provider = {
        "source": "exec",
        "command": str(program(tmp_path, body)),
        "passEnv": ["VAULT_ADDR"],
        "env": {"OWN": "1"},
    }
    config = keyed({"source": "exec", "provider": "vault", "id": "k"}, {"vault": provider})
    broker = BrokerProcess(tmp_path, config, env={"VAULT_ADDR": "here", "OTHER": "o"})
    ran = subprocess.run(broker.command("ask", "hello"), env=broker.env, capture_output=True, text=True)
    given = json.loads(seen.read_text())

    assert (0, "primary") == (ran.returncode, ran.stdout.strip()), ran.stderr
    assert ("here", "1", None) == tuple(given.get(name) for name in ("VAULT_ADDR", "OWN", "OTHER"))


def test_a_daemon_takes_its_token_from_a_program(tmp_path: Path) -> None:
    """Looked up at the start; its bridges show it, and its agents are not given it."""
    provider = {"source": "exec", "command": str(program(tmp_path, f"answer({{name: '{CANARY}'}})"))}
    token = {"source": "exec", "provider": "vault", "id": "bridge"}
    config = chain(primary=says("primary"), frontends={"websocket": {"port": 0, "token": token}})
    with Daemon(tmp_path, {**config, "secrets": {"providers": {"vault": provider}}}) as daemon:
        bridge = daemon.websocket(token=CANARY)
        turn = bridge.prompt(bridge.open())
        refused, _ = daemon.get("/acp", daemon.upgrade(token="another-" + CANARY))
        given = [entry for one in daemon.agents("primary") for entry in environment(one.pid)]

    assert (["say primary"], 401) == (turn.words, refused)
    assert given
    assert not any(CANARY.encode() in entry for entry in given)


def test_config_check_says_what_cannot_be_looked_up(tmp_path: Path) -> None:
    """And asks no program and no keyring to find out."""
    asked = tmp_path / "asked"
    helper = program(tmp_path, f"Path({str(asked)!r}).touch()")
    loose = program(tmp_path, "", "loose")
    loose.chmod(0o777)
    providers = {
        "kept": {"source": "file", "path": str(tmp_path / "none.json")},
        "vault": {"source": "exec", "command": str(helper)},
        "loose": {"source": "exec", "command": str(loose)},
        "few": {"source": "env", "allowlist": ["OTHER"]},
    }
    secrets = {
        "a": {"source": "file", "provider": "kept", "id": "/k"},
        "b": {"source": "exec", "provider": "vault", "id": "k"},
        "c": {"source": "exec", "provider": "loose", "id": "k"},
        "d": {"source": "env", "provider": "few", "id": "WORK_KEY"},
        "e": {"source": "keyring", "id": "k"},
    }
    profiles = {name: {"type": "token", "token": one, "env": "T"} for name, one in secrets.items()}
    config = {**chain(primary={}), "auth": {"profiles": profiles}, "secrets": {"providers": providers}}
    env = {"WORK_KEY": CANARY, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    broker = BrokerProcess(tmp_path, config, env=env)
    ran = subprocess.run(broker.command("config", "check"), env=broker.env, capture_output=True, text=True)

    none = f"no keyring service is here, and {broker.home}/auth/secrets.json has no entry 'k' of service 'acp-broker'"
    assert [
        f'auth.profiles.a: file secret /k of "kept": cannot read {tmp_path}/none.json: No such file or directory',
        f'auth.profiles.c: exec secret k of "loose": {loose} can be changed by others: chmod go-w {loose}',
        'auth.profiles.d: $WORK_KEY: is not in the allowlist of "few"',
        f'auth.profiles.e: keyring secret k of "default": {none} (acp-broker auth set)',
    ] == [line.removeprefix("warning: ") for line in ran.stderr.splitlines()]
    assert (0, False) == (ran.returncode, asked.exists())
