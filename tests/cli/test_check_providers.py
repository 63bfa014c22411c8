"""`acp-broker check` of backends that ask a provider themselves: a whole process, and the fault server."""

import json
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

from tests.app.test_setup import serving
from tests.auth.programs import kept
from tests.auth.test_google import account
from tests.support.machine import Machine
from tests.support.provider import Pace, provider
from tests.support.rotating import Minting, rotating

pytestmark = pytest.mark.anyio

KEY = "canary-71f2c0"
LOCKED = """
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

class Keyring(KeyringBackend):
    priority = 1

    def get_password(self, service, username):
        raise KeyringLocked("locked")

    def set_password(self, service, username, password):
        raise KeyringLocked("locked")
"""
PROFILES = {"work": {"type": "api_key", "key": "${WORK_KEY}"}}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.environ["WORK_KEY"] = KEY
    return machine


def configure(machine: Machine, profiles: object = PROFILES, **backends: dict) -> None:
    """The chain, in this order."""
    first, *rest = backends
    entries = {name: {"kind": "openai", "model": "drill-model", **entry} for name, entry in backends.items()}
    content = {"acp": {"backend": first, "fallbacks": rest}, "backends": entries, "auth": {"profiles": profiles}}
    machine.write(".config/acp-broker/config.json", content).chmod(0o600)


async def check(machine: Machine, *words: str, status: int = 0) -> list[dict]:
    """What it says of each backend."""
    return (await to_thread.run_sync(partial(machine.json, "check", *words, status=status)))["backends"]


async def told(machine: Machine) -> str:
    return (await to_thread.run_sync(machine.run, "check")).stdout


async def test_one_that_is_there_is_asked_for_its_models_and_nothing_else(machine: Machine) -> None:
    """A look costs no tokens; the request is told, the key is not."""
    async with provider() as server:
        configure(machine, one={"baseUrl": f"{server.url}/v1", "auth": "work"})
        out = await told(machine)
        (seen,) = server.seen

    assert ("/v1/models", f"Bearer {KEY}") == (seen.path, seen.headers["authorization"])
    assert [
        "✓ one  primary  drill-model at {url}/v1",
        "  key        $WORK_KEY",
        "  asked      GET {url}/v1/models; no tokens",
        "  it says    lists 1 model, drill-model among them",
        "  can        talk and think; takes text, images, embedded files; no tools, no files, no MCP",
        "  shares     nothing, as far as is known",
        "",
        "{config}: all 1 can answer",
    ] == out.replace(server.url, "{url}").replace(str(machine.config), "{config}").splitlines()


async def test_a_server_of_this_machine_that_is_down_is_said(machine: Machine) -> None:
    """With what starts it; a chain that is shorter than it looks is status 1."""
    async with provider(fault="refused") as server:
        configure(machine, one={"preset": "ollama", "baseUrl": f"{server.url}/v1"})
        (one,) = await check(machine, status=1)

    assert ("unreachable", False, None) == (one["failure"], one["canAnswer"], one["login"]["state"])
    assert ["start it (`ollama serve`), or write in `baseUrl` where it listens"] == one["advice"]


async def test_a_model_that_the_server_lacks_is_said_with_the_nearest(machine: Machine) -> None:
    """With the list, and the line to write."""
    async with provider() as server:
        server.models = ("qwen3-8b", "nomic-embed")
        configure(machine, one={"preset": "lmstudio", "baseUrl": f"{server.url}/v1", "model": "qwen3-9b"})
        (one,) = await check(machine, status=1)

    assert ("model_not_found", True) == (one["failure"], "it lists qwen3-8b, nomic-embed" in one["why"])
    assert ['write `"model": "qwen3-8b"`, if that is meant'] == one["advice"]


async def test_a_key_that_is_refused_is_named_and_not_quoted(machine: Machine) -> None:
    """By where it comes from."""
    async with provider(fault="401") as server:
        server.lists_fail = True
        configure(machine, one={"baseUrl": f"{server.url}/v1", "auth": "work"})
        (one,) = await check(machine, status=1)

    assert ("auth_rejected", "required") == (one["failure"], one["login"]["state"])
    assert ["put a key that its provider takes into $WORK_KEY"] == one["advice"]
    assert KEY not in json.dumps(one)


