"""Regular expressions that a person writes in config.json."""

import pytest

from backends.acp import rows
from backends.regexp import may_never_end, pattern_problem


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+", "(a*)*b", "(?:a|b)+", "((a+)x)*", "(a+){2,}", "(a+){2,50}", r"(?:\w+ )+$", "([a-z]+)*", "(?:(?:a|b))*"],
)
def test_a_repeat_within_a_repeat_is_refused(pattern):
    """`(a+)+b` needs years for sixty letters: one answer would stop every session."""
    assert may_never_end(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "queue is full",
        "a+b*c",
        "(?:a|b)c+",
        "(a+)?",
        "(?:a+){0,2}",
        r"\(a+\)+",
        "[(a+)]+",
        "[^]a(+]*",
        "(abc)+",
        "x{2,}",
        "(?P<n>abc)*",
    ],
)
def test_what_ends_soon_is_taken(pattern):
    """A person's expression is refused with a reason or not at all."""
    assert (False, None) == (may_never_end(pattern), pattern_problem(pattern))


def test_the_rows_of_known_agents_end():
    """They are expressions like any other."""
    written = [
        one for row in rows.known().values() for one in (*row.retrying, *row.asides, *map(_pattern, row.notices))
    ]

    assert [] == [one for one in written if pattern_problem(one)]


def _pattern(notice: object) -> str:
    return notice.pattern
