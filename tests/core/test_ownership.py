"""The verdict on a claim: one test per thing that can be found in its place."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from acp_broker.core.ownership import (
    TAKE_AFTER_S,
    Gone,
    Here,
    Kind,
    Odd,
    OddKind,
    Owner,
    Process,
    Running,
    Verdict,
    Zombie,
    judge,
    read,
    written,
)

NOW, WALL, START = 5_000.0, 1_700_000_000.0, 777
ITSELF = Running(START)
# Ten seconds ago.
OWNER = Owner(
    claim="c1",
    pid=4711,
    start=START,
    host="here",
    boot="b1",
    namespace="n1",
    since=NOW - 10,
    since_wall=WALL - 10,
    doing="renewing the login",
    generation=7,
)


def here(process: Process = ITSELF, **members: object) -> Here:
    return replace(Here("here", "b1", "n1", NOW, WALL, process), **members)


def said(verdict: Verdict) -> tuple[Kind, float | None]:
    return verdict.kind, verdict.free_in_s


@pytest.mark.parametrize(
    ("kind", "free_in_s", "owner", "seen"),
    [
        (Kind.MINE, 0.0, OWNER, here(mine=frozenset({"c1"}))),
        (Kind.LIVE, None, OWNER, here()),
        (Kind.LIVE, None, replace(OWNER, since=0.0, since_wall=0.0), here()),
        (Kind.DEAD, 0.0, OWNER, here(Gone())),
        (Kind.ZOMBIE, 0.0, OWNER, here(Zombie())),
        (Kind.RECYCLED, 0.0, OWNER, here(Running(START + 1))),
        (Kind.REBOOTED, 0.0, OWNER, here(boot="b2")),
        # Whether it is the same process cannot be seen: macOS, or another user's under hidepid.
        (Kind.UNSEEN, TAKE_AFTER_S - 10, OWNER, here(Running(None))),
        (Kind.UNSEEN, TAKE_AFTER_S - 10, replace(OWNER, start=None), here()),
        # What another namespace calls 4711 says nothing about ours.
        (Kind.OTHER_NAMESPACE, TAKE_AFTER_S - 10, replace(OWNER, namespace="n2"), here(Gone())),
        (Kind.OTHER_NAMESPACE, 0.0, replace(OWNER, namespace="n2", since=NOW - 100), here()),
        (Kind.OTHER_HOST, TAKE_AFTER_S - 10, replace(OWNER, host="there", boot="b2"), here(Gone())),
        (Kind.OTHER_HOST, TAKE_AFTER_S - 10, replace(OWNER, host="there", boot="", namespace=""), here(boot="")),
        # Without boots to tell them apart a pid that nobody has is enough.
        (Kind.DEAD, 0.0, replace(OWNER, boot=""), here(Gone(), boot="")),
    ],
)
def test_each_owner_has_its_verdict(kind: Kind, free_in_s: float | None, owner: Owner, seen: Here) -> None:
    """Who is provably dead holds up nobody; who lives is never robbed; the others have as long as work can take."""
    assert (kind, free_in_s) == said(judge(owner, seen))


@pytest.mark.parametrize(
    ("what", "kind", "free_in_s"),
    [
        (OddKind.EMPTY, Kind.EMPTY, 50.0),
        (OddKind.DAMAGED, Kind.DAMAGED, 50.0),
        (OddKind.UNREADABLE, Kind.UNREADABLE, 50.0),
        # Nobody of ours makes links, pipes or folders there.
        (OddKind.NO_FILE, Kind.NO_FILE, 0.0),
    ],
)
def test_what_names_no_owner_is_judged_by_its_age(what: OddKind, kind: Kind, free_in_s: float) -> None:
    """It may be a living owner's, whose words we cannot read."""
    assert (kind, free_in_s) == said(judge(Odd(what, WALL - 10), here()))


