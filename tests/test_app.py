"""The composition root: what config.json says becomes what the broker is run by."""

import asyncio
import json
import os
from importlib.metadata import EntryPoint
from pathlib import Path

import anyio
import pytest

from acp_broker import app
from acp_broker.broker.runtime import Runtime
from acp_broker.config import Config, load
from acp_broker.contract import Child
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, ProfileId
from acp_broker.errors import BackendFailure, UsageError
from backends import scripted
from backends.acp import environment as acp_environment
from tests.support.clock import settled
from tests.support.config import write
from tests.support.vault import vault

pytestmark = pytest.mark.anyio

A, B = BackendId("a"), BackendId("b")
KEYRING = {"source": "keyring", "id": "k"}


async def no_child(*_: object, **__: object) -> Child:
    raise AssertionError("nothing is started here")


def loaded(folder: Path, content: object) -> Config:
    return load(app.kinds(), path=write(folder, content), environ={"HOME": "/home/u"})


def chain(**backends: object) -> dict:
    first, *rest = backends
    entries = {name: {"kind": "scripted", **entry} for name, entry in backends.items()}
    return {"acp": {"backend": first, "fallbacks": rest}, "backends": entries}


def policy(folder: Path, content: object):
    return app.policy(loaded(folder, content), no_child, vault())


async def environment_of(runtime: Runtime, users: dict[str, str]) -> dict[str, str]:
    """Of its child, as it is when it is opened for such a user."""
    return dict(runtime.environment(users, (await runtime.lease(users, 0)).secret))


def profiles(**named: str) -> dict:
    """Profiles that read their key from the variable of this name, for a child's ANTHROPIC_API_KEY."""
    made = {
        name: {"type": "api_key", "key": {"source": "env", "id": variable}, "env": "ANTHROPIC_API_KEY"}
        for name, variable in named.items()
    }
    return {"profiles": made}


async def test_the_chain_is_the_primary_then_the_fallbacks(tmp_path):
    """In config's order, whatever the order of `backends`."""
    config = chain(a={}, b={})
    config["backends"] = dict(reversed(config["backends"].items()))

    assert (A, B) == policy(tmp_path, config).order


async def test_a_backend_that_nobody_names_is_not_prepared(tmp_path):
    """A spare entry costs nothing."""
    config = chain(a={})
    config["backends"]["b"] = {"kind": "scripted"}

    assert [A] == list(policy(tmp_path, config).runtimes)


async def test_limits_are_seconds_within(tmp_path):
    """And milliseconds in config."""
    made = policy(tmp_path, {**chain(a={}), "limits": {"firstOutputMs": 1500, "chainMs": 90_000}})

    assert (1.5, 90.0) == (made.limits.first_output, made.limits.chain)


async def test_a_backends_own_limit_holds_for_it_alone(tmp_path):
    """A slow starter."""
    made = policy(tmp_path, chain(a={"limits": {"startingMs": 5000}}, b={}))

    assert (5.0, 60.0) == (made.runtimes[A].limits.starting, made.runtimes[B].limits.starting)


async def test_what_runs_commands_may_be_silent_for_as_long_as_they_take(tmp_path):
    """A provider that says nothing for minutes has gone; an agent may be building."""
    api = {"kind": "openai", "baseUrl": "http://127.0.0.1:1", "model": "m"}
    made = policy(tmp_path, chain(a={"kind": "anthropic-cli"}, b=api))

    assert (None, 300.0) == (made.runtimes[A].limits.idle, made.runtimes[B].limits.idle)


async def test_the_fingerprint_changes_with_the_config_of_the_backend(tmp_path):
    """What was learnt of another command does not hold for this one."""
    before, after = (policy(tmp_path, chain(a={"model": model})).runtimes[A].fingerprint for model in ("x", "y"))

    assert before != after


@pytest.mark.parametrize("ours", [{"limits": {"idleMs": 1000}}, {"modes": {"plan": "read-only"}}])
async def test_the_fingerprint_does_not_change_with_what_only_we_go_by(tmp_path, ours):
    """An agent keeps what it knows when its time limit is edited."""
    before, after = (policy(tmp_path, chain(a=one)).runtimes[A].fingerprint for one in ({}, ours))

    assert before == after