async def test_a_provider_that_quotes_the_key_is_not_repeated(machine: Machine) -> None:
    """OpenAI does."""
    with serving(json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}).encode(), 401) as port:
        configure(machine, one={"baseUrl": f"http://127.0.0.1:{port}/v1", "auth": "work"})
        (one,) = await check(machine, status=1)

    assert ("auth_rejected", True, False) == (
        one["failure"],
        "Incorrect API key provided" in one["why"],
        KEY in json.dumps(one),
    )


async def test_the_next_key_of_a_profile_is_looked_at_with(machine: Machine) -> None:
    """As in a turn; each is asked once."""
    machine.environ["SPARE_KEY"] = "spare"
    profiles = {"work": {"type": "api_key", "key": ["${WORK_KEY}", "${SPARE_KEY}"]}}
    async with provider(fault="401") as server:
        server.lists_fail = True
        configure(machine, profiles, one={"baseUrl": f"{server.url}/v1", "auth": "work"})
        (one,) = await check(machine, status=1)
        asked = [seen.headers["authorization"] for seen in server.seen]

    assert [f"Bearer {KEY}", "Bearer spare"] == asked
    assert ["$WORK_KEY"] == [failed["credential"] for failed in one["login"]["failed"]]


async def test_a_key_that_is_not_there_is_said_and_nobody_is_asked(machine: Machine) -> None:
    """A variable that is not set, an entry that the keyring lacks."""
    kept = {"type": "api_key", "key": {"source": "keyring", "id": "work"}}
    unset = {"type": "api_key", "key": "${NOWHERE}"}
    async with provider() as server:
        entry = {"baseUrl": f"{server.url}/v1"}
        configure(
            machine, {"kept": kept, "unset": unset}, one={**entry, "auth": "unset"}, two={**entry, "auth": "kept"}
        )
        machine.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
        one, two = await check(machine, status=1)

    assert [] == server.seen
    assert ["auth_missing", "auth_missing"] == [one["failure"], two["failure"]]
    advice = ["put a key that its provider takes into $NOWHERE", "acp-broker auth set kept"]
    assert advice == [one["advice"][0], two["advice"][0]]


async def test_a_keyring_that_does_not_open_is_not_to_be_filled(machine: Machine) -> None:
    """The entry is there; what is wrong is for `auth status` to say."""
    folder = machine.write("locked.py", LOCKED).parent
    machine.environ |= {"PYTHON_KEYRING_BACKEND": "locked.Keyring", "PYTHONPATH": str(folder)}
    kept = {"kept": {"type": "api_key", "key": {"source": "keyring", "id": "work"}}}
    async with provider() as server:
        configure(machine, kept, one={"baseUrl": f"{server.url}/v1", "auth": "kept"})
        (one,) = await check(machine, status=1)

    assert ([], "auth_missing", True) == (server.seen, one["failure"], "the keyring says: locked" in one["why"])
    assert ["acp-broker auth status says what is wrong with kept"] == one["advice"]


CLAUDE = {"kind": "anthropic-vertex", "auth": "gcp", "project": "p"}
GEMINI = {"kind": "gemini", "auth": "gcp", "vertex": {"project": "p", "location": "europe-west1"}}


async def test_vertex_is_looked_at_with_a_token_of_googles(machine: Machine, tmp_path: Path) -> None:
    """From the file of credentials to the model; and a right that is missing is told as that, not as a bad login."""
    async with provider() as server:
        with rotating(Minting()) as issuer:
            profile = {"type": "google", "credentialsFile": str(kept(tmp_path, account(issuer.url)))}
            entries = {
                name: {**one, "baseUrl": server.url} for name, one in {"claude": CLAUDE, "gemini": GEMINI}.items()
            }
            configure(machine, {"gcp": profile}, **entries)
            good = await check(machine)
            server.lists_fail, server.fault = True, "403"
            refused = await check(machine, status=1)

    assert [
        "counts tokens of drill-model at global, in project p",
        "counts tokens of drill-model at europe-west1, in project p",
    ] == [one["provider"]["says"] for one in good]
    assert ["auth_rejected"] * 2 == [one["failure"] for one in refused]
    said = "have roles/aiplatform.user granted in p, and look whether it has the model"
    assert [said] * 2 == [one["advice"][0] for one in refused]
    assert 4 == len(server.seen)