@pytest.mark.parametrize(
    ("jump_s", "free_in_s"),
    [
        # Set forward: it looks old.
        (3600.0, 0.0),
        # Set back by less than a wait: it looks new, and may be waited for from the start.
        (-30.0, 60.0),
        # From a future that no clock explains.
        (-3600.0, 0.0),
    ],
)
def test_a_wall_clock_that_jumps_prolongs_no_wait_beyond_its_length(jump_s: float, free_in_s: float) -> None:
    """The other side's clock is all there is: of another machine, or for a file that names nobody."""
    seen = here(Gone(), wall=WALL + jump_s)
    other = judge(replace(OWNER, host="there", boot="b2"), seen)
    odd = judge(Odd(OddKind.DAMAGED, WALL - 10), seen)

    assert (free_in_s, free_in_s) == (other.free_in_s, odd.free_in_s)


def test_a_wall_clock_that_is_set_back_does_not_prolong_a_wait_in_one_boot() -> None:
    """The monotonic clock of the kernel is everybody's who runs on it."""
    seen = here(wall=WALL - 30)

    assert (Kind.OTHER_NAMESPACE, 50.0) == said(judge(replace(OWNER, namespace="n2"), seen))


@pytest.mark.parametrize(
    ("owner", "seen", "text"),
    [
        (
            OWNER,
            here(Gone()),
            "acp-broker (pid 4711 on here): dead, renewing the login for 10 s, is taken over",
        ),
        (
            OWNER,
            here(),
            "acp-broker (pid 4711 on here): alive, renewing the login for 10 s, is not taken from it",
        ),
        (
            replace(OWNER, namespace="n2"),
            here(),
            (
                "acp-broker (pid 4711 on here): in another pid namespace, such as a container, "
                "renewing the login for 10 s, can be taken in 50 s"
            ),
        ),
        (Odd(OddKind.EMPTY, WALL - 10), here(), "the claim is empty, for 10 s, can be taken in 50 s"),
    ],
)
def test_a_verdict_says_owner_age_and_what_follows(owner: Owner | Odd, seen: Here, text: str) -> None:
    """Somebody who reads the log must not have to guess what a chat waits for."""
    assert text == judge(owner, seen).text


def test_an_owner_is_read_as_it_was_written() -> None:
    """By another process, a moment later."""
    assert OWNER == read(written(OWNER), WALL)


@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode))
def test_any_bytes_are_an_owner_or_odd(data: bytes) -> None:
    """A file may hold anything: after a power cut, or from another hand."""
    found = read(data, WALL)

    assert isinstance(found, Owner | Odd)
    assert isinstance(judge(found, here()), Verdict)


numbers = st.floats(allow_nan=False) | st.integers(-(2**63), 2**63)
owners = st.builds(
    Owner,
    claim=st.text(max_size=3),
    pid=st.integers(1, 2**31 - 1),
    start=st.none() | st.just(START) | st.integers(),
    host=st.sampled_from(["here", "there", ""]),
    boot=st.sampled_from(["b1", "b2", ""]),
    namespace=st.sampled_from(["n1", "n2", ""]),
    since=numbers,
    since_wall=numbers,
    doing=st.text(max_size=3),
    generation=st.integers(),
)
processes = st.sampled_from([Gone(), Zombie(), Running(START), Running(None), Running(1)])


@given(owners, processes, numbers, numbers)
def test_no_wait_is_longer_than_its_length_whatever_the_clocks_say(
    owner: Owner, process: Process, now: float, wall: float
) -> None:
    """Numbers that no clock says must not hold a login for ever either."""
    verdict = judge(owner, here(process, now=now, wall=wall))

    if verdict.free_in_s is None:
        assert (Kind.LIVE, "b1", "n1", START) == (verdict.kind, owner.boot, owner.namespace, owner.start)
        assert Running(START) == process
    else:
        assert 0.0 <= verdict.free_in_s <= TAKE_AFTER_S


@given(owners, numbers, numbers)
def test_whoever_is_seen_to_live_is_never_robbed(owner: Owner, now: float, wall: float) -> None:
    """Whatever the clocks say: a renewal that is slow is still the only one who has the answer."""
    owner = replace(owner, boot="b1", namespace="n1", start=START)

    assert (Kind.LIVE, None) == said(judge(owner, here(now=now, wall=wall)))
