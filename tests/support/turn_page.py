"""The generated part of docs/turn.md: the table as the code has it, and the moves that the golden lines show.

`python -m tests.support.turn_page` writes it anew.
"""

from pathlib import Path
from typing import get_args

from acp_broker.core.turn import STATES, TABLE, Impossible, drop, impossible, step
from acp_broker.core.turnwords import Event, State
from tests.support.turn_cells import Case, cases

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "turn.md"
GOLDEN = ROOT / "tests" / "core" / "turn_cells.txt"
BEGIN, END = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"


def written(page: str) -> str:
    """The page with its generated part as the code says it now."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{_diagram()}\n{_table()}\n{END}{after}"


def _table() -> str:
    head = ["", *(state.__name__ for state in STATES)]
    rows = [[event.__name__, *(_cell(state, event) for state in STATES)] for event in get_args(Event)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def _cell(state: type[State], event: type[Event]) -> str:
    cell = TABLE[state, event]
    if cell is impossible:
        return "-"
    return "" if cell is drop else f"`{getattr(cell, '__name__', cell)}`"


def _diagram() -> str:
    """A Mermaid state diagram: an arrow for each two states, with the events that lead from one to the other."""
    moves: dict[tuple[str, str], list[str]] = {}
    for case in cases(GOLDEN.read_text()):
        after = _after(case)
        if type(after) is not type(case.state):
            names = moves.setdefault((type(case.state).__name__, type(after).__name__), [])
            if type(case.event).__name__ not in names:
                names.append(type(case.event).__name__)
    arrows = [f"    {before} --> {after}: {', '.join(names)}" for (before, after), names in moves.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> Waiting", *arrows, "    Ended --> [*]", "```", ""])


def _after(case: Case) -> State:
    try:
        return step(case.rules, case.state, case.event, case.now)[0]
    except Impossible:
        return case.state


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