async def test_the_fingerprint_changes_with_the_profile(tmp_path):
    """An agent has its key in its environment, from its start on."""
    configs = [{**chain(a={"auth": "work"}), "auth": profiles(work=variable)} for variable in ("ONE_KEY", "OTHER_KEY")]
    before, after = (policy(tmp_path, config).runtimes[A].fingerprint for config in configs)

    assert before != after


async def test_the_fingerprint_is_the_same_in_every_run(tmp_path):
    """Or nothing would ever be known from an earlier one."""
    before, after = (policy(tmp_path, chain(a={})).runtimes[A].fingerprint for _ in range(2))

    assert before == after


async def test_a_candidate_carries_its_profile_and_model(tmp_path):
    """What rests when it fails."""
    config = {**chain(a={"auth": "work", "model": "m"}), "auth": profiles(work="WORK_KEY")}
    candidate = policy(tmp_path, config).runtimes[A].candidate

    assert (A, ProfileId("work"), "m") == (candidate.backend, candidate.profile, candidate.model)


async def test_a_child_is_given_its_profiles_credential(tmp_path):
    """In the variable that its runtime reads."""
    config = {**chain(a={"auth": "work"}), "auth": profiles(work="WORK_KEY")}

    assert "w" == (await environment_of(policy(tmp_path, config).runtimes[A], {"WORK_KEY": "w"}))["ANTHROPIC_API_KEY"]


async def test_a_child_is_not_given_anothers_credential(tmp_path):
    """Neither under the user's name for it, nor under the runtime's."""
    config = {**chain(a={"auth": "work"}, b={}), "auth": profiles(work="WORK_KEY")}
    users = {"WORK_KEY": "w", "ANTHROPIC_API_KEY": "old", "PATH": "/bin"}
    environment = await environment_of(policy(tmp_path, config).runtimes[B], users)

    assert {"PATH": "/bin"} == environment


async def test_two_profiles_are_kept_apart(tmp_path):
    """Each child has its own key in the same variable."""
    config = {**chain(a={"auth": "work"}, b={"auth": "home"}), "auth": profiles(work="WORK_KEY", home="HOME_KEY")}
    runtimes, users = policy(tmp_path, config).runtimes, {"WORK_KEY": "w", "HOME_KEY": "h"}

    assert [
        {"WORK_KEY": "w", "ANTHROPIC_API_KEY": "w"},
        {"HOME_KEY": "h", "ANTHROPIC_API_KEY": "h"},
    ] == [await environment_of(runtimes[one], users) for one in (A, B)]


async def test_a_credential_among_a_backends_own_variables_is_nobody_elses(tmp_path):
    """`env` may hold a key; other variables in it are no secrets."""
    config = chain(a={}, b={})
    config["backends"]["a"] = {"kind": "acp", "command": ["a"], "env": {"OPENAI_API_KEY": "k", "EDITOR": "vi"}}
    environment = await environment_of(
        policy(tmp_path, config).runtimes[B], {"OPENAI_API_KEY": "users", "EDITOR": "ed"}
    )

    assert {"EDITOR": "ed"} == environment


async def test_what_the_broker_itself_is_known_by_is_no_agents(tmp_path):
    """With either one could ask for more in the user's name: at the token server, or at the broker."""
    login = {"type": "oauth", "clientId": "me", "tokenUrl": "https://id.test/token", "clientSecret": "${CLIENT}"}
    config = {
        **chain(a={"auth": "work"}),
        "auth": {"profiles": {"work": login}},
        "frontends": {"websocket": {"token": "${SERVE}"}},
    }
    users = {"CLIENT": "c", "SERVE": "s", "PATH": "/bin"}

    assert {"PATH": "/bin"} == await environment_of(policy(tmp_path, config).runtimes[A], users)


