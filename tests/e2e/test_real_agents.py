"""Three real agents whose provider fails in every way that we know, each with a healthy one of another make behind it.

Where nothing was shown, the fallback's whole answer arrives and not one word of the failure; where words were shown,
they stay, and one clear error follows. scripts/matrix does the same with every agent that we know.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import NamedTuple

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from matrix import verdict
from matrix.cell import Limits, Ran, brokered
from matrix.install import Installed
from tests.support import real_agents
from tests.support.provider.faults import CUTS, STATUSES

# Cells at a time: they mostly wait, for a limit or for an agent to start.
AT_ONCE = 4
# Silence is waited for until here; an agent that is to speak has longer. A machine with other work may take a minute to
# start two agents: what hangs, hangs for longer.
SILENT = Limits(direct_s=0, first_output_s=5, idle_s=5, margin_s=60)
HEALTHY = Limits(direct_s=0, first_output_s=30, idle_s=5, margin_s=60)
SPEAKS = ("good", "think-reset", "err-mid", "reset-mid", "eof-mid", "stall-mid")
FAULTS = ("good", *STATUSES, "refused", "garbage", "empty", *CUTS)


class Cell(NamedTuple):
    agent: str
    fault: str

    @property
    def limits(self) -> Limits:
        return HEALTHY if self.fault in SPEAKS else SILENT


CELLS = [Cell(agent, fault) for agent in real_agents.NAMES for fault in FAULTS]


async def play(cell: Cell, agents: Mapping[str, Installed], slots: anyio.CapacityLimiter) -> Ran:
    async with slots:
        fallback = real_agents.fallback(cell.agent, agents)
        return await brokered(agents[cell.agent], fallback, cell.fault, cell.limits)


@pytest.fixture(scope="module")
def ran(request: pytest.FixtureRequest) -> Iterator[Mapping[Cell, "Future[Ran]"]]:
    """The cells of the selected tests, played some at a time."""
    agents = real_agents.install()
    mine = [item for item in request.session.items if item.getparent(pytest.Module) is request.node]
    chosen = [item.callspec.params["cell"] for item in mine if "cell" in getattr(item, "fixturenames", ())]
    with start_blocking_portal() as portal:
        slots = portal.call(anyio.CapacityLimiter, AT_ONCE)
        futures = {cell: portal.start_task_soon(play, cell, agents, slots) for cell in dict.fromkeys(chosen)}
        yield futures
        for future in futures.values():
            future.cancel()


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_a_real_agents_failure_is_answered_or_told(cell: Cell, ran: Mapping[Cell, "Future[Ran]"]) -> None:
    """The promise of the whole project, kept with programs that we did not write."""
    played = ran[cell].result()
    problem = verdict.problem(
        played.turn,
        cell.fault,
        limit_s=cell.limits.brokered_s,
        fallback_was_asked=played.fallback_tries > 0,
    )
    assert ("", ()) == (problem, played.left), played.log


def test_the_agents_of_ci_are_those_of_the_matrix() -> None:
    """Or its table would speak of other versions than those that every run tries."""
    described = {name: version for name, version in real_agents.described().items() if "goose" not in name}
    locked = {name: version for name, version in real_agents.locked().items() if "goose" not in name}
    goose = {version for name, version in real_agents.locked().items() if "goose" in name}
    assert (described, {real_agents.described()["@aaif/goose"]}) == (locked, goose)
