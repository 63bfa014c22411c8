"""Whole turns, as stories that people can read."""

from pathlib import Path

import pytest

from acp_broker.core.turnrules import Limits, Rules
from tests.support.turn_script import parse_candidate, parse_rules, played, script_of, show_rules

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_each_scenario_plays_as_it_was_reviewed(file: Path) -> None:
    """The machine's answers, in the order of a real turn, are what the story says."""
    script = file.read_text()

    assert script == played(script)


def test_rules_are_read_as_they_are_shown() -> None:
    """A scenario that is printed by a failing test must play under the same rules."""
    candidates = tuple(map(parse_candidate, ("primary/work:large", "primary/home", "spare")))
    slow = Limits(first_output=None, idle=300.0)
    own = Limits(first_output=60.0, idle=None)
    rules = Rules(candidates, "submitted", slow, empty_is_success=True, own_limits={candidates[2].backend: own})

    assert rules == parse_rules(show_rules(rules))


def test_a_printed_scenario_can_be_pasted_into_a_file() -> None:
    """What a failing test prints is a scenario, not only a picture of one."""
    script = script_of(parse_rules("rules primary"), [])

    assert script == played(script)


def test_an_impossible_event_is_told_and_changes_nothing() -> None:
    """A scenario may show what cannot be."""
    script = played("rules primary\n\n0 Accepted\n1 Stopped 1\n2 Spoke 2\n3 Spoke 1")
    start = "Waiting --Accepted--> Trying 1 leasing  Start 1 primary, Arm 1 at 10"
    stopped = "Trying 1 leasing --Stopped 1--> impossible: Stopped cannot come in Trying"
    future = "Trying 1 leasing --Spoke 2--> impossible: Spoke of attempt 2, but the last is 1"
    spoke = "Trying 1 leasing --Spoke 1--> Committed 1  Disarm, RelayHeld, Relay"

    assert [start, stopped, future, spoke] == script.partition("----\n")[2].splitlines()
