"""One task runs all attempts of a session, and one that is broken off takes no other along."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from anyio import CancelScope, create_task_group, sleep_forever

from acp_broker.broker.attempts import Attempts
from acp_broker.broker.guard import Tasks
from acp_broker.contract import Finished
from acp_broker.core.failures import Failure
from tests.support.clock import settled
from tests.support.harness import Log, house

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
PRIMARY = {"turns": [[{"do": "say", "text": "primary"}]]}


class Well:
    """An attempt that ends by itself."""

    def __init__(self) -> None:
        self.scope: CancelScope | None = None
        self.ends: list[object] = []

    async def run(self, scope: CancelScope) -> Finished:
        self.scope = scope
        return Finished("end_turn")

    def over(self, outcome: Finished | Failure | None) -> None:
        self.ends.append(outcome)

    async def broken_off(self, outcome: Finished | Failure | None) -> None:
        self.ends.append(("broken off", outcome))


class Stuck(Well):
    async def run(self, scope: CancelScope) -> Finished:
        self.scope = scope
        await sleep_forever()
        raise AssertionError("nothing wakes it")


class Hasty(Well):
    """It is broken off in the very moment of its end."""

    async def run(self, scope: CancelScope) -> Finished:
        scope.cancel()
        return await super().run(scope)


@asynccontextmanager
async def running() -> AsyncIterator[Attempts]:
    async with create_task_group() as group:
        attempts = Attempts(Tasks(group, Log()), Log())
        yield attempts
        attempts.stop()


async def test_one_after_another_comes_to_its_end():
    """Each of a turn's attempts is over before the next one acts."""
    first, second = Well(), Well()
    async with running() as attempts:
        attempts.put_nowait(first)
        attempts.put_nowait(second)

    assert ([Finished("end_turn")], [Finished("end_turn")]) == (first.ends, second.ends)


async def test_those_that_end_by_themselves_share_a_scope():
    """To make one for each would cost as much as a step of the machine."""
    first, second = Well(), Well()
    async with running() as attempts:
        attempts.put_nowait(first)
        await settled()
        attempts.put_nowait(second)

    assert first.scope is second.scope


async def test_one_that_is_broken_off_takes_none_along_that_comes_after_it():
    """The next candidate is tried in a scope that nobody has cancelled."""
    stuck, well = Stuck(), Well()
    async with running() as attempts:
        attempts.put_nowait(stuck)
        await settled()
        assert stuck.scope is not None
        stuck.scope.cancel()
        attempts.put_nowait(well)

    assert ([("broken off", None)], [Finished("end_turn")]) == (stuck.ends, well.ends)


async def test_one_that_is_broken_off_as_it_ends_has_one_end():
    """It keeps its outcome, and whoever comes next a scope of its own."""
    hasty, well = Hasty(), Well()
    async with running() as attempts:
        attempts.put_nowait(hasty)
        attempts.put_nowait(well)

    assert ([("broken off", Finished("end_turn"))], [Finished("end_turn")]) == (hasty.ends, well.ends)


async def test_one_that_is_killed_before_it_began_submits_nothing(tmp_path):
    """Its runtime must not act on a prompt that another one is about to be given."""
    async with house(tmp_path, primary=PRIMARY, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.request("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "hello"}])
        turn = home.session(session).turn
        assert turn is not None
        killed = turn.current
        killed.kill()
        await settled()

    assert (1, False) == (killed.number, killed.is_submitted)
