"""Twenty processes and one login that has ended, at a provider that lets each refresh token be used once."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from acp_broker.auth.lease import Logins
from acp_broker.clock import SystemClock
from acp_broker.core.ownership import written
from tests.support.renewing import DEAR, HARMLESS, WORK, Order, outcomes, stored
from tests.support.rotating import Rotating, rotating

# The limit of who waits; nobody may take longer, but for the time that a busy machine adds.
WAIT_S = 10.0


def order(home: Path, server: Rotating, **members: object) -> Order:
    stored(home, server.refresh)
    return Order(str(home), server.url, wait_s=WAIT_S, **members)


def test_twenty_processes_ask_once_and_all_get_the_token(tmp_path: Path) -> None:
    """Asked twice, the provider would end the login for all of them."""
    with rotating(Rotating()) as server:
        found = outcomes(order(tmp_path, server))

    assert (1, {"canary-access-1"}, 20) == (len(server.asked), {one.access for one in found}, len(found)), found


@pytest.mark.parametrize("step", HARMLESS)
def test_whoever_dies_where_nothing_is_lost_costs_nobody_anything(tmp_path: Path, step: str) -> None:
    """Its claim is known to be a dead process's, so the next one goes on at once."""
    with rotating(Rotating()) as server:
        found = outcomes(order(tmp_path, server, kill_at=step))

    living = [one for one in found if not one.died]
    assert (1, 19) == (len(server.asked), len(living))
    assert {server.access} == {one.access for one in living}, living
    assert max(one.took_s for one in living) < WAIT_S


@pytest.mark.parametrize("step", DEAR)
def test_an_answer_that_dies_with_its_process_is_asked_for_once_more(tmp_path: Path, step: str) -> None:
    """A provider that forgives the token it has just replaced gives it again."""
    with rotating(Rotating(is_forgiving=True)) as server:
        found = outcomes(order(tmp_path, server, kill_at=step))

    living = [one for one in found if not one.died]
    assert (2, False, 19) == (len(server.asked), server.is_revoked, len(living))
    assert {server.access} == {one.access for one in living}, living
    assert max(one.took_s for one in living) < WAIT_S


@pytest.mark.parametrize("step", DEAR)
def test_where_a_provider_forgives_nothing_its_user_is_told_what_died(tmp_path: Path, step: str) -> None:
    """Nobody can save such a login; one request tells, and no other follows."""
    with rotating(Rotating()) as server:
        found = outcomes(order(tmp_path, server, kill_at=step))

    living = [one for one in found if not one.died]
    told = {one.text for one in living}
    assert (2, 19, {"AuthRejected"}) == (len(server.asked), len(living), {one.error for one in living}), living
    assert 1 == len(told), told
    text = told.pop()
    assert "dead" in text, text
    assert text.endswith(f"log in anew: acp-broker login {WORK}"), text
    assert 1 == sum("login_refused" in line for one in living for line in one.log)


@pytest.mark.parametrize("left", ["empty", "another namespace", "recycled pid"])
def test_twenty_processes_that_may_all_take_over_take_over_once(tmp_path: Path, left: str) -> None:
    """They wait for the same moment; who is second finds the claim of the first, who lives."""
    with rotating(Rotating()) as server:
        given = order(tmp_path, server, take_after_s=1.0)
        logins = Logins(tmp_path, SystemClock())
        held = logins.claim(WORK, lambda _: False, "renewing the login")
        # The pid of a process that lives, but was started at another time.
        other = {"namespace": "another"} if left == "another namespace" else {"start": 1}
        record = b"" if left == "empty" else written(replace(held.owner, **other))
        logins.claim_path(WORK).write_bytes(record)
        found = outcomes(given)

    takers = [one for one in found if any("claim_taken_over" in line for line in one.log)]
    assert (1, 1, {server.access}) == (len(server.asked), len(takers), {one.access for one in found}), found
