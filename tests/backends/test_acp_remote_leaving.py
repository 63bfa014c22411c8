"""Leaving a broker elsewhere whose connection was lost in a turn: soon, with nothing left, and with a word to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

import backends.acp as kind
from acp_broker.contract import Backend, CancelAsked
from acp_broker.core.failures import FailureKind
from acp_broker.errors import BackendFailure
from backends.acp import AcpConfig, remote
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, setup, turn
from tests.support.clock import FakeClock
from tests.support.handmade_agent import BROKER, HandmadeAgent, served_by_hand

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tools(tmp_path: Path, clock: FakeClock) -> FakeTools:
    return FakeTools(setup=setup(str(tmp_path)), environment={}, clock=clock)


@asynccontextmanager
async def opened(agent: HandmadeAgent, tools: FakeTools) -> AsyncIterator[Backend]:
    with anyio.fail_after(DEADLINE_S):
        async with served_by_hand(agent) as served, kind.open(AcpConfig(url=served.url), tools) as backend:
            yield backend


async def until(is_so: Callable[[], bool]) -> None:
    """Everything that it may wait for is on loopback; `opened` bounds it."""
    while not is_so():
        await checkpoint()


class Lost:
    """A broker that loses its connection as soon as it has the prompt."""

    def __init__(self, **then: object) -> None:
        """`then` is how its agent is to those who come back."""
        self.agent = HandmadeAgent(self._loses, BROKER)
        self.cancel = CancelAsked()
        self.outcome: object = None
        self._then = then or {"status": 503}

    async def _loses(self, agent: HandmadeAgent, prompt: int) -> None:
        if len(agent.keys) == 1:
            for name, value in self._then.items():
                setattr(agent, name, value)
            agent.lose()
        else:
            self.again = prompt

    async def run(self, backend: Backend) -> None:
        try:
            self.outcome = await backend.run(turn(cancel_asked=self.cancel), FakeClient())
        except BackendFailure as error:
            self.outcome = error.failure

    async def until_it_pauses(self, clock: FakeClock) -> None:
        """Between two tries."""
        await until(lambda: self.agent.refused > 0 and pytest.approx(remote.PAUSE_S) in clock.armed)


async def test_a_cancel_between_two_tries_is_tried_at_once_and_arrives(tools, clock):
    """Who leaves does not wait for the next try; and over there nobody works on for nobody."""
    lost = Lost()
    async with opened(lost.agent, tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(lost.run, backend)
        await lost.until_it_pauses(clock)
        lost.agent.status = None
        lost.cancel.set()
        await until(lambda: "session/cancel" in lost.agent.methods)
        await lost.agent.send(id=lost.again, result={"stopReason": "cancelled"})

    assert "cancelled" == lost.outcome.stop_reason
    assert ["session/load", "session/prompt", "session/cancel"] == lost.agent.methods[-3:]


async def test_a_cancelled_turn_that_nobody_takes_up_ends_soon(tools, clock):
    """Without it, it would be looked for as long as words could still come."""
    lost = Lost()
    async with opened(lost.agent, tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(lost.run, backend)
        await lost.until_it_pauses(clock)
        lost.cancel.set()
        await until(lambda: lost.agent.refused > 1)
        await clock.advance(remote.LEAVING_S)
        await until(lambda: lost.outcome is not None)

    assert FailureKind.CRASHED == lost.outcome.kind
    assert f"within {remote.LEAVING_S:g} s" in lost.outcome.text


async def test_a_connection_that_is_lost_behind_a_cancel_is_not_looked_for_for_long(tools, clock):
    """The cancel was said: what is left of the turn is its end."""
    lost = Lost()
    lost.cancel.set()
    async with opened(lost.agent, tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(lost.run, backend)
        await until(lambda: lost.agent.refused > 0)
        await clock.advance(remote.LEAVING_S)
        await until(lambda: lost.outcome is not None)

    assert f"within {remote.LEAVING_S:g} s" in lost.outcome.text


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


STAGES = {"pausing": {"status": 503}, "dialling": {"is_silent": True}, "loading": {"ignores": "session/load"}}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_whatever_it_waits_for_nothing_of_it_is_left(tools, clock, stage, is_cancelled):
    """Neither a task nor a socket: a daemon lives for months."""
    tasks_before, open_before = asyncio.all_tasks(), descriptors()
    lost = Lost(**STAGES[stage])
    async with opened(lost.agent, tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(lost.run, backend)
        await until(lambda: lost.agent.refused > 0 or "session/load" in lost.agent.methods)
        if is_cancelled:
            lost.cancel.set()
            await clock.advance(remote.LEAVING_S)
            await until(lambda: lost.outcome is not None)
        tasks.cancel_scope.cancel()
    with anyio.fail_after(DEADLINE_S):
        await until(lambda: asyncio.all_tasks() <= tasks_before and descriptors() == open_before)
