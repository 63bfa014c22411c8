"""Long random turns under random rules; one that breaks a law is printed as a scenario, as short as it can be."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acp_broker.core.turn import TABLE, drop
from acp_broker.core.turnrules import Limits, Rules
from acp_broker.core.turnwords import CancelAsked, Event, State, Stopped, Stopping, Waiting
from tests.support.turn_script import parse_candidate, played, script_of
from tests.support.turn_walk import World, events, perform

SEQUENCES = 10_000
DELAYS = (0.0, 0.0, 0.0, 0.01, 0.3, 1.0, 7.0, 70.0)

PLANS = tuple(
    tuple(map(parse_candidate, plan.split()))
    for plan in ("primary", "primary spare", "a/work a/home b/work c", "a:large a:small b", "a b c d e")
)
RULES = st.builds(
    Rules,
    st.sampled_from(PLANS),
    st.sampled_from(("first_output", "submitted")),
    st.builds(Limits, idle=st.sampled_from((None, 30.0)), reserve=st.sampled_from((20.0, 100.0))),
    st.booleans(),
    st.sampled_from(({}, {PLANS[1][0].backend: Limits(first_output=5.0, retrying=None)})),
)
# Two bytes for each event: which of those that may come, and how long after the last one. 0 is no event, so that a
# failure shrinks to few of them.
LENGTH = 22
CHOICES = st.binary(min_size=2 * LENGTH, max_size=2 * LENGTH)


def turn(rules: Rules, choices: bytes) -> list[tuple[float, Event]]:
    """Play a turn and return its log. Raises AssertionError where a law is broken, with the turn as a scenario."""
    state: State = Waiting()
    world, now = World(), 0.0
    log: list[tuple[float, Event]] = []
    # The walk has seen all that can happen before a turn is accepted.
    for which, delay in (b"\1\0", *pairs(choices)):
        if which == 0:
            continue
        may_come = [*events(state, world), *likely(world)]
        event = may_come[(which - 1) % len(may_come)]
        now += DELAYS[delay % len(DELAYS)]
        log.append((now, event))
        try:
            state, world, _ = perform(rules, state, world, event, now)
        except AssertionError as error:
            error.add_note(script_of(rules, log))
            raise
    return log


def likely(world: World) -> list[Event]:
    """Who is being stopped is soon gone; without this few turns would get to a third attempt."""
    return [Stopped(world.attempt)] * 10 if world.is_stopping else []


def pairs(choices: bytes) -> Iterator[bytes]:
    return (choices[at : at + 2] for at in range(0, len(choices) - 1, 2))


def thorough(test: Callable[[Rules, bytes], None]) -> Callable[[], None]:
    """The same sequences in every run, so that a red run can be run again."""
    suppressed = [HealthCheck.too_slow]
    chosen = settings(
        max_examples=SEQUENCES, derandomize=True, database=None, deadline=None, suppress_health_check=suppressed
    )
    return chosen(given(RULES, CHOICES)(test))


@thorough
def test_no_random_turn_breaks_a_law(rules: Rules, choices: bytes) -> None:
    """Longer than the walk's sequences, with more candidates, other limits and a clock that moves."""
    turn(rules, choices)


def test_a_turn_that_breaks_a_law_is_printed_as_a_short_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever breaks the table gets a story to paste into tests/core/scenarios, not forty random bytes."""
    monkeypatch.setitem(TABLE, (Stopping, CancelAsked), drop)

    @thorough
    def broken(rules: Rules, choices: bytes) -> None:
        turn(rules, choices)

    with pytest.raises(AssertionError) as caught:
        broken()

    printed = caught.value.__notes__[0]
    orders = printed.partition("\n----")[0].splitlines()[2:]
    # Accepted, something that stops the first attempt, the cancel, Stopped: no shorter turn shows it.
    assert len(orders) == 4, printed
    assert printed == played(printed)
