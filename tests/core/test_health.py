"""Who rests after a failure, for how long, and who finds out that it is over."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.health import (
    _RULES,
    BILLING_LADDER_S,
    LADDER_S,
    PROBE_S,
    Health,
    Key,
    Probing,
    Ready,
    Resting,
    after_exhausted,
    after_failure,
    after_success,
    condition,
    key_of,
    probe_ended,
    probe_started,
)
from acp_broker.core.names import BackendId, Candidate, ProfileId

K = FailureKind
HOUR = 3_600.0
# The monotonic clock and the wall clock, at the beginning of every test.
NOW, WALL = 1_000.0, 1_790_000_000.0


def key(backend: str = "claude", profile: str | None = "work", model: str | None = "opus") -> Key:
    return Key(BackendId(backend), None if profile is None else ProfileId(profile), model)


def fail(
    health: Health, kind: FailureKind, at: float = 0.0, of: Key | None = None, wait_s: float | None = None
) -> Health:
    return after_failure(health, of or key(), Failure(kind, "x", retry_after_s=wait_s), NOW + at, WALL + at)


def at(health: Health, seconds: float = 0.0, of: Key | None = None) -> Ready | Resting | Probing:
    return condition(health, of or key(), NOW + seconds, WALL + seconds)


def left_s(health: Health, seconds: float = 0.0, of: Key | None = None) -> float:
    found = at(health, seconds, of)
    return found.left_s if isinstance(found, Resting) else 0.0


DEAR = [K.SILENT, K.CRASHED]
CANDIDATE = [kind for kind in K if _RULES[kind].rests == "candidate" and kind is not K.EMPTY_TURN]
ACCOUNT = [K.AUTH_MISSING, K.AUTH_REJECTED, K.BILLING, K.ACCOUNT_RATE_LIMITED]
NOBODY = [kind for kind in K if _RULES[kind].rests == "nobody"]


def test_every_kind_has_a_rule() -> None:
    """A kind that the table forgets would end a failover with a KeyError."""
    assert set(K) == set(_RULES)


def test_who_has_never_failed_is_ready() -> None:
    """Health starts empty and remembers failures only."""
    assert Ready() == at(Health())


@pytest.mark.parametrize("kind", CANDIDATE)
def test_the_first_failure_rests_for_the_first_rung(kind: FailureKind) -> None:
    """Half a minute: a recovered backend is back before it is missed."""
    assert Resting(30.0, kind) == at(fail(Health(), kind))


@pytest.mark.parametrize("kind", CANDIDATE)
def test_a_candidates_failure_leaves_its_profile_alone(kind: FailureKind) -> None:
    """OpenClaw #3231 and its family: one model's 429 blocked its siblings."""
    assert Ready() == at(fail(Health(), kind), of=key(model="haiku"))


@pytest.mark.parametrize("kind", ACCOUNT)
def test_an_accounts_failure_rests_all_that_use_the_profile(kind: FailureKind) -> None:
    """The same purse and the same login serve them all."""
    assert isinstance(at(fail(Health(), kind), of=key("other", model=None)), Resting)


@pytest.mark.parametrize("kind", ACCOUNT)
def test_an_accounts_failure_leaves_other_profiles_alone(kind: FailureKind) -> None:
    """The next profile is what the failover is for."""
    assert Ready() == at(fail(Health(), kind), of=key(profile="home"))


def test_a_backend_without_a_profile_is_its_own_account() -> None:
    """It keeps its login itself: its models rest, other backends without a profile do not."""
    health = fail(Health(), K.AUTH_MISSING, of=key("codex", None, "a"))

    assert isinstance(at(health, of=key("codex", None, "b")), Resting)
    assert Ready() == at(health, of=key("gemini", None, "b"))


@pytest.mark.parametrize("kind", NOBODY)
def test_what_is_not_the_backends_fault_rests_nobody(kind: FailureKind) -> None:
    """A malformed prompt, a refused topic, a cancel or a fault of ours says nothing about a backend."""
    assert Health() == fail(Health(), kind)


def rests(kind: FailureKind, times: int, health: Health | None = None) -> list[float]:
    """How long it rests, each time that its first turn after the rest fails as well."""
    health, lengths, seconds = health or Health(), [], 0.0
    for _ in range(times):
        health = fail(health, kind, seconds)
        lengths.append(left_s(health, seconds))
        seconds += lengths[-1]
    return lengths


@pytest.mark.parametrize("kind", DEAR)
def test_a_ladder_is_climbed_one_rung_per_failed_return(kind: FailureKind) -> None:
    """A probe costs a person the wait for a first word, or a start: they are asked for it ever more rarely."""
    assert rests(kind, 4) == [30.0, 60.0, 300.0, 300.0]


