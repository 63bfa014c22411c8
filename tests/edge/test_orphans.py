"""Burying the zombies of orphans, and nobody else's."""

import os
import signal
import subprocess

import pytest

from acp_broker.edge import guardian
from acp_broker.edge.household import Household
from acp_broker.edge.orphans import Adoption
from tests.edge.children import ENV, PAUSE, SETSID, Life, listening, script

pytestmark = pytest.mark.anyio


async def orphan_that_died(household: Household) -> int:
    """It left the session and lost its parent, as a command does that detaches itself."""
    child = await household.spawn(script(SETSID), env=ENV, cwd=None)
    async with listening(child) as ear:
        orphan = int(await ear.next())
        child.close_stdin()
        await child.wait()
    with Life(orphan) as life:
        os.kill(orphan, signal.SIGKILL)
        await life.end()
    return orphan


async def test_a_dead_orphan_is_buried_at_the_second_look(household: Household) -> None:
    """Agents detach housekeeping commands by the hundred; each would stay in the process table."""
    orphan = await orphan_that_died(household)
    adoption = household._adoption
    assert adoption is not None

    looks = [guardian.look(orphan)]
    for _ in range(2):
        adoption.bury()
        looks.append(guardian.look(orphan))

    assert [seen is not None for seen in looks] == [True, True, False]


async def test_a_dead_child_of_the_program_around_us_is_left_to_it(household: Household) -> None:
    """Its exit status belongs to whoever started it."""
    await household.spawn(script(PAUSE), env=ENV, cwd=None)
    assert household._adoption is not None
    theirs = subprocess.Popen(["false"])  # noqa: ASYNC220 - what another part of the program might do
    with Life(theirs.pid) as life:
        await life.end()

    for _ in range(2):
        household._adoption.bury()

    assert theirs.wait() == 1


async def test_a_dead_child_of_the_household_keeps_its_status(household: Household) -> None:
    """It stays a zombie until it is stopped."""
    child = await household.spawn(["false"], env=ENV, cwd=None)
    assert household._adoption is not None
    await child.wait()

    for _ in range(2):
        household._adoption.bury()

    assert guardian.look(child.pid) is not None


async def test_the_setting_of_the_program_around_us_is_restored() -> None:
    """Who embeds us may be a subreaper already, or must not become one for good."""
    outer = Adoption(lambda pid: False)
    inner = Adoption(lambda pid: False)

    assert (outer._was_subreaper, inner._was_subreaper) == (False, True)
    inner.close()
    outer.close()
    last = Adoption(lambda pid: False)
    last.close()
    assert not last._was_subreaper
