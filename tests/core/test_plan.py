"""Who may be tried, and in which order."""

import pytest

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.health import Health, after_failure, key_of, probe_started
from acp_broker.core.names import BackendId, Candidate, ProfileId
from acp_broker.core.plan import Can, Needs, Plan, Skipped, make_plan

NOW, WALL = 1_000.0, 1_790_000_000.0
A, B, C = (Candidate(BackendId(name)) for name in "abc")


def rest(health: Health, candidate: Candidate, seconds: float) -> Health:
    failure = Failure(FailureKind.RATE_LIMITED, "x", retry_after_s=seconds)
    return after_failure(health, key_of(candidate), failure, NOW, WALL)


def plan(health: Health | None = None, at: float = 0.0, **more: object) -> Plan:
    return make_plan([A, B, C], health or Health(), NOW + at, WALL + at, **more)


def test_a_plan_is_the_chain_in_order() -> None:
    """Primary first, then the fallbacks as they were written."""
    assert Plan((A, B, C)) == plan()


def test_nobody_is_tried_twice() -> None:
    """A fallback that names the primary again is a slip, not a wish."""
    assert Plan((A, B)) == make_plan([A, B, A, B], Health(), NOW, WALL)


def test_a_pin_is_strict() -> None:
    """Who picked a backend wants its answer or its error, not another's."""
    assert Plan((B,)) == plan(pin=BackendId("b"))


def test_a_pin_keeps_all_credentials_of_its_backend() -> None:
    """The pin names a backend; its second key is still the same choice."""
    order = [Candidate(BackendId("a"), ProfileId("x")), Candidate(BackendId("a"), ProfileId("y")), B]

    assert tuple(order[:2]) == make_plan(order, Health(), NOW, WALL, pin=BackendId("a")).candidates


def test_a_resting_pin_is_tried_all_the_same() -> None:
    """There is nobody else to try."""
    assert Plan((B,), is_all_resting=True) == plan(rest(Health(), B, 60.0), pin=BackendId("b"))


def test_who_rests_goes_last() -> None:
    """Never away: it is tried when the others fail."""
    assert Plan((B, C, A)) == plan(rest(Health(), A, 60.0))


def test_of_those_who_rest_the_soonest_to_recover_is_first() -> None:
    """The least bad choice."""
    assert Plan((C, B, A)) == plan(rest(rest(Health(), A, 60.0), B, 30.0))


def test_when_everybody_rests_everybody_is_tried() -> None:
    """Fail open, and say so: litellm #3646 answered with an error instead."""
    health = rest(rest(rest(Health(), A, 60.0), B, 30.0), C, 90.0)

    assert Plan((B, A, C), is_all_resting=True) == plan(health)


def test_who_comes_back_from_a_rest_keeps_its_place() -> None:
    """The next turn finds out whether the primary is well again."""
    assert Plan((A, B, C)) == plan(rest(Health(), A, 60.0), at=60.0)


def test_during_another_turns_probe_it_goes_last() -> None:
    """One turn pays for finding out."""
    health = probe_started(rest(Health(), A, 60.0), key_of(A), NOW + 60, WALL + 60)

    assert Plan((B, C, A)) == plan(health, at=61.0)


def test_who_is_being_probed_comes_before_who_rests() -> None:
    """It may be well this very moment."""
    health = probe_started(rest(rest(Health(), A, 60.0), B, 600.0), key_of(A), NOW + 60, WALL + 60)

    assert Plan((C, A, B)) == plan(health, at=61.0)


LACKS = [
    (Needs(image=True), Can(image=False), "it takes no images"),
    (Needs(audio=True), Can(audio=False), "it takes no audio"),
    (Needs(additional_directories=True), Can(additional_directories=False), "it takes no additional directories"),
    (
        Needs(mode="plan"),
        Can(modes=frozenset({"ask"})),
        "it has no counterpart of the mode 'plan'; map it under `modes` in config.json",
    ),
]


@pytest.mark.parametrize(("needs", "can", "why"), LACKS)
def test_who_cannot_take_the_prompt_is_skipped_with_a_reason(needs: Needs, can: Can, why: str) -> None:
    """Starting it would cost time and end in its own, worse error."""
    whole = Can(True, True, True, frozenset({"plan"}))

    assert Plan((A, C), (Skipped(B, Failure(FailureKind.UNSUPPORTED, why)),)) == plan(
        needs=needs, can={BackendId("a"): whole, BackendId("b"): can, BackendId("c"): whole}
    )


@pytest.mark.parametrize("needs", [Needs(image=True), Needs(audio=True), Needs(additional_directories=True)])
def test_who_is_unknown_may_take_the_prompt(needs: Needs) -> None:
    """An agent that was never started has said nothing yet."""
    assert Plan((A, B, C)) == plan(needs=needs)


def test_a_mode_is_drawn_only_by_who_is_known_to_draw_it() -> None:
    """A mode is a permission boundary: unknown is not enough."""
    assert plan(needs=Needs(mode="plan"), can={A.backend: Can(modes=frozenset({"plan"}))}).candidates == (A,)


def test_a_plan_may_be_empty() -> None:
    """Then every candidate says why."""
    found = plan(needs=Needs(mode="plan"))

    assert (found.candidates, [skipped.candidate for skipped in found.skipped]) == ((), [A, B, C])


TWINS = {B.backend: A.backend}
TWICE = Failure(FailureKind.UNSUPPORTED, "asks the same of the same provider as a, which is tried")


def test_who_asks_the_same_as_somebody_before_is_skipped() -> None:
    """The same server would fail the same way, and be asked twice for it."""
    assert Plan((A, C), (Skipped(B, TWICE),)) == plan(twins=TWINS)


def test_who_asks_the_same_rests_with_the_other() -> None:
    """It is one server, whatever it is called here."""
    assert Plan((C, A), (Skipped(B, TWICE),)) == plan(rest(Health(), A, 60.0), twins=TWINS)


def test_who_asks_the_same_is_tried_where_the_other_cannot_take_the_prompt() -> None:
    """Two entries may differ in what they are sent."""
    lacks = Skipped(A, Failure(FailureKind.UNSUPPORTED, "it takes no images"))
    found = plan(needs=Needs(image=True), can={A.backend: Can(image=False)}, twins=TWINS)

    assert Plan((B, C), (lacks,)) == found


def test_a_pin_on_who_asks_the_same_as_another_is_kept() -> None:
    """The user named it."""
    assert Plan((B,)) == plan(pin=B.backend, twins=TWINS)


def test_each_credential_of_the_same_is_tried_once() -> None:
    """The second key has limits of its own."""
    order = [Candidate(BackendId(name), ProfileId("p"), credential=number) for name in "ab" for number in (0, 1)]

    assert tuple(order[:2]) == make_plan(order, Health(), NOW, WALL, twins=TWINS).candidates
