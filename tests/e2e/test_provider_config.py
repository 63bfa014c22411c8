"""From config.json to a provider: a whole process, a key that is in no variable, and no other place."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import pytest
from anyio import to_thread

from acp_broker.app.kinds import kind, kinds
from acp_broker.config import load
from tests.auth.programs import kept
from tests.support.broker import BrokerProcess, chain
from tests.support.chat_player import playing
from tests.support.config import write
from tests.support.provider import Pace, provider
from tests.support.renewing import stored
from tests.support.rotating import Rotating, rotating

pytestmark = pytest.mark.anyio

CANARY = "canary-8c1fd3a977"
SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}


def configured(folder: Path, url: str, kind: str = "openai", member: str = "key") -> dict:
    primary = {"kind": kind, "baseUrl": f"{url}/v1", "model": "drill-model", "auth": "work"}
    provider = {"source": "file", "path": str(kept(folder, json.dumps({"key": CANARY})))}
    secret = {"source": "file", "provider": "kept", "id": "/key"}
    profile = {"type": {"key": "api_key"}.get(member, member), member: secret}
    return {
        **chain(primary=primary, spare=SPARE),
        "auth": {"profiles": {"work": profile}},
        "secrets": {"providers": {"kept": provider}},
    }


def one_turn(folder: Path, config: dict) -> dict:
    """The answer to a prompt."""
    with BrokerProcess(folder, config, home=folder / "home") as broker:
        return broker.prompt(broker.open(), "hello").reply


@pytest.mark.parametrize(
    ("kind", "member", "expected"),
    [
        ("openai", "key", ("authorization", f"Bearer {CANARY}")),
        ("anthropic", "key", ("x-api-key", CANARY)),
        ("anthropic", "token", ("authorization", f"Bearer {CANARY}")),
        ("gemini", "key", ("x-goog-api-key", CANARY)),
        ("gemini", "token", ("authorization", f"Bearer {CANARY}")),
    ],
)
async def test_a_key_goes_to_the_provider_and_nowhere_else(tmp_path, kind, member, expected):
    """No variable is named for it: no child is to have it."""
    async with provider("alpha beta", pace=Pace(0.002, 0.02)) as server:
        config = configured(tmp_path, server.url, kind, member)
        reply = await to_thread.run_sync(partial(one_turn, tmp_path, config))
    (asked,) = server.asked()

    assert ("end_turn", [expected]) == (
        reply["result"]["stopReason"],
        [(name, value) for name, value in asked.headers.items() if CANARY in value],
    )


async def test_a_login_that_the_broker_renews_is_a_token(tmp_path):
    """Anthropic refuses it as a key."""
    (tmp_path / "home").mkdir(mode=0o700)
    async with provider("alpha beta", pace=Pace(0.002, 0.02)) as server:
        with rotating(Rotating()) as issuer:
            stored(tmp_path / "home", issuer.refresh)
            config = configured(tmp_path, server.url, "anthropic")
            config["auth"]["profiles"]["work"] = {"type": "oauth", "clientId": "me", "tokenUrl": issuer.url}
            await to_thread.run_sync(partial(one_turn, tmp_path, config))
            expected = f"Bearer {issuer.access}"
    (asked,) = server.asked()

    assert (expected, False) == (asked.headers.get("authorization"), "x-api-key" in asked.headers)


async def test_a_key_that_is_refused_is_not_quoted(tmp_path):
    """Providers repeat what they refuse: it must get into no log, no error and no session."""
    refusal = {"do": "fail", "message": f"Incorrect API key provided: {CANARY}."}
    async with playing([[refusal]]) as server:
        config = configured(tmp_path, server.url.removesuffix("/v1"))
        reply = await to_thread.run_sync(partial(one_turn, tmp_path, config))
        found = [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]

    assert (False, 1) == (CANARY in json.dumps(reply), len(found))


async def test_a_gateways_odd_failure_is_what_config_says(tmp_path):
    """A 400 for a full queue: without its row the turn would end, and the spare stand by."""
    odd = {"do": "answer", "status": 400, "type": "application/json", "body": '{"error": {"message": "queue is full"}}'}
    async with playing([[odd]]) as server:
        config = configured(tmp_path, server.url.removesuffix("/v1"))
        config["backends"]["primary"]["failures"] = [{"status": 400, "text": "queue is full", "kind": "rate_limited"}]
        reply = await to_thread.run_sync(partial(one_turn, tmp_path, config))

    tried = [(one["backend"], one.get("failure")) for one in reply["result"]["_meta"]["acp-broker"]["attempts"]]
    assert [("primary", "rate_limited"), ("spare", None)] == tried


@pytest.mark.parametrize("kind", ["anthropic", "gemini", "openai"])
def test_nothing_of_http_is_loaded_before_it_is_opened(kind):
    """A quarter of a second, for those alone who use it."""
    code = f"import sys, backends.{kind}; print(sorted(sys.modules.keys() & {{'httpx2', 'backends.http.client'}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "[]" == loaded.strip()


NEAR = {"kind": "openai", "baseUrl": "http://127.0.0.1:1234/v1/", "model": "m"}


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ({"kind": "openai", "preset": "lmstudio", "model": "m"}, True),
        ({**NEAR, "system": "Be brief.", "maxTokens": 9, "limits": {"firstByteMs": 1}, "contextWindow": 8}, True),
        ({**NEAR, "historyBytes": 5, "images": False, "failures": [{"status": 400, "kind": "billing"}]}, True),
        ({**NEAR, "model": "n"}, False),
        ({**NEAR, "auth": "work"}, False),
        ({**NEAR, "baseUrl": "http://127.0.0.1:1235/v1"}, False),
        ({**NEAR, "headers": {"x-route": "blue"}}, False),
        ({**NEAR, "kind": "anthropic"}, False),
    ],
)
def test_two_entries_that_ask_the_same_are_known_as_one(other, is_same):
    """Where, of which model, as whom: not how it is put, or how long is waited."""
    made = [msgspec.convert(entry, kind(entry["kind"]).config).asks for entry in (NEAR, other)]

    assert is_same == (msgspec.json.encode(made[0]) == msgspec.json.encode(made[1]))


def test_a_fallback_that_is_the_primary_again_is_told_when_config_is_read(tmp_path):
    """Whoever wrote it counts on it."""
    config = chain(primary=NEAR, other={**NEAR, "model": "n"}, again={**NEAR, "system": "Be brief."})
    (warning,) = load(kinds(), path=write(tmp_path, config), environ={}).warnings

    found = '"again" asks the same of the same provider as "primary": no turn tries both'
    assert ("acp.fallbacks[1]", found) == (warning.path, warning.finding)
