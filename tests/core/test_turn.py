"""What the turn machine promises beside its table: old news, texts, time, and the path of every word."""

import sys

import pytest
from msgspec.structs import replace

from acp_broker.core.failures import NO_CONNECTION, Failure, FailureKind
from acp_broker.core.names import BackendId, Candidate
from acp_broker.core.turn import Impossible, step
from acp_broker.core.turnrules import Limits, Miss, Rules, next_candidate, others_left
from acp_broker.core.turnwords import (
    Accepted,
    Committed,
    Ended,
    Event,
    Finished,
    Noted,
    Reached,
    Refuse,
    Relay,
    Spoke,
    State,
    Stopped,
    Timer,
    TimeUp,
    Waiting,
)
from tests.support.turn_script import parse_candidate, parse_rules

RULES = parse_rules("rules primary spare")
PRIMARY, SPARE = RULES.candidates


def after(rules: Rules, *told: tuple[float, Event]) -> State:
    state: State = Waiting()
    for now, event in told:
        state, _ = step(rules, state, event, now)
    return state


def texts(rules: Rules, *told: tuple[float, Event]) -> list[tuple[str, object]]:
    """The text of each miss that the turn is refused with, and the phase it was seen at."""
    state = after(rules, *told[:-1])
    _, commands = step(rules, state, told[-1][1], told[-1][0])
    refusal = commands[-1]
    assert isinstance(refusal, Refuse)
    return [(miss.failure.text, miss.failure.seen_at) for miss in refusal.misses]


def test_a_dead_backend_cannot_speak_after_failover() -> None:
    """The attempt number is the fence: words of an older attempt change nothing in any state."""
    told = ((0.0, Accepted()), (1.0, Finished(1, "end_turn")), (1.1, Stopped(1)), (2.0, Spoke(2)))
    state = after(RULES, *told)

    assert (state, ()) == step(RULES, state, Spoke(1), 3.0)


def test_an_attempt_from_the_future_is_impossible() -> None:
    """Only the machine numbers attempts; a number it has not given out is a fault of the runner's."""
    state = after(RULES, (0.0, Accepted()))

    with pytest.raises(Impossible, match=r"^Spoke of attempt 2, but the last is 1$"):
        step(RULES, state, Spoke(2), 1.0)


def test_an_impossible_event_says_what_came_where() -> None:
    """The message is all that a maintainer has."""
    with pytest.raises(Impossible, match=r"^TimeUp cannot come in Waiting$"):
        step(RULES, Waiting(), TimeUp(1), 0.0)


def test_a_relayed_word_builds_nothing() -> None:
    """Every word of every turn comes this way: the state is the same object, the commands are shared."""
    state = Committed(1, PRIMARY, (), Timer(3))
    first, second = (step(RULES, state, event, 1.0) for event in (Spoke(1), Noted(1)))

    assert (Relay(),) == first[1]
    assert first[0] is second[0] is state
    assert first[1] is second[1]


def test_a_relayed_word_leaves_no_object_behind() -> None:
    """The answer itself, and nothing else, is new."""
    state, event = Committed(1, PRIMARY, (), Timer(3)), Spoke(1)
    step(RULES, state, event, 1.0)
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        step(RULES, state, event, 1.0)

    assert sys.getallocatedblocks() - before < 100


def test_silence_is_told_with_its_limit_and_its_phase() -> None:
    """`120 s` is what the attempt had, not what config says: the reserve of others may have cut it."""
    rules = parse_rules("rules primary spare first_output=300")
    told = (
        (0.0, Accepted()),
        (1.5, Reached(1, "submitted")),
        (220.0, TimeUp(2)),
        (220.1, Stopped(1)),
        (230.1, TimeUp(4)),
        (230.2, Stopped(2)),
    )
    submitted = ("no first output within 218.5 s (phase submitted)", "submitted")
    leasing = ("had no credential within 10 s (phase leasing)", "leasing")

    assert [submitted, leasing] == texts(rules, *told)


def test_silence_after_a_retry_notice_is_told_from_the_notice() -> None:
    """The two seconds begin when the runtime says that it tries its provider again."""
    told = (
        (0.0, Accepted()),
        (1.0, Reached(1, "submitted")),
        (9.0, Reached(1, "retrying")),
        (11.0, TimeUp(3)),
        (240.0, Stopped(1)),
    )

    expected = [("no first output after its own retry within 2 s (phase retrying)", "retrying")]
    assert expected == texts(RULES, *told)


def test_silence_after_the_commit_point_is_told_with_the_idle_limit() -> None:
    """Its words were shown, so the text does not speak of first output."""
    rules = parse_rules("rules primary idle=300")
    told = ((0.0, Accepted()), (1.0, Spoke(1)), (301.0, TimeUp(2)), (301.1, Stopped(1)))

    expected = [("nothing for 300 s", "submitted")]
    assert expected == texts(rules, *told)


def test_an_empty_turn_is_told_as_one() -> None:
    """The user reads this text when every backend failed."""
    told = ((0.0, Accepted()), (1.0, Reached(1, "opening")), (2.0, Finished(1, "end_turn")), (2.1, Stopped(1)))

    expected = [("ended the turn without showing anything", "opening")]
    assert expected == texts(parse_rules("rules primary"), *told)


def test_a_cancel_that_nobody_asked_for_is_told_as_one() -> None:
    """An agent that cancels itself has failed: the user never asked."""
    told = ((0.0, Accepted()), (2.0, Finished(1, "cancelled")), (2.1, Stopped(1)))
    text = "ended the turn as cancelled, which nobody asked for"

    assert [(text, "submitted")] == texts(parse_rules("rules primary"), *told)


