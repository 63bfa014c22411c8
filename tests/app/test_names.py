"""Commands that ask servers by themselves end as soon as they have said what they know, whatever a resolver does."""

from functools import partial

import anyio
import pytest

import backends.http.looking
from acp_broker.app import credentials, kinds
from acp_broker.app.checkup.chain import checked
from acp_broker.app.setup import finding, providers
from acp_broker.config import load
from tests.support.config import write
from tests.support.resolver import resolving

LIMIT_S = 0.05


@pytest.fixture
def resolver(monkeypatch):
    monkeypatch.setattr("acp_broker.auth.secret_keyring.is_there", lambda: False)
    monkeypatch.setattr(providers, "LIMIT_S", LIMIT_S)
    monkeypatch.setattr(backends.http.looking, "LIMIT_S", LIMIT_S)
    with resolving(monkeypatch) as found:
        yield found


@pytest.fixture
def config(tmp_path):
    entry = {"kind": "openai", "baseUrl": "http://slow/v1", "model": "m"}
    return load(kinds(), path=write(tmp_path, {"acp": {"backend": "a"}, "backends": {"a": entry}}), environ={})


def test_init_ends_though_no_name_server_answers(tmp_path, resolver):
    """It knows within seconds that the provider does not answer; the resolver takes half a minute."""
    environ = {"HOME": str(tmp_path), "OPENAI_API_KEY": "key-0123456789", "OPENAI_BASE_URL": "http://slow/v1"}
    (found,) = anyio.run(partial(finding.found, {}, environ, may_ask=True)).providers

    assert (True, True, 0) == (found.is_asked, found.is_assumed, resolver.over)


def test_check_ends_though_no_name_server_answers(config, tmp_path, resolver):
    """As `init`."""
    environ = {"HOME": str(tmp_path), "ACP_BROKER_HOME": str(tmp_path / "state")}
    found = anyio.run(partial(checked, config, environ, takes_turn=False, done=lambda _: None))

    assert (["silent"], 0) == ([one.failure for one in found.backends], resolver.over)


def test_a_login_ends_though_no_name_server_answers(config, tmp_path, resolver):
    """A person who has given up wants their terminal back."""

    async def give_up() -> None:
        async with (
            credentials._resolving(config, {"ACP_BROKER_HOME": str(tmp_path)}),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(anyio.getaddrinfo, "slow", 80)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    anyio.run(give_up)

    assert 0 == resolver.over
