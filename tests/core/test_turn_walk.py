"""Every sequence of events, and the laws that none of them breaks."""

import re
from typing import get_args

import pytest
from msgspec.structs import replace

from acp_broker.core import turncells
from acp_broker.core.turn import TABLE, Cell, drop, impossible
from acp_broker.core.turnrules import Rules
from acp_broker.core.turnwords import (
    CancelAsked,
    Cancelling,
    Command,
    Committed,
    Disarm,
    Doubting,
    Ended,
    Event,
    Failed,
    Finished,
    Noted,
    Reached,
    Spoke,
    State,
    Step,
    Stopped,
    Stopping,
    Timer,
    TimeUp,
    Trying,
)
from tests.support.turn_script import parse_rules
from tests.support.turn_walk import LATE, Node, run_down, walk

# Rules, how long the sequences are at most (walks without an idle limit come to an end by themselves), and from how
# many different places steps were taken: a walk that goes nowhere proves nothing.
WALKS = {
    "rules primary spare": (1000, 7655),
    "rules primary spare commit_point=submitted": (1000, 5199),
    "rules primary spare empty_is_success leasing=off chain=off": (1000, 4596),
    "rules primary spare idle=300": (7, 2392),
    "rules primary/work primary/home spare/work last": (7, 3417),
    "rules": (1000, 5),
}


class Walked:
    def __init__(self, rules: Rules, depth: int) -> None:
        self.rules = rules
        self.places: set[Node] = set()
        self.cells: set[tuple[type[State], type[Event]]] = set()
        self.commands: set[type[Command]] = set()
        for place, event, _, _, commands in walk(rules, depth):
            self.places.add(place)
            self.cells.add((type(place[0]), type(event)))
            self.commands.update(map(type, commands))


@pytest.fixture(scope="module")
def walks() -> dict[str, Walked]:
    return {line: Walked(parse_rules(line), depth) for line, (depth, _) in WALKS.items()}


def test_no_sequence_of_events_breaks_a_law(walks: dict[str, Walked]) -> None:
    """The walk raises where one does; how far it went shows that it walked at all."""
    expected = {line: places for line, (_, places) in WALKS.items()}

    assert expected == {line: len(walked.places) for line, walked in walks.items()}


def test_every_turn_ends_when_everybody_falls_silent(walks: dict[str, Walked]) -> None:
    """Timers alone bring a turn from any place to its answer, but for the waits that config leaves without a limit."""
    walked = walks["rules primary spare"]
    ends = {
        type(run_down(walked.rules, state, world, LATE if is_late else 0.0)) for state, world, is_late in walked.places
    }

    # Waiting ends when the session's queue gets to it; without an idle limit a committed agent may take its time.
    assert {"Ended", "Waiting", "Committed"} == {end.__name__ for end in ends}


def test_a_submitted_prompt_that_is_met_with_silence_ends(walks: dict[str, Walked]) -> None:
    """Nobody else may answer it, so nothing but the limit of its first word would ever end the turn."""
    walked = walks["rules primary spare commit_point=submitted"]
    silent = [place for place in walked.places if getattr(place[0], "silent_since", None) is not None]

    assert {Ended} == {type(run_down(walked.rules, state, world, 0.0)) for state, world, _ in silent}


def test_with_an_idle_limit_every_accepted_turn_ends(walks: dict[str, Walked]) -> None:
    """Config can rule out that a turn waits for ever."""
    walked = walks["rules primary spare idle=300"]
    begun = [place for place in walked.places if place[0].attempt]

    assert {Ended} == {type(run_down(walked.rules, state, world, 0.0)) for state, world, _ in begun}


def test_the_walk_meets_every_cell_that_is_possible(walks: dict[str, Walked]) -> None:
    """A cell that no legal sequence reaches is not needed."""
    possible = {place for place, cell in TABLE.items() if cell is not impossible}

    assert possible <= set().union(*(walked.cells for walked in walks.values()))


def test_the_walk_brings_every_command(walks: dict[str, Walked]) -> None:
    """A command that is never given is not needed."""
    assert set(get_args(Command)) == set().union(*(walked.commands for walked in walks.values()))


def disarm(_rules: Rules, state: Cancelling, _event: Spoke, _now: float) -> Step:
    return replace(state, timer=Timer(state.timer.serial)), (Disarm(),)


BREAKS: dict[str, tuple[type[State], type[Event], Cell]] = {
    "nobody is started after a cancel": (Stopping, CancelAsked, drop),
    "one attempt is alive at most": (Trying, Reached, turncells.begin),
    "nothing is shown before the commit point": (Trying, Noted, turncells.relay_last),
    "words are shown in order": (Doubting, Spoke, turncells.relay_last),
    "words are held before the commit point only": (Committed, Noted, turncells.hold),
    "the answer waits until nothing runs any more": (Committed, Failed, turncells.let_end),
    "`cancelled` is the answer to a cancel, and no other": (Trying, CancelAsked, drop),
    "nobody is asked to cancel unless the user did": (Trying, TimeUp, turncells.cancel),
    "an attempt is asked once": (Cancelling, CancelAsked, turncells.cancel_late),
    "an attempt that is stopped leaves no request open": (Committed, Failed, turncells.stop_failed),
    "an attempt is stopped once": (Stopping, TimeUp, turncells.force_stop),
    "only an armed timer is disarmed": (Doubting, TimeUp, turncells.commit),
    "a turn that waits has a timer": (Cancelling, Spoke, disarm),
    "nothing is held when the turn is answered": (Doubting, Finished, turncells.let_end),
    "only late notes follow the answer": (Ended, Spoke, turncells.call_off),
    "who is being stopped is waited for": (Stopping, Stopped, drop),
}


@pytest.mark.parametrize("law", BREAKS)
def test_the_walk_finds_a_broken_law(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that cannot fail proves nothing: here one cell of the table is wrong."""
    state, event, wrong = BREAKS[law]
    monkeypatch.setitem(TABLE, (state, event), wrong)

    with pytest.raises(AssertionError, match=f"^{re.escape(law)}$"):
        list(walk(parse_rules("rules primary spare")))