@pytest.mark.parametrize("kind", [kind for kind in CANDIDATE if kind not in DEAR])
def test_what_is_told_at_once_rests_for_half_a_minute_each_time(kind: FailureKind) -> None:
    """Failover Bench, S15: whoever recovers serves again within 30 s, after any outage; a probe costs little."""
    assert rests(kind, 20) == [30.0] * 20


def test_a_server_that_is_told_to_be_away_comes_down_from_its_ladder() -> None:
    """It was silent for long; now it is refused at once, so asking is cheap."""
    health = fail(fail(Health(), K.SILENT, -90.0), K.SILENT, -60.0)

    assert rests(K.UNREACHABLE, 2, health) == [30.0, 30.0]


def test_an_empty_purse_doubles_to_a_day() -> None:
    """Nobody fills a purse within minutes."""
    health, lengths, seconds = Health(), [], 0.0
    for _ in range(5):
        health = fail(health, K.BILLING, seconds)
        lengths.append(left_s(health, seconds) / HOUR)
        seconds += lengths[-1] * HOUR

    assert lengths == [5.0, 10.0, 20.0, 24.0, 24.0]


def test_rungs_of_one_ladder_do_not_count_on_the_other() -> None:
    """Three rejected logins are no three empty purses."""
    health = Health()
    for seconds in (0.0, 30.0, 90.0):
        health = fail(health, K.AUTH_REJECTED, seconds)

    assert left_s(fail(health, K.BILLING, 1000.0), 1000.0) == 5 * HOUR


def test_failures_at_once_are_one_failure() -> None:
    """Ten turns that meet the same outage must not climb ten rungs."""
    health = Health()
    for _ in range(10):
        health = fail(health, K.CRASHED)

    assert left_s(health) == 30.0


def test_a_failure_during_a_rest_prolongs_it() -> None:
    """litellm #40130: a second 429 must extend the first one's rest."""
    assert left_s(fail(fail(Health(), K.CRASHED), K.CRASHED, 20.0), 20.0) == 30.0


def test_a_shorter_rest_does_not_shorten_a_longer_one() -> None:
    """The end is the later of both."""
    health = fail(Health(), K.RATE_LIMITED, wait_s=600.0)

    assert left_s(fail(health, K.RATE_LIMITED, 10.0, wait_s=5.0), 10.0) == 590.0


@pytest.mark.parametrize("wait_s", [2.0, 45.0, 4000.0])
def test_a_wait_that_was_asked_for_is_the_rest(wait_s: float) -> None:
    """The provider knows its own window, be it shorter or longer than our rung."""
    assert wait_s == left_s(fail(Health(), K.RATE_LIMITED, wait_s=wait_s))


def test_who_asks_for_no_wait_is_asked_again_at_once() -> None:
    """An idle connection was closed: nothing is wrong with who closed it."""
    assert Ready(is_probe=True) == at(fail(Health(), K.UNREACHABLE, wait_s=0.0))


def test_who_asks_for_no_wait_time_and_again_rests() -> None:
    """Then it was no idle connection."""
    once = fail(Health(), K.UNREACHABLE, wait_s=0.0)

    assert LADDER_S[0] == left_s(fail(once, K.UNREACHABLE, wait_s=0.0))


def test_a_wait_that_was_wrong_is_believed_less() -> None:
    """It asked for 2 s, we waited, it failed again: now the ladder's rung before is the least."""
    health = fail(Health(), K.RATE_LIMITED, wait_s=2.0)

    assert left_s(fail(health, K.RATE_LIMITED, 3.0, wait_s=2.0), 3.0) == 30.0


def test_success_clears_candidate_and_account() -> None:
    """Who served is well, and so is the login it served with."""
    health = fail(fail(Health(), K.CRASHED), K.AUTH_REJECTED)

    assert Health() == after_success(health, key())


def test_success_leaves_others_alone() -> None:
    """Another model's limit is not over because this one works."""
    health = fail(Health(), K.RATE_LIMITED, of=key(model="haiku"))

    assert health is after_success(health, key())


def test_success_resets_the_ladder() -> None:
    """The next failure begins at the first rung."""
    health = fail(fail(Health(), K.CRASHED), K.CRASHED, 30.0)

    assert left_s(fail(after_success(health, key()), K.CRASHED, 100.0), 100.0) == 30.0


def test_one_empty_turn_is_forgiven() -> None:
    """It may have been the prompt's."""
    assert Ready() == at(fail(Health(), K.EMPTY_TURN))


def test_two_empty_turns_in_a_row_rest() -> None:
    """Two are the backend's."""
    assert left_s(fail(fail(Health(), K.EMPTY_TURN), K.EMPTY_TURN)) == 30.0


def test_two_empty_turns_with_an_answer_between_do_not_rest() -> None:
    """In a row means in a row."""
    assert Ready() == at(fail(after_success(fail(Health(), K.EMPTY_TURN), key()), K.EMPTY_TURN))