async def test_a_login_of_googles_that_is_not_there_is_said_with_its_place(machine: Machine) -> None:
    """Before anybody is asked for anything."""
    async with provider() as server:
        configure(machine, {"gcp": {"type": "google"}}, gemini={**GEMINI, "baseUrl": server.url})
        (one,) = await check(machine, status=1)

    assert ("auth_rejected", []) == (one["failure"], server.seen)
    assert "gcloud auth application-default login" in one["why"]
    assert ["acp-broker auth status says what is wrong with gcp"] == one["advice"]


async def test_with_a_turn_the_turn_is_what_counts(machine: Machine) -> None:
    """A server may fail to list its models and answer well: then nobody looks."""
    async with provider("ready", pace=Pace(0.002, 0.02)) as server:
        server.models = ("other",)
        configure(machine, one={"preset": "lmstudio", "baseUrl": f"{server.url}/v1"})
        (one,) = await check(machine, "--turn")

    assert (True, "ready", None) == (one["canAnswer"], one["turn"]["words"], one["provider"])
    assert ["chat"] == [seen.api for seen in server.seen]


async def test_behind_a_turn_that_failed_the_look_says_more(machine: Machine) -> None:
    """The turn's failure stays the one that is told."""
    async with provider(fault="404", pace=Pace(0.002, 0.02)) as server:
        server.models = ("drill-modal",)
        configure(machine, one={"preset": "lmstudio", "baseUrl": f"{server.url}/v1"})
        (one,) = await check(machine, "--turn", status=1)

    assert ("model_not_found", True) == (one["turn"]["failure"], 'write `"model": "drill-modal"`' in one["advice"][0])
    assert ["chat", "models"] == [seen.api for seen in server.seen]


async def test_what_is_one_failure_domain_is_said(machine: Machine) -> None:
    """One host, one key; and an entry that is another one but for its name is no fallback at all."""
    async with provider() as server:
        one = {"baseUrl": f"{server.url}/v1", "auth": "work"}
        two = {"kind": "anthropic", "baseUrl": server.url, "auth": "work"}
        configure(machine, one=one, two=two, three=one)
        found = await check(machine)

    assert [
        [{"backend": "two", "what": ["provider", "credential"]}, {"backend": "three", "what": ["everything"]}],
        [
            {"backend": "one", "what": ["provider", "credential"]},
            {"backend": "three", "what": ["provider", "credential"]},
        ],
    ] == [report["shares"] for report in found[:2]]
    assert "it is one under another name: no turn that has asked the one asks the other" in found[2]["advice"]


async def test_an_agent_shares_its_provider_with_a_backend_that_asks_it_itself(machine: Machine) -> None:
    """Claude Code and kind `anthropic` go down together; without a key nothing is asked."""
    machine.install("claude-agent-acp")
    machine.write(".claude/.credentials.json", "{}")
    unset = {"unset": {"type": "api_key", "key": "${NOWHERE}"}}
    claude = {"kind": "acp", "command": ["claude-agent-acp"]}
    configure(machine, unset, api={"kind": "anthropic", "auth": "unset"}, claude=claude)
    config = json.loads(machine.config.read_text())
    del config["backends"]["claude"]["model"]
    machine.config.write_text(json.dumps(config))

    api, _ = await check(machine, status=1)

    assert [{"backend": "claude", "what": ["provider"]}] == api["shares"]


async def test_any_mode_can_be_mapped_to_one_that_only_talks(machine: Machine) -> None:
    """The line to write is said."""
    modes = {
        "currentModeId": "default",
        "availableModes": [{"id": "default", "name": "D"}, {"id": "plan", "name": "P"}],
    }
    machine.install("agent", {"modes": modes})
    async with provider() as server:
        configure(machine, agent={"kind": "acp", "command": ["agent"]}, one={"baseUrl": f"{server.url}/v1"})
        config = json.loads(machine.config.read_text())
        del config["backends"]["agent"]["model"]
        machine.config.write_text(json.dumps(config))
        _, one = await check(machine)

    expected = 'it is passed over while agent is in plan; in backends.one write "modes": {"plan":"plan"}'
    assert expected in one["advice"]