async def test_a_strict_environment_holds_the_profiles_credential(tmp_path):
    """`envPolicy: strict` keeps out what is the user's, not what config gives to this very backend."""
    config = {**chain(a={}), "auth": profiles(work="WORK_KEY")}
    config["backends"]["a"] = {"kind": "acp", "command": ["a"], "envPolicy": "strict", "auth": "work"}
    [settings] = policy(tmp_path, config).runtimes[A].open.args

    assert {"ANTHROPIC_API_KEY": "w"} == acp_environment(settings, {"ANTHROPIC_API_KEY": "w", "OTHER": "o"})


async def test_a_credential_that_cannot_be_had_is_no_start(tmp_path):
    """An agent without its key would only say that it is logged out, in its own way."""
    config = {**chain(a={"auth": "work"}), "auth": profiles(work="WORK_KEY")}
    with pytest.raises(BackendFailure) as raised:
        await policy(tmp_path, config).runtimes[A].lease({"WORK_KEY": ""}, 0)

    text = "profile work has no credential: $WORK_KEY: is empty in this environment"
    assert Failure(FailureKind.AUTH_MISSING, text, seen_at="leasing") == raised.value.failure


async def test_a_secret_that_no_variable_is_named_for_is_not_looked_up(tmp_path):
    """config.load warns of it; the agent may have a login of its own."""
    config = {**chain(a={"auth": "x"}), "auth": {"profiles": {"x": {"type": "token", "token": KEYRING}}}}

    assert None is (await policy(tmp_path, config).runtimes[A].lease({}, 0)).secret


async def test_the_fingerprint_changes_with_where_its_secret_is_kept(tmp_path):
    """Another file, another key: the agent has the old one for life."""
    token = {"type": "token", "token": {"source": "file", "provider": "f", "id": "/k"}, "env": "T"}
    base = {**chain(a={"auth": "x"}), "auth": {"profiles": {"x": token}}}
    before, after = (
        policy(tmp_path, {**base, "secrets": {"providers": {"f": {"source": "file", "path": path}}}})
        .runtimes[A]
        .fingerprint
        for path in ("/one", "/two")
    )

    assert before != after


async def test_what_config_json_asks_in_vain_is_in_the_log(tmp_path):
    """Nobody runs `config check` when a 401 comes up."""
    config = {**chain(a={}), "auth": {"profiles": {"gcp": {"type": "google"}}}}
    async with app.running(loaded(tmp_path, config), {"ACP_BROKER_HOME": str(tmp_path / "state")}):
        pass
    lines = [json.loads(line) for line in (tmp_path / "state" / "log" / "broker.jsonl").read_text().splitlines()]

    assert ["auth.profiles.gcp"] == [line["path"] for line in lines if line["event"] == "config_warning"]


async def test_the_level_of_the_log_is_configs(tmp_path):
    """A warning is below `error`."""
    config = {**chain(a={}), "auth": {"profiles": {"gcp": {"type": "google"}}}, "log": {"level": "error"}}
    async with app.running(loaded(tmp_path, config), {"ACP_BROKER_HOME": str(tmp_path / "state")}):
        pass

    assert "" == (tmp_path / "state" / "log" / "broker.jsonl").read_text()


async def test_a_broker_runs_and_ends(tmp_path):
    """With nothing left of it but its state folder."""
    async with app.running(loaded(tmp_path, chain(a={})), {"ACP_BROKER_HOME": str(tmp_path / "state")}) as broker:
        order = broker.policy.order

    assert ((A,), True) == (order, (tmp_path / "state").is_dir())


async def test_what_raises_in_a_callback_of_the_loop_is_in_the_log(tmp_path):
    """Its stderr is read by nobody."""
    async with app.running(loaded(tmp_path, chain(a={})), {"ACP_BROKER_HOME": str(tmp_path / "state")}):
        asyncio.get_running_loop().call_soon(lambda: {}["nobody catches this"])
        await anyio.lowlevel.checkpoint()
    lines = [json.loads(line) for line in (tmp_path / "state" / "log" / "broker.jsonl").read_text().splitlines()]

    assert ["KeyError('nobody catches this')"] == [line["error"] for line in lines if line["event"] == "loop_fault"]