def test_after_a_rest_comes_a_probe() -> None:
    """The next turn tries it, and knows that it is the one to find out."""
    assert Ready(is_probe=True) == at(fail(Health(), K.CRASHED), 30.0)


def test_during_a_probe_others_are_told() -> None:
    """One turn pays for finding out, not all."""
    health = probe_started(fail(Health(), K.CRASHED), key(), NOW + 30, WALL + 30)

    assert Probing() == at(health, 31.0)


def test_a_probe_of_an_account_is_told_to_all_its_candidates() -> None:
    """What is being found out is whether the login works."""
    health = probe_started(fail(Health(), K.AUTH_REJECTED), key(), NOW + 30, WALL + 30)

    assert Probing() == at(health, 31.0, of=key("other"))


def test_a_probe_of_the_well_is_none() -> None:
    """Only who comes back from a rest is probed."""
    assert Health() == probe_started(Health(), key(), NOW, WALL)


def test_a_forgiven_empty_turn_is_not_probed() -> None:
    """It did not rest, so there is nothing to find out."""
    health = fail(Health(), K.EMPTY_TURN)

    assert health is probe_started(health, key(), NOW, WALL)


def test_a_probe_that_found_nothing_out_is_repeated() -> None:
    """Finagle: a probe answered by an ignorable must not stick."""
    health = probe_started(fail(Health(), K.CRASHED), key(), NOW + 30, WALL + 30)

    assert Ready(is_probe=True) == at(probe_ended(health, key()), 31.0)


@pytest.mark.parametrize("kind", NOBODY)
def test_a_probe_that_ends_in_nobodys_fault_is_repeated(kind: FailureKind) -> None:
    """It says as little as a cancel."""
    health = probe_started(fail(Health(), K.CRASHED), key(), NOW + 30, WALL + 30)

    assert Ready(is_probe=True) == at(fail(health, kind, 31.0), 31.0)


def test_a_probe_that_fails_rests_one_rung_up() -> None:
    """And is over."""
    health = probe_started(fail(Health(), K.CRASHED), key(), NOW + 30, WALL + 30)

    assert Resting(60.0, K.CRASHED) == at(fail(health, K.CRASHED, 31.0), 31.0)


def test_a_lost_probe_is_repeated() -> None:
    """Its process died without a word."""
    health = probe_started(fail(Health(), K.CRASHED), key(), NOW + 30, WALL + 30)

    assert Ready(is_probe=True) == at(health, 30.0 + PROBE_S)


# ---- a poison prompt


def climbed(*backends: str) -> tuple[Health, list[tuple[Key, Failure]]]:
    """Each backend fails three times, with its rest between; the last time is the chain's."""
    health = Health()
    for seconds in (0.0, 30.0, 90.0):
        for backend in backends:
            health = fail(health, K.CRASHED, seconds, of=key(backend))
    return health, [(key(backend), Failure(K.CRASHED, "x")) for backend in backends]


def test_when_a_whole_chain_fails_alike_nobody_rests_beyond_the_first_rung() -> None:
    """The prompt is the likely cause, and the next prompt is another one."""
    health, misses = climbed("a", "b")
    health = after_exhausted(health, misses, NOW + 90, WALL + 90)

    assert [left_s(health, 90.0, of=of) for of, _ in misses] == [30.0, 30.0]


def test_after_a_poison_prompt_the_ladder_goes_on_from_its_first_rung() -> None:
    """The rungs that the prompt climbed do not count."""
    health, misses = climbed("a", "b")
    health = fail(after_exhausted(health, misses, NOW + 90, WALL + 90), K.CRASHED, 120.0, of=key("a"))

    assert left_s(health, 120.0, of=key("a")) == 60.0


def test_when_a_chain_fails_in_different_ways_each_rests_for_itself() -> None:
    """No single cause."""
    health, misses = climbed("a", "b")
    misses[1] = (misses[1][0], Failure(K.SILENT, "x"))

    assert health is after_exhausted(health, misses, NOW + 90, WALL + 90)


def test_a_chain_of_one_backend_says_nothing_about_the_prompt() -> None:
    """It is the backend as likely as the prompt."""
    health, misses = climbed("a")

    assert health is after_exhausted(health, misses * 2, NOW + 90, WALL + 90)


def test_a_poison_prompt_leaves_waits_that_were_asked_for() -> None:
    """Two providers that both ask for an hour mean it."""
    health, misses = Health(), [(key(backend), Failure(K.RATE_LIMITED, "x", retry_after_s=HOUR)) for backend in "ab"]
    for of, failure in misses:
        health = after_failure(health, of, failure, NOW, WALL)

    assert health is after_exhausted(health, misses, NOW, WALL)