def test_a_failed_turn_without_words_serves_nobody() -> None:
    """Late notes of a lost attempt never reach the session."""
    state = after(parse_rules("rules primary"), (0.0, Accepted()), (1.0, Finished(1, "end_turn")), (1.1, Stopped(1)))

    assert Ended(1) == state


def missed(name: str, kind: FailureKind) -> Miss:
    return Miss(1, parse_candidate(name), Failure(kind, kind.value))


@pytest.mark.parametrize(
    ("plan", "kind", "following"),
    [
        ("a b", FailureKind.CRASHED, "b"),
        ("a", FailureKind.CRASHED, None),
        ("a a b", FailureKind.CRASHED, "b"),
        ("a a/work:large b", FailureKind.OVERLOADED, "b"),
        ("a b", FailureKind.AUTH_MISSING, "b"),
        ("a a:large a/work b", FailureKind.AUTH_MISSING, "a/work"),
        ("a/work b/work a/home", FailureKind.BILLING, "a/home"),
        ("a/work b/work a/home b", FailureKind.CRASHED, "b/work"),
        ("a b", FailureKind.CONTEXT_OVERFLOW, None),
    ],
)
def test_the_next_candidate_is_the_first_that_the_failure_leaves(
    plan: str, kind: FailureKind, following: str | None
) -> None:
    """What a failure spends decides: a backend, a credential (a backend without one is its own), or the turn."""
    candidates = tuple(map(parse_candidate, plan.split()))
    expected = None if following is None else parse_candidate(following)

    assert expected == next_candidate(candidates, [missed(plan.split(maxsplit=1)[0], kind)])


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (FailureKind.AUTH_REJECTED, 1),
        (FailureKind.AUTH_MISSING, 1),
        (FailureKind.BILLING, 1),
        (FailureKind.ACCOUNT_RATE_LIMITED, 1),
        (FailureKind.RATE_LIMITED, 1),
        # Another key does not help: the backend after it is the next one.
        (FailureKind.CRASHED, 2),
        (FailureKind.MODEL_NOT_FOUND, 2),
    ],
)
def test_the_next_credential_comes_before_the_next_backend_where_it_may_help(kind: FailureKind, number: int) -> None:
    """Each has a login, a purse and limits of its own."""
    first = parse_candidate("a/work")
    candidates = (first, replace(first, credential=1), parse_candidate("b"))

    assert candidates[number] == next_candidate(candidates, [Miss(1, first, Failure(kind, "x"))])


def test_every_miss_counts_and_not_only_the_last() -> None:
    """A credential that was rejected twice attempts ago is still rejected."""
    candidates = tuple(map(parse_candidate, ("a/work", "b", "c/work", "d")))
    misses = [missed("a/work", FailureKind.BILLING), missed("b", FailureKind.CRASHED)]

    assert parse_candidate("d") == next_candidate(candidates, misses)


@pytest.mark.parametrize(
    ("windows", "following"),
    [
        ({"a": 8, "c": 32}, "c"),
        ({"a": 8, "b": 8, "c": 9}, "c"),
        ({"a": 8, "b": 4, "c": 8}, None),
        ({"b": 32, "c": 32}, None),
        ({"a": 8}, None),
    ],
)
def test_what_was_too_long_is_tried_on_those_alone_that_take_more(
    windows: dict[str, int], following: str | None
) -> None:
    """Whoever takes as little would refuse it too; of whom nothing is known, nobody can say that it takes more."""
    candidates = tuple(map(parse_candidate, "abc"))
    misses = [missed("a", FailureKind.CONTEXT_OVERFLOW)]
    known = {BackendId(name): size for name, size in windows.items()}
    expected = None if following is None else parse_candidate(following)
    others = others_left(candidates, misses, candidates[0], known)

    assert (expected, following is not None) == (next_candidate(candidates, misses, known), others > 0)


@pytest.mark.parametrize(
    ("hosts", "code", "following"),
    [
        ({"a": "x", "b": "x"}, NO_CONNECTION, "c"),
        ({"a": "x", "b": "x", "c": "x"}, NO_CONNECTION, None),
        ({"a": "x", "b": "y"}, NO_CONNECTION, "b"),
        ({"b": "x", "c": "x"}, NO_CONNECTION, "b"),
        ({}, NO_CONNECTION, "b"),
        ({"a": "x", "b": "x"}, "RemoteProtocolError", "b"),
    ],
)
def test_where_nobody_takes_a_connection_nobody_there_is_tried(
    hosts: dict[str, str], code: str, following: str | None
) -> None:
    """The next one at that address would cost the same limit; a failure that somebody answered with is its own."""
    candidates = tuple(map(parse_candidate, "abc"))
    misses = [Miss(1, candidates[0], Failure(FailureKind.UNREACHABLE, "x", code))]
    known = {BackendId(name): host for name, host in hosts.items()}

    expected = None if following is None else parse_candidate(following)
    assert expected == next_candidate(candidates, misses, hosts=known)


def test_who_might_follow_is_counted_without_whom_is_tried_and_whom_is_spent() -> None:
    """The reserve of each is kept back from whom is tried."""
    candidates = tuple(map(parse_candidate, ("a/work", "b", "c/work", "d")))

    expected = 1
    assert expected == others_left(
        candidates, [missed("a/work", FailureKind.BILLING)], Candidate(candidates[1].backend)
    )


def test_a_backend_can_have_limits_of_its_own() -> None:
    """A provider's API answers within a minute where an agent may take two."""
    own = Limits(first_output=60.0)
    rules = Rules((PRIMARY, SPARE), own_limits={SPARE.backend: own})

    assert [Limits(), own] == [rules.limits_of(PRIMARY), rules.limits_of(SPARE)]
