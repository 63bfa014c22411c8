"""docs/turn.md says what the code does."""

from tests.support.turn_page import PAGE, written


def test_the_page_about_the_turn_shows_the_table_of_the_code() -> None:
    """A picture that has drifted from the code is worse than none."""
    page = PAGE.read_text()

    assert written(page) == page
