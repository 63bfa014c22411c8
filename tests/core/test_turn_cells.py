"""The turn table, cell by cell: golden lines, and the proof that they would catch a wrong cell."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acp_broker.core.turn import STATES, TABLE, Cell
from acp_broker.core.turnrules import Rules
from acp_broker.core.turnwords import Event, State, Step
from tests.support.turn_cells import Case, cases

GOLDEN = tuple(cases((Path(__file__).parent / "turn_cells.txt").read_text()))

Place = tuple[type[State], type[Event]]


def named(cell: Cell) -> str:
    return getattr(cell, "__name__", str(cell))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.line)
def test_each_cell_answers_as_it_was_reviewed(case: Case) -> None:
    """Safety laws say that nothing bad happens; these lines say that the right thing does."""
    assert case.line == case.answer()


def test_the_table_lists_every_pair_of_state_and_event() -> None:
    """A pair that nobody thought of must not be found out at run time."""
    events = Event.__args__

    assert {(state, event) for state in STATES for event in events} == set(TABLE)


def test_the_table_lists_every_state() -> None:
    """STATES names the columns of the table."""
    assert set(State.__args__) == set(STATES)


def test_every_cell_has_a_golden_line() -> None:
    """A cell without a line could be changed and nobody would notice."""
    assert set(TABLE) == {case.cell for case in GOLDEN}


def test_no_golden_line_is_told_twice() -> None:
    """Two equal lines under the same rules say nothing that one does not."""
    told = [(case.line, case.now, str(case.rules)) for case in GOLDEN]

    assert len(set(told)) == len(told)


def is_caught(place: Place, lines: list[Case], mutant: Cell, patch: pytest.MonkeyPatch) -> bool:
    with patch.context() as patched:
        patched.setitem(TABLE, place, mutant)
        return any(differs(case) for case in lines)


def differs(case: Case) -> bool:
    try:
        return case.line != case.answer()
    except (AttributeError, AssertionError, TypeError):
        # The mutant's cell is made for another state or event.
        return True


def lines_of(place: Place) -> list[Case]:
    return [case for case in GOLDEN if case.cell == place]


def test_every_other_function_in_a_cell_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The safety walk alone lets mutants live that do nothing bad and not the right thing either."""
    functions = set(TABLE.values())
    mutants = [(place, other) for place, cell in TABLE.items() for other in functions - {cell}]
    survivors = [
        (place, named(one)) for place, one in mutants if not is_caught(place, lines_of(place), one, monkeypatch)
    ]

    expected: tuple[int, list[object]] = (1820, [])
    assert expected == (len(mutants), survivors)


def without(cell: Callable[..., Step], index: int) -> Cell:
    def mutant(*told: object) -> Step:
        state, commands = cell(*told)
        return state, commands[:index] + commands[index + 1 :]

    return mutant


def swapped(cell: Callable[..., Step], index: int) -> Cell:
    def mutant(*told: object) -> Step:
        state, commands = cell(*told)
        pair = commands[index : index + 2]
        return state, commands[:index] + pair[::-1] + commands[index + 2 :]

    return mutant


def staying(cell: Callable[..., Step]) -> Cell:
    def mutant(rules: Rules, state: State, *told: object) -> Step:
        return state, cell(rules, state, *told)[1]

    return mutant


def smaller_mutants(place: Place) -> Iterator[tuple[str, Cell]]:
    """Each command left out, each two neighbours in the other order, and the state left as it was."""
    cell = TABLE[place]
    most = max(case.line.count(", ") + 1 for case in lines_of(place))
    commands = 0 if all(case.line.endswith(("  -", "impossible")) for case in lines_of(place)) else most
    yield from ((f"without command {index}", without(cell, index)) for index in range(commands))
    yield from ((f"command {index} later", swapped(cell, index)) for index in range(commands - 1))
    if any(moves(case.line) for case in lines_of(place)):
        yield "staying", staying(cell)


def moves(line: str) -> bool:
    before, _, rest = line.partition(" --")
    return not rest.partition("--> ")[2].startswith(("impossible", before))


def test_a_lost_or_displaced_command_and_a_lost_move_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of commands is part of the answer: the runner performs them as they stand."""
    mutants = [(place, *mutant) for place in TABLE for mutant in smaller_mutants(place)]
    survivors = [
        (place, name) for place, name, one in mutants if not is_caught(place, lines_of(place), one, monkeypatch)
    ]

    expected: tuple[int, list[object]] = (155, [])
    assert expected == (len(mutants), survivors)