def test_every_kind_that_we_ship_can_be_loaded():
    """By the name that config.json uses."""
    expected = ["acp", "anthropic", "anthropic-cli", "anthropic-vertex", "gemini", "openai", "scripted"]

    assert expected == sorted(name for name in app.kinds() if app.kind(name).config is app.kinds()[name])


def test_a_kind_that_nobody_ships_is_named():
    """In one sentence."""
    with pytest.raises(UsageError, match="backend kind 'fly' cannot be loaded"):
        app.kind("fly")


def test_a_kind_of_an_outside_package_is_loaded_from_its_entry_point(monkeypatch):
    """`acp_broker.backends`, looked at only for a kind that we do not know."""
    point = EntryPoint("outside", "backends.scripted", app.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: (point,))

    assert (scripted, True) == (app.kind("outside"), "outside" in app.kinds())


def test_a_kind_that_fails_to_import_is_a_start_up_error(monkeypatch):
    """Not a backend that is mysteriously never tried."""
    point = EntryPoint("outside", "no_such_module_anywhere", app.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: (point,))
    with pytest.raises(UsageError, match="backend kind 'outside' cannot be loaded: No module named"):
        app.kind("outside")


async def test_old_sessions_are_deleted_as_config_says(tmp_path):
    """At the start; and the log says which."""
    sessions = tmp_path / "state" / "sessions"
    sessions.mkdir(parents=True, mode=0o700)
    old, young = (f"acpb-{digit * 24}" for digit in "01")
    for name in (old, young):
        (sessions / f"{name}.jsonl").write_text(
            json.dumps({"record": "opened", "format": 1, "session": name, "cwd": "/"}) + "\n"
        )
    os.utime(sessions / f"{old}.jsonl", (0, 0))
    config = {**chain(a={}), "sessions": {"keepDays": 30}}
    path = tmp_path / "state" / "log" / "broker.jsonl"
    async with app.running(loaded(tmp_path, config), {"ACP_BROKER_HOME": str(tmp_path / "state")}):
        await settled()
    said = [json.loads(line) for line in path.read_bytes().splitlines()]

    assert [young] == [log.stem for log in sessions.iterdir()]
    assert [[old]] == [line["sessions"] for line in said if line["event"] == "sessions_deleted"]


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (None, "{file} is not there"),
        ("{}", "{file} is of type '', which we do not know"),
        ("key", "{file} holds no cred"),
    ],
)
async def test_a_file_of_googles_that_holds_no_credentials_is_missing(tmp_path, content, finding):
    """A typo in its path is found before the first turn."""
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    profiles = {"gcp": {"type": "google", "credentialsFile": str(file), "env": "TOKEN"}}
    config = loaded(tmp_path, {**chain(a={}), "auth": {"profiles": profiles}})

    (found,) = app.missing(config, {})

    assert "auth.profiles.gcp" == found.path
    assert found.finding.startswith(finding.format(file=file))


@pytest.mark.parametrize("asks_machine", [True, False])
async def test_googles_credentials_may_come_from_the_machine_alone_if_that_is_said(tmp_path, asks_machine):
    """Nobody asks the metadata server while a file is checked."""
    profiles = {"gcp": {"type": "google", "metadataServer": asks_machine, "env": "TOKEN"}}
    config = loaded(tmp_path, {**chain(a={}), "auth": {"profiles": profiles}})

    assert asks_machine == (not list(app.missing(config, {"HOME": str(tmp_path)})))


async def test_a_certificate_that_is_not_there_is_missing(tmp_path):
    """`serve` would not start; who checks the config first is told."""
    tls = {"certificate": str(tmp_path / "nowhere.pem"), "key": str(tmp_path / "key.pem")}
    config = loaded(tmp_path, {**chain(a={}), "frontends": {"websocket": {"tls": tls}}})
    (found,) = app.missing(config, {})

    assert "frontends.websocket.tls" == found.path
    assert found.finding.startswith(f"cannot read {tmp_path}/nowhere.pem: No such file or directory; name a PEM file")
