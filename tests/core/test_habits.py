"""What is known of one agent's words, against an agent that nobody has described."""

import re

from acp_broker.core.doubt import judge
from acp_broker.core.failures import FailureKind
from acp_broker.core.habits import UNKNOWN, Habits, Pattern
from acp_broker.core.look import first_look, looks_like_failure
from acp_broker.core.retrying import is_retry_notice
from acp_broker.core.weight import Weight

OWN = Habits(
    notices=(Pattern(re.compile(r"Oh no, the cloud"), FailureKind.OVERLOADED),),
    retrying=(re.compile(r"Once more \(\d\)"),),
    asides=(re.compile(r"cloudy v\d"),),
)
NOTICE = "Oh no, the cloud is full."


def test_a_notice_of_its_own_is_held_and_is_a_failure() -> None:
    """Its wording is like nobody else's: only its row can know."""
    failure = judge(NOTICE, "end_turn", None, OWN)

    assert failure is not None
    assert (True, FailureKind.OVERLOADED) == (looks_like_failure(NOTICE, OWN), failure.kind)


def test_the_same_words_of_another_agent_are_an_answer() -> None:
    """A row speaks of its own agent only."""
    assert (False, None) == (looks_like_failure(NOTICE, UNKNOWN), judge(NOTICE, "end_turn", None, UNKNOWN))


def test_a_notice_of_its_own_that_explains_is_an_answer() -> None:
    """It fits the beginning only, and a model may quote it."""
    assert judge(f"{NOTICE} That means: wait.", "end_turn", None, OWN) is None


def test_a_notice_that_fits_the_whole_settles_the_matter() -> None:
    """Pinned at both ends, nothing more is asked."""
    pinned = Habits(notices=(Pattern(re.compile(r"Oh no\..*Usually it helps to wait\."), FailureKind.OVERLOADED),))

    assert judge("Oh no. Usually it helps to wait.", "end_turn", None, pinned) is not None


def test_a_retry_of_its_own_is_known() -> None:
    """A note, and evidence."""
    assert (True, False) == (is_retry_notice("Once more (2)\n", OWN), is_retry_notice("Once more (2)", UNKNOWN))


def test_an_aside_of_its_own_is_known() -> None:
    """A banner is no answer."""
    banner = "cloudy v3\n---\n"

    assert (Weight.ASIDE, Weight.PLAIN) == (first_look(banner, OWN), first_look(banner, UNKNOWN))


def test_the_first_look_sees_wordings_that_no_general_rule_knows() -> None:
    """A row that a user has written may begin anyhow."""
    retry = "Once more (2)"

    assert (Weight.PLAIN, Weight.DOUBTFUL) == (first_look(NOTICE), first_look(NOTICE, OWN))
    assert (Weight.PLAIN, Weight.RETRYING) == (first_look(retry), first_look(retry, OWN))
