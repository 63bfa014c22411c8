"""The household: what its children get, what its end takes along, and what it must never touch."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from acp_broker.edge import guardian
from acp_broker.edge.household import Household
from tests.edge.children import DAEMON, ENV, PAUSE, SETSID, WIPED_DAEMON, Ear, Life, listening, script

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


def silent(event: str, **fields: object) -> None:
    """A log for those who do not read it."""


@contextmanager
def somebody_elses_daemon() -> Iterator[Life]:
    """An orphan that came to us, but from a child which the household did not start."""
    with subprocess.Popen(script(DAEMON), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENV) as parent:
        assert parent.stdout is not None
        with Life(int(parent.stdout.readline())) as daemon:
            yield daemon
            os.kill(daemon.pid, 9)
            daemon.is_over_within(10)
            os.waitpid(daemon.pid, 0)


async def test_each_child_gets_a_marker_of_its_own(household: Household) -> None:
    """By it the child's whole offspring is known, and by its first part the broker's."""
    say_marker = script(f"import os; print(os.environ[{guardian.VARIABLE!r}])")
    ears = [Ear(), Ear()]
    for ear in ears:
        await (await household.spawn(say_marker, env=ENV, cwd=None)).run(ear)

    expected = [[f"{household.marker}.{serial}".encode()] for serial in (1, 2)]
    assert expected == [ear.lines for ear in ears]


async def test_a_child_leads_a_session_of_its_own(household: Household) -> None:
    """A Ctrl-C in the editor's terminal is for the editor."""
    child = await household.spawn(script(PAUSE), env=ENV, cwd=None)

    assert child.pid == os.getsid(child.pid)


async def test_two_households_have_different_markers() -> None:
    """Even in one process, one must not end the other's children."""
    assert Household(silent).marker != Household(silent).marker


async def test_leaving_the_household_ends_all_of_it() -> None:
    """However many are left, and wherever they went."""
    async with Household(silent) as household:
        children = [await household.spawn(script(code), env=ENV, cwd=None) for code in (SETSID, DAEMON)]
        pids = []
        for child in children:
            async with listening(child) as ear:
                pids.append(int(await ear.next()))
                child._reader.stop()

    assert [guardian.look(pid) for pid in pids + [child.pid for child in children]] == [None] * 4


async def test_leaving_the_household_ends_the_guardian() -> None:
    """Nothing is left to guard."""
    async with Household(silent) as household:
        await household.spawn(script(PAUSE), env=ENV, cwd=None)
        pid = household._guardian.pid
        assert pid is not None

    assert guardian.look(pid) is None


async def test_nothing_is_started_before_the_first_child(household: Household) -> None:
    """A broker that speaks only HTTP pays for no guardian."""
    assert household._guardian.pid is None


async def test_a_wiped_orphan_is_left_while_an_older_child_may_own_it(household: Household) -> None:
    """Without a marker only the time of its birth tells whose it is; in doubt it lives on."""
    older, younger = [await household.spawn(script(WIPED_DAEMON), env=ENV, cwd=None) for _ in range(2)]

    async with listening(older), listening(younger) as ear:
        with Life(int(await ear.next())) as daemon:
            await younger.stop(eof_grace_s=0, term_grace_s=0)
            was_over = daemon.is_over
            await older.stop(eof_grace_s=0, term_grace_s=0)

            assert (was_over, daemon.is_over) == (False, True)


async def test_the_guardian_of_another_household_is_left_alone(household: Household) -> None:
    """Its environment is empty but for a name of ours, and it is our child."""
    async with Household(silent) as other:
        child = await household.spawn(script(PAUSE), env=ENV, cwd=None)
        await other.spawn(script(PAUSE), env=ENV, cwd=None)
        pid = other._guardian.pid
        assert pid is not None
        with Life(pid) as life:
            await child.stop(eof_grace_s=0, term_grace_s=0)

            assert not life.is_over


async def test_an_orphan_with_our_own_environment_is_left_alone(household: Household) -> None:
    """A key agent that a secret's command started, for one, is the user's."""
    child = await household.spawn(script(PAUSE), env=ENV, cwd=None)

    with somebody_elses_daemon() as daemon:
        await child.stop(eof_grace_s=0, term_grace_s=0)

        assert not daemon.is_over


async def test_a_broker_may_run_inside_of_a_child() -> None:
    """An agent may start a broker; its children are then found below it."""
    code = """
import anyio, os
from acp_broker.edge.household import Household
from tests.edge.children import DAEMON, Ear, script
async def main():
    async with Household(print) as household, anyio.create_task_group() as tasks:
        child, ear = await household.spawn(script(DAEMON), env=dict(os.environ), cwd=None), Ear()
        tasks.start_soon(child.run, ear)
        print(int(await ear.next()), flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""
    async with Household(silent) as outer:
        child = await outer.spawn([sys.executable, "-c", code], env=ENV, cwd=str(ROOT))
        async with listening(child) as ear:
            with Life(int(await ear.next())) as daemon:
                await child.stop(eof_grace_s=0, term_grace_s=0)

                await daemon.end()
