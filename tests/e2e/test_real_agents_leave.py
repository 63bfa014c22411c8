"""No process of a real agent is left, however the broker ends: some survive the end of stdin, others SIGTERM."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from matrix.install import Installed
from matrix.place import Place
from tests.support import real_agents
from tests.support.broker import ROLE, RUN, BrokerProcess
from tests.support.processes import GONE_WITHIN_S, wait_gone
from tests.support.provider import Provider, provider


@pytest.fixture(scope="module")
def agents() -> Mapping[str, Installed]:
    return real_agents.install()


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as running:
        yield running


@contextmanager
def in_the_middle(folder: Path, agent: Installed, portal: BlockingPortal) -> Iterator[BrokerProcess]:
    """A broker with one agent, whose provider stopped answering after three words, which were shown."""
    serving: AbstractAsyncContextManager[Provider] = provider("some words and no more", "stall-mid")
    with portal.wrap_async_context_manager(serving) as server:
        seat = Place(folder / "place").seat(agent, server.url)
        entry = {
            "kind": "acp",
            "command": seat.command,
            # Nothing of the user's own: no login, no settings.
            "envPolicy": "strict",
            "envAllow": [RUN],
            "env": {**seat.env, ROLE: "primary"},
        }
        config = {"acp": {"backend": "primary"}, "backends": {"primary": entry}, "limits": {"cancellingMs": 500}}
        with BrokerProcess(folder, config) as broker:
            broker.start(broker.open())
            broker.until(lambda message: "no more" not in str(message) and "words " in str(message))
            assert broker.agents("primary") != []
            yield broker


def eof(broker: BrokerProcess) -> None:
    broker.leave()


def sigterm(broker: BrokerProcess) -> None:
    broker.process.send_signal(signal.SIGTERM)
    broker.ended()


def sigkill(broker: BrokerProcess) -> None:
    broker.kill()


@pytest.mark.parametrize("end", [eof, sigterm, sigkill], ids=lambda end: end.__name__)
@pytest.mark.parametrize("name", real_agents.NAMES)
def test_nothing_of_a_real_agent_is_left(
    tmp_path: Path,
    agents: Mapping[str, Installed],
    portal: BlockingPortal,
    name: str,
    end: Callable[[BrokerProcess], None],
) -> None:
    """In the middle of a turn, when each of them has all its processes and waits for its provider."""
    with in_the_middle(tmp_path, agents[name], portal) as broker:
        end(broker)
        assert [] == broker.left_over()


@pytest.mark.parametrize("name", real_agents.NAMES)
def test_a_real_agent_that_dies_takes_its_family_along(
    tmp_path: Path, agents: Mapping[str, Installed], portal: BlockingPortal, name: str
) -> None:
    """A launcher that is killed leaves the real process behind: it is the broker that ends that one."""
    with in_the_middle(tmp_path, agents[name], portal) as broker:
        os.kill(broker.agents("primary")[0].pid, signal.SIGKILL)
        broker.until(lambda message: "error" in message)
        assert [] == [
            seen for seen in broker.agents("primary") if not wait_gone(seen, time.monotonic() + GONE_WITHIN_S)
        ]
