"""A person logs in, and a real agent answers with the token: nothing on the way is ours but the broker.

The OAuth server is oidc-provider from npm, the agent Goose; the provider is the tests' own, and looks at the header.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from msgspec.structs import replace

from acp_broker.auth.lease import Logins
from acp_broker.clock import SystemClock
from acp_broker.core.names import ProfileId
from matrix.place import Place
from tests.support import real_agents
from tests.support.broker import BrokerProcess
from tests.support.oidc import OidcServer, oidc_server
from tests.support.provider import Provider, provider

TOP = Path(__file__).parents[2]
WORK = ProfileId("work")
WORDS = "Here is what was asked for."


@pytest.fixture
def model():
    """A provider on loopback."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(provider(WORDS)) as server:
        yield server


def made(folder: Path, tokens: OidcServer, model: Provider) -> BrokerProcess:
    """A broker whose one agent has no key of its own, and is given the token of a profile in its place."""
    seat = Place(folder / "cell").seat(real_agents.install()["goose"], model.url)
    env = {name: value for name, value in seat.env.items() if name != "OPENAI_API_KEY"}
    profile = {
        "type": "oauth",
        "clientId": "public",
        "tokenUrl": tokens.token_url,
        "authorizationUrl": tokens.authorization_url,
        "scopes": ["openid", "offline_access"],
        "parameters": {"prompt": "consent"},
        "env": "OPENAI_API_KEY",
    }
    config = {
        "acp": {"backend": "goose"},
        "backends": {"goose": {"kind": "acp", "command": seat.command, "env": env, "auth": "work"}},
        "auth": {"profiles": {"work": profile}},
    }
    return BrokerProcess(folder, config)


def log_in(broker: BrokerProcess, folder: Path) -> None:
    """As a person does, with a browser that fills in the server's own forms."""
    browser = folder / "browser"
    browser.write_text(f'#!/bin/sh\ncd {TOP} && {sys.executable} -m tests.support.oidc "$1" >/dev/null\n')
    browser.chmod(0o700)
    env = {name: value for name, value in broker.env.items() if name != "SSH_CONNECTION"}
    command = broker.command("login", "work")
    subprocess.run(command, env={**env, "BROWSER": f"{browser} %s"}, check=True, timeout=120, capture_output=True)


def test_a_real_agent_answers_with_a_token_that_was_renewed_for_it(tmp_path: Path, model: Provider) -> None:
    """The login's own token has ended meanwhile: the agent gets the next one, and shows no other."""
    with oidc_server() as tokens:
        broker = made(tmp_path, tokens, model)
        log_in(broker, tmp_path)
        logins = Logins(broker.home, SystemClock())
        first = logins.read(WORK).tokens
        logins.put(WORK, replace(first, expires_at=first.obtained_at))
        with broker:
            turn = broker.prompt(broker.open())
        second = logins.read(WORK).tokens
    shown = {seen.headers.get("authorization") for seen in model.asked()}

    assert ({f"Bearer {second.access}"}, True) == (shown, first.access != second.access)
    said = [word.removeprefix("say ") for word in turn.words if word.startswith("say ")]
    assert WORDS == "".join(said).strip()
