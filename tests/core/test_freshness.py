"""When a token is renewed, and when it is of no use any more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp_broker.core.freshness import due_at, is_spent

BEGAN = 1_700_000_000.0


@pytest.mark.parametrize(
    ("life_s", "spread", "due_s"),
    [
        # An hour: five minutes before its end come later than four fifths.
        (3600.0, 0.0, 3300.0),
        # Ten minutes: four fifths come later.
        (600.0, 0.0, 480.0),
        # The last of many asks after a quarter of what is left.
        (3600.0, 1.0, 3375.0),
    ],
)
def test_a_token_is_due_late_in_its_life_and_before_its_end(life_s: float, spread: float, due_s: float) -> None:
    """Early enough for a provider that is down for minutes; late enough not to ask for nothing."""
    assert BEGAN + due_s == due_at(BEGAN, BEGAN + life_s, spread)


@pytest.mark.parametrize(
    ("life_s", "age_s", "expected"),
    [(3600.0, 3589.0, False), (3600.0, 3590.0, True), (10.0, 8.9, False), (10.0, 9.0, True), (0.0, 0.0, True)],
)
def test_a_token_is_spent_a_little_before_its_end(life_s: float, age_s: float, expected: bool) -> None:
    """A request takes a while, and two clocks differ; of a short life that is a tenth."""
    assert expected == is_spent(BEGAN, BEGAN + life_s, BEGAN + age_s)


def test_a_token_that_does_not_say_when_it_ends_is_believed() -> None:
    """Until it is refused."""
    assert (False, None) == (is_spent(BEGAN, None, BEGAN + 1e9), due_at(BEGAN, None, 0.5))


times = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


@given(times, times, st.floats(0, 1))
def test_a_token_is_due_before_it_ends_whatever_a_provider_says(began: float, ends: float, spread: float) -> None:
    """Its life may be nothing, or less."""
    due = due_at(began, ends, spread)

    assert due is not None
    assert due <= max(began, ends)
