"""Whether presence is the habit, so that absence is evidence."""

from acp_broker.core.witness import HABIT, habit, seen


def counted(*answers: bool) -> int:
    count = 0
    for is_present in answers:
        count = seen(count, is_present=is_present)
    return count


def test_once_is_chance() -> None:
    """A slash command may have said what it used."""
    assert habit(counted(True)) is None


def test_before_anything_was_seen_nobody_knows() -> None:
    """Neither is the habit."""
    assert habit(None) is None


def test_twice_in_a_row_is_a_habit() -> None:
    """Agents that report it do so in every good answer."""
    assert habit(counted(True, True)) is True


def test_a_good_answer_without_it_breaks_the_habit() -> None:
    """From then on absence says nothing."""
    assert habit(counted(True, True, False)) is False


def test_a_habit_can_be_learnt_again() -> None:
    """One odd answer does not blind us for ever."""
    assert habit(counted(True, True, False, True, True))


def test_a_habit_is_no_news() -> None:
    """The count stands still, so that nothing is written any more."""
    assert HABIT == counted(True, True, True, True)
