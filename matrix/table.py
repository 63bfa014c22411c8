"""The tables of docs/matrix.md, written between two marks of it."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from matrix.agents import Agent
from matrix.cell import Limits
from matrix.faults import GOOD, GROUPS
from matrix.result import Result

PAGE = Path(__file__).parents[1] / "docs" / "matrix.md"
BEGIN, END = "<!-- written by scripts/matrix: begin -->", "<!-- written by scripts/matrix: end -->"


def write(page: str) -> None:
    """Put it between the marks."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{page}\n{END}{after}")


def page(agents: Sequence[Agent], results: Sequence[Result], limits: Limits) -> str:
    by_cell = {(one.agent, one.fault, one.way): one for one in results}
    tables = [_table(agents, group, by_cell) for group in GROUPS]
    return "\n".join([_when(results, limits), _versions(agents, by_cell), *tables, _problems(results)])


def _when(results: Sequence[Result], limits: Limits) -> str:
    brokered = [one for one in results if one.way == "broker" and one.fault != GOOD]
    untold = sum(one.code == "untold" for one in brokered)
    good = sum(not one.problem for one in brokered) - untold
    return (
        f"Run on {datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} processors.\n"
        f"Alone, an agent was cut off after {limits.direct_s:g} s. Through the broker `firstOutputMs` was"
        f" {limits.first_output_s * 1000:.0f} and `idleMs` {limits.idle_s * 1000:.0f}.\n\n"
        f"Of {len(brokered)} cells through the broker {good} are as promised, and {untold} `untold`.\n"
    )


def _versions(agents: Sequence[Agent], by_cell: Mapping[tuple[str, str, str], Result]) -> str:
    there = [one for one in agents if (one.name, GOOD, "broker") in by_cell]
    rows = [f"| {one.name} | {one.version} |" for one in there]
    left_out = ", ".join(one.name for one in agents if one not in there)
    return "\n".join(["| agent | packages |", "|---|---|", *rows, "", f"Left out: {left_out}.\n" if left_out else ""])


def _table(agents: Sequence[Agent], faults: Sequence[str], by_cell: Mapping[tuple[str, str, str], Result]) -> str:
    lines = [f"| | {' | '.join(f'`{fault}`' for fault in faults)} |", f"|---{'|---' * len(faults)}|"]
    for agent in agents:
        cells = [_cell(by_cell, agent.name, fault) for fault in faults]
        if any(cells):
            lines.append(f"| {agent.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(by_cell: Mapping[tuple[str, str, str], Result], agent: str, fault: str) -> str:
    shown = []
    if (alone := by_cell.get((agent, fault, "direct"))) is not None:
        shown.append(alone.code if alone.is_cut else f"{alone.code} {_s(alone.took_s)}")
    if (brokered := by_cell.get((agent, fault, "broker"))) is not None:
        shown.append(f"**{_s(brokered.took_s)}**" if not brokered.problem else "✗")
        if not brokered.problem and brokered.code != "whole":
            shown[-1] += f" {brokered.code}"
    return " → ".join(shown)


def _problems(results: Sequence[Result]) -> str:
    rows = [f"- {one.agent}, `{one.fault}`: {one.problem}" for one in results if one.problem]
    return "\n".join(["Not as promised:\n", *rows, ""]) if rows else ""


def _s(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