def test_a_poison_prompt_leaves_accounts_alone() -> None:
    """No prompt empties a purse."""
    health, misses = Health(), [(key(name, name), Failure(K.BILLING, "x")) for name in "ab"]
    for of, failure in misses:
        health = after_failure(health, of, failure, NOW, WALL)

    assert health is after_exhausted(health, misses, NOW, WALL)


# ---- clocks


@pytest.mark.parametrize(
    ("now", "wall", "left"),
    [
        (10.0, 10.0, 20.0),
        (10.0, 5_000.0, 0.0),  # the wall clock was put forward
        (10.0, -5_000.0, 20.0),  # ... back: the monotonic clock knows
        (-990.0, 10.0, 20.0),  # a reboot: the wall clock knows
        (-990.0, -5_000.0, 30.0),  # both: the length knows
    ],
)
def test_a_clock_jump_only_shortens(now: float, wall: float, left: float) -> None:
    """A laptop whose clock was a year ahead must not rest its backends for a year."""
    found = condition(fail(Health(), K.CRASHED), key(), NOW + now, WALL + wall)

    assert left == (found.left_s if isinstance(found, Resting) else 0.0)


def test_a_new_failure_rests_although_an_old_end_lies_ahead_on_one_clock() -> None:
    """After a jump the old rest is over, however its other clock reads."""
    health = after_failure(fail(Health(), K.BILLING), key(), Failure(K.BILLING, "x"), NOW + 1, WALL + 9 * HOUR)
    found = condition(health, key(), NOW + 1, WALL + 9 * HOUR)

    assert Resting(10 * HOUR, K.BILLING) == found


# ---- whole histories

KEYS = [key("a"), key("a", model=None), key("b"), key("b", None), key("c", None, None)]
HISTORY = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(list(K)), st.integers(0, 120), st.none() | st.integers(1, 900)),
    max_size=8,
)


def replay(history: list[tuple[Key, FailureKind, int, int | None]]) -> Health:
    health = Health()
    for of, kind, seconds, wait_s in history:
        health = fail(health, kind, seconds, of, wait_s)
        if kind is K.CANCELLED:
            health = probe_started(health, of, NOW + seconds, WALL + seconds)
    return health


@settings(derandomize=True, max_examples=200, deadline=None)
@given(HISTORY, st.integers(-10_000, 10_000), st.integers(-10_000, 10_000))
def test_no_rest_is_ever_longer_than_was_meant(
    history: list[tuple[Key, FailureKind, int, int | None]], now: int, wall: int
) -> None:
    """Whatever the clocks do."""
    health = replay(history)
    longest = max(BILLING_LADDER_S[-1], LADDER_S[-1])

    for of in KEYS:
        found = condition(health, of, NOW + now, WALL + wall)
        assert not isinstance(found, Resting) or 0 < found.left_s <= longest


def test_a_candidate_has_one_key() -> None:
    """Plans speak of candidates, health of keys."""
    assert key() == key_of(Candidate(BackendId("claude"), ProfileId("work"), "opus"))


SECOND = replace(key(), credential=1)


@pytest.mark.parametrize("kind", [*ACCOUNT, K.RATE_LIMITED])
def test_what_one_credential_is_refused_for_leaves_the_next_one_ready(kind: FailureKind) -> None:
    """It is another account, or another share of the same model; and so the other way round."""
    first, second = fail(Health(), kind), fail(Health(), kind, of=SECOND)

    assert (True, Ready()) == (left_s(first) > 0, at(first, of=SECOND))
    assert (True, Ready()) == (left_s(second, of=SECOND) > 0, at(second))


@pytest.mark.parametrize("kind", [kind for kind in CANDIDATE if kind is not K.RATE_LIMITED])
def test_what_is_no_credentials_fault_rests_the_backend_with_each(kind: FailureKind) -> None:
    """A process that dies dies with any; whichever it was started with."""
    for failed in (key(), SECOND):
        found = fail(Health(), kind, of=failed)

        assert [Resting(30.0, kind)] * 2 == [at(found), at(found, of=SECOND)]


def test_an_answer_with_one_credential_says_nothing_of_the_others_limit() -> None:
    """It says that the backend is well."""
    limited = fail(fail(Health(), K.RATE_LIMITED), K.CRASHED, of=SECOND)
    crashed = after_success(limited, SECOND)
    rated = after_success(fail(Health(), K.RATE_LIMITED), SECOND)

    assert (Ready(), Ready(), Resting(30.0, K.RATE_LIMITED)) == (at(crashed, of=SECOND), at(crashed), at(rated))


def test_a_record_of_the_first_credential_is_kept_as_ever() -> None:
    """Health that an earlier version has written is still read, and the other way round."""
    kept = msgspec.json.encode(fail(Health(), K.BILLING))

    assert b"credential" not in kept
