"""Runs the cells, a few at a time: most of them wait."""

import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
from anyio import to_thread
from msgspec import Struct

from matrix import record, result, verdict
from matrix.agents import Agent
from matrix.cell import Limits, Ran, brokered, direct
from matrix.faults import GOOD, UNTOLD
from matrix.install import Installed, MissingError, install
from matrix.result import Result


class Order(Struct, frozen=True):
    """What is to be run. `ways`: `direct`, `broker`, `record`."""

    agents: tuple[Agent, ...]
    # In this order; the first one that is not the primary itself stands behind it.
    fallbacks: tuple[Agent, ...]
    faults: tuple[str, ...]
    ways: tuple[str, ...]
    limits: Limits
    jobs: int


class Outcome(Struct, frozen=True):
    results: tuple[Result, ...]
    # Agents that were left out, and why.
    missing: Mapping[str, str]


async def run(order: Order) -> Outcome:
    """All of it; each cell is said on stderr as it comes."""
    matrix = _Matrix(order)
    found = await _installed([*order.agents, *order.fallbacks], matrix.missing)
    async with anyio.create_task_group() as tasks:
        for agent in order.agents:
            behind = next((found[one.name] for one in order.fallbacks if one != agent and one.name in found), None)
            if agent.name in found and behind is not None:
                tasks.start_soon(matrix.all_of, found[agent.name], behind)
    return Outcome(tuple(matrix.results), matrix.missing)


async def _installed(agents: list[Agent], missing: dict[str, str]) -> dict[str, Installed]:
    found: dict[str, Installed] = {}
    for agent in {one.name: one for one in agents}.values():
        try:
            found[agent.name] = await to_thread.run_sync(install, agent)
        except MissingError as why:
            missing[agent.name] = str(why)
            _say(f"left out: {agent.name}: {why}")
    return found


class _Matrix:
    def __init__(self, order: Order) -> None:
        self.results: list[Result] = []
        self.missing: dict[str, str] = {}
        self._order = order
        self._slots = anyio.CapacityLimiter(order.jobs)
        # What each agent says of its own in a healthy turn.
        self._asides: dict[str, list[str]] = {}

    async def all_of(self, primary: Installed, fallback: Installed) -> None:
        """All cells of one agent; none if it cannot answer a healthy turn."""
        order, name = self._order, primary.agent.name
        good = await self._direct(primary, GOOD)
        if good.code != "OK":
            self.missing[name] = f"it does not answer a healthy turn: {good.code}"
            _say(f"left out: {name}: {self.missing[name]}")
            return
        async with anyio.create_task_group() as tasks:
            for fault in (GOOD, *order.faults):
                if "direct" in order.ways and fault != GOOD:
                    tasks.start_soon(self._direct, primary, fault)
                if "broker" in order.ways:
                    tasks.start_soon(self._brokered, primary, fallback, fault)
                if "record" in order.ways:
                    tasks.start_soon(self._recorded, primary, fault)

    async def _direct(self, agent: Installed, fault: str) -> Result:
        async with self._slots:
            ran = await direct(agent, fault, self._order.limits.direct_s)
        if fault == GOOD:
            self._asides[agent.agent.name] = verdict.own_words(ran.turn)
        return self._keep(ran, agent.agent.name, fault, "direct", self._code(ran, agent))

    async def _brokered(self, agent: Installed, fallback: Installed, fault: str) -> None:
        limits = self._order.limits
        async with self._slots:
            ran = await brokered(agent, fallback, fault, limits)
        was_asked = bool(ran.fallback_tries)
        problem = verdict.problem(ran.turn, fault, limit_s=limits.brokered_s, fallback_was_asked=was_asked)
        code = verdict.kept(ran.turn, fault)
        if problem and (agent.agent.name, fault) in UNTOLD and verdict.outcome(ran.turn) == "OK":
            code, problem = "untold", ""
        if ran.left:
            problem = f"{problem} left behind: {', '.join(ran.left)}"
        self._keep(ran, agent.agent.name, fault, "broker", code, problem)

    async def _recorded(self, agent: Installed, fault: str) -> None:
        async with self._slots:
            ran = await direct(agent, fault, record.LIMIT_S, record.environment(agent))
        record.write(agent.agent, fault, ran)
        _say(f"{agent.agent.name:11} {fault:14} recorded {self._code(ran, agent)}")

    def _code(self, ran: Ran, agent: Installed) -> str:
        return verdict.outcome(ran.turn, self._asides[agent.agent.name])

    def _keep(self, ran: Ran, agent: str, fault: str, way: str, code: str, problem: str = "") -> Result:
        turn = ran.turn
        one = Result(agent, fault, way, code, turn.took_s, ran.tries, turn.is_cut, problem)
        self.results.append(one)
        result.keep(one)
        _write_all(result.folder(agent, fault) / f"{way}.txt", ran)
        _say(one.line)
        return one


def _write_all(path: Path, ran: Ran) -> None:
    """Every word, for whoever looks for a cause."""
    lines = [
        f"{line.at_s:8.3f} {'<' if line.is_of_agent else '>'} {line.text.decode(errors='replace')}"
        for line in ran.turn.lines
    ]
    path.write_text("\n".join([*lines, "", ran.log]))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
