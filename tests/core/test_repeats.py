"""An agent that begins the same answer again and again, as opencode does once its provider breaks off."""

import pytest

from acp_broker.core.repeats import COMPARED, ONE_TOO_MANY, Beginnings


def said(*messages):
    """After how many pieces, over all messages, it was once too often; None if never. A None is something else."""
    beginnings, pieces = Beginnings(), 0
    for message in messages:
        if message is None:
            beginnings.something_else()
            continue
        beginnings.next()
        for piece in message:
            pieces += 1
            if beginnings.says(piece):
                return pieces
    return None


BROKEN = ["Amber ", "birds "]


def test_the_fourth_beginning_alike_is_one_too_many():
    """As soon as it has said as much as the first."""
    assert ONE_TOO_MANY * len(BROKEN) == said(*[BROKEN] * 9)


def test_a_beginning_may_come_in_other_pieces():
    """How a stream falls into chunks is chance."""
    assert 8 == said(BROKEN, ["Amb", "er birds "], ["Amber", " birds "], ["Amber bir", "ds "])


def test_a_beginning_may_break_off_earlier_or_later_than_the_first():
    """So may where it breaks."""
    assert 9 == said(BROKEN, ["Amber ", "bi"], ["Amber ", "birds ", "circle "], BROKEN)


@pytest.mark.parametrize(
    "messages",
    [
        [BROKEN] * (ONE_TOO_MANY - 1),
        [BROKEN, ["Other "], BROKEN, ["Other "], BROKEN, ["Other "], BROKEN],
        [BROKEN, None] * 9,
        [["One. "], ["Two. "], ["Three. "], ["Four. "], ["Five. "]],
        [["One long message "] * 99],
        [["Still running the tests...\n"]] * 99,
        [["H", "a"]] * 99,
    ],
)
def test_whoever_goes_on_is_left_alone(messages):
    """Three times may be chance, or end well; after a tool call the same words may be said again; one message may say
    one thing as often as it likes; a line of progress comes in one piece, and less than a word is chance."""
    assert said(*messages) is None


def test_long_answers_that_begin_alike_and_differ_later_are_alike():
    """Only so much is kept of each."""
    long = "x" * COMPARED
    assert 8 == said([long, "a"], [long, "b"], [long, "c"], [long, "d"])


def test_a_beginning_that_is_told_of_twice_is_one():
    """A retry is told of, and a pause follows."""
    beginnings = Beginnings()
    for _ in range(ONE_TOO_MANY - 1):
        beginnings.next()
        beginnings.next()
        assert [False, False] == [beginnings.says(piece) for piece in BROKEN]
    beginnings.next()
    beginnings.next()

    assert [False, True] == [beginnings.says(piece) for piece in BROKEN]


def test_behind_a_retry_a_single_word_is_a_beginning():
    """vibe says "Amber ", then that it tries again, for minutes."""
    beginnings, heard = Beginnings(), []
    for _ in range(ONE_TOO_MANY + 1):
        heard.append(beginnings.says("Amber "))
        beginnings.next(is_retry=True)

    assert [False] * ONE_TOO_MANY + [True] == heard
