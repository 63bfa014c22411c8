"""A key is replaced while a broker runs: one refusal is all that it costs, however many sessions were open with it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.auth.programs import kept
from tests.support.broker import BrokerProcess, chain
from tests.support.heard import Turn
from tests.support.provider import Provider, provider

SAYS = "alpha beta gamma delta"


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as made:
        yield made


@pytest.fixture
def server(portal: BlockingPortal) -> Iterator[Provider]:
    with portal.wrap_async_context_manager(provider(SAYS)) as made:
        yield made


def config(folder: Path, server: Provider) -> dict:
    """A provider alone: even while it rests it is asked."""
    reference = {"source": "file", "provider": "kept", "id": "/key"}
    return {
        **chain(primary={"kind": "openai", "baseUrl": f"{server.url}/v1", "model": "m", "auth": "work"}),
        "auth": {"profiles": {"work": {"type": "api_key", "key": reference}}},
        "secrets": {"providers": {"kept": {"source": "file", "path": str(folder / "kept")}}},
    }


def rotate(folder: Path, server: Provider, key: str) -> None:
    """The file has this one from now on, and the provider takes no other."""
    kept(folder, json.dumps({"key": key}), "kept")
    server.key = key


def ends(*turns: Turn) -> list[str]:
    return [turn.reply["result"]["stopReason"] if "result" in turn.reply else turn.attempts[-1] for turn in turns]


def test_what_one_session_was_refused_no_other_shows_again(tmp_path: Path, server: Provider) -> None:
    """Else each would be refused once, and each time the rest of all of them would begin again, and be longer."""
    rotate(tmp_path, server, "canary-1")
    with BrokerProcess(tmp_path, config(tmp_path, server)) as broker:
        broker.initialize()
        first, second, third = broker.new(), broker.new(), broker.new()
        before = [broker.prompt(one) for one in (first, second, third)]
        rotate(tmp_path, server, "canary-2")
        refused = broker.prompt(first)
        after = [broker.prompt(one) for one in (second, first, third)]

    assert ["end_turn"] * 3 == ends(*before)
    assert ["primary auth_rejected"] == ends(refused)
    assert ["end_turn"] * 3 == ends(*after)


def test_a_key_refused_by_mistake_is_shown_again(tmp_path: Path, portal: BlockingPortal, server: Provider) -> None:
    """The provider had a bad moment: the file has no other."""
    rotate(tmp_path, server, "canary-1")
    with BrokerProcess(tmp_path, config(tmp_path, server)) as broker:
        broker.initialize()
        first, second = broker.new(), broker.new()
        before = [broker.prompt(one) for one in (first, second)]
        portal.call(setattr, server, "fault", "401")
        refused = broker.prompt(first)
        portal.call(setattr, server, "fault", "good")
        after = [broker.prompt(one) for one in (second, first, second, first)]
        outdated = broker.log("credential_outdated")

    assert ["end_turn"] * 2 + ["primary auth_rejected"] + ["end_turn"] * 4 == ends(*before, refused, *after)
    assert 1 == len(outdated)
