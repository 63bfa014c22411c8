"""`acp-broker init` on the machine of somebody who has no agent: whole processes, in an empty home."""

import json
import socket
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

from tests.support.machine import Machine
from tests.support.provider import Pace, Provider, provider

pytestmark = pytest.mark.anyio

KEY = "canary-90be1d"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    return machine


async def run(machine: Machine, *words: str, **environ: str) -> tuple[int, str]:
    done = await to_thread.run_sync(partial(machine.run, *words, **environ))
    assert KEY not in done.stdout + done.stderr
    return done.returncode, done.stdout


def written(machine: Machine) -> dict:
    assert KEY not in machine.config.read_text()
    return json.loads(machine.config.read_text())


def host(server: Provider) -> str:
    return server.url.removeprefix("http://")


async def test_one_key_is_enough_for_a_first_turn(machine: Machine) -> None:
    """init, then check, then a turn: nothing else is to be known. The server stands where Anthropic would."""
    environ = {"ANTHROPIC_API_KEY": KEY}
    async with provider("ready", pace=Pace(0.002, 0.02)) as server:
        server.models = ("claude-sonnet-9", "other")
        status, out = await run(machine, "init", **environ, ANTHROPIC_BASE_URL=server.url)
        checked, _ = await run(machine, "check", **environ)
        answered, words = await run(machine, "ask", "hello", **environ)

    assert (0, 0, 0, "ready") == (status, checked, answered, words.strip())
    assert {
        "kind": "anthropic",
        "baseUrl": server.url,
        "model": "claude-sonnet-9",
        "auth": "anthropic-api-key",
    } == written(machine)["backends"]["anthropic"]
    said = "  anthropic  Anthropic, $ANTHROPIC_API_KEY; lists 2 models, claude-sonnet-9 is taken"
    asked = "  asked      anthropic, each with its key: for the list of models, no tokens; --offline asks nobody"
    assert [said, asked] == out.splitlines()[1:3]
    assert "no agent is among them: they talk, and change no file" in out


async def test_a_provider_that_cannot_be_asked_is_written_all_the_same(machine: Machine) -> None:
    """With a model that is known by name; that is an assumption, and `check` sees that it cannot be reached."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environ = {"OPENROUTER_API_KEY": KEY, "HTTPS_PROXY": f"http://127.0.0.1:{port}"}

    status, out = await run(machine, "init", **environ)
    checked, told = await run(machine, "check", **environ)

    assert (0, 1, True) == (status, checked, "\n  fails      unreachable: " in told)
    assert "openrouter/auto" == written(machine)["backends"]["openrouter"]["model"]
    assert "the models of openrouter are assumed; acp-broker check verifies them" in out


async def test_offline_nobody_is_asked(machine: Machine) -> None:
    """On a train, or where a key is nobody's business yet."""
    async with provider() as server:
        environ = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.url}
        status, out = await run(machine, "init", "--offline", **environ)

    assert (0, [], True) == (status, server.seen, "is assumed: nobody was asked" in out)


async def test_a_model_server_is_enough(machine: Machine) -> None:
    """No account, no network: what is written is healthy at once."""
    async with provider() as server:
        server.models = ("nomic-embed-text", "qwen3:8b")
        status, out = await run(machine, "init", OLLAMA_HOST=host(server))
        found = (await to_thread.run_sync(partial(machine.run, "check", "--json"))).stdout

    entry = {"kind": "openai", "preset": "ollama", "baseUrl": f"{server.url}/v1", "model": "qwen3:8b"}
    assert (0, entry) == (status, written(machine)["backends"]["ollama"])
    assert f"Ollama answers at {server.url}, qwen3:8b is the first that talks of 2" in out
    assert (None, f"GET {server.url}/v1/models") == (
        next(one for one in json.loads(found)["backends"] if one["id"] == "ollama")["failure"],
        next(one for one in json.loads(found)["backends"] if one["id"] == "ollama")["provider"]["requests"][0],
    )


async def test_a_key_that_is_refused_is_said_and_left_out(machine: Machine) -> None:
    """A chain with it would be shorter than it looks."""
    async with provider(fault="401") as server:
        server.lists_fail = True
        _, out = await run(machine, "init", "--json", ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=server.url)

    (one,) = json.loads(out)["providers"]
    assert (None, True) == (one["model"], one["says"].startswith("does not take the key: "))
    assert "anthropic" not in [place["id"] for place in json.loads(out)["chain"]]


async def test_a_file_that_is_there_stays(machine: Machine) -> None:
    """Whatever was found."""
    machine.write(".config/acp-broker/config.json", "mine")

    status, _ = await run(machine, "init", "--offline", OPENROUTER_API_KEY=KEY)

    assert (1, "mine") == (status, machine.config.read_text())
