"""Who is let in, decided without a socket."""

import pytest

from acp_broker.edge import admission
from acp_broker.edge.admission import Admission, host, origin

TOKEN = "right"


def status_of(refusal: admission.Refusal | None) -> int | None:
    return None if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("asked", "own", "is_let_in"),
    [
        (["localhost"], "127.0.0.1", True),
        (["localhost:8765"], "127.0.0.1", True),
        (["LocalHost:1"], "127.0.0.1", True),
        (["127.0.0.1"], "localhost", True),
        (["127.0.0.1:80"], "0.0.0.0", True),
        (["[::1]"], "127.0.0.1", True),
        (["[::1]:8765"], "127.0.0.1", True),
        (["box.example:8765"], "box.example", True),
        (["[fd00::5]:8765"], "fd00::5", True),
        (["named.example"], "127.0.0.1", True),
        (["named.example:443"], "127.0.0.1", True),
        (["[fd00::7]"], "127.0.0.1", True),
        (["with.port:99"], "127.0.0.1", True),
        (["with.port:98"], "127.0.0.1", False),
        (["evil.example"], "127.0.0.1", False),
        (["localhost.evil.example"], "127.0.0.1", False),
        (["localhost:8765:1"], "127.0.0.1", False),
        (["localhost:"], "127.0.0.1", False),
        (["localhost:x"], "127.0.0.1", False),
        (["evil@localhost"], "127.0.0.1", False),
        (["::1"], "127.0.0.1", False),
        ([""], "127.0.0.1", False),
        ([], "127.0.0.1", False),
        (["localhost", "localhost"], "127.0.0.1", False),
    ],
)
def test_a_host_must_be_ours(asked: list[str], own: str, is_let_in: bool) -> None:
    """A page whose own name was made to resolve to this machine still sends that name (DNS rebinding)."""
    refusal = host(asked, own, ["Named.example", "fd00::7", "with.port:99"])

    assert (None if is_let_in else 403) == status_of(refusal)


@pytest.mark.parametrize(
    ("asked", "is_let_in"),
    [
        ([], True),
        (["https://good.example"], True),
        (["HTTPS://GOOD.example"], True),
        (["http://localhost:3000"], True),
        (["http://good.example"], False),
        (["https://good.example:444"], False),
        (["https://good.example.evil.example"], False),
        (["https://evil.example"], False),
        (["null"], False),
        ([""], False),
        (["https://[good"], False),
        (["https://good.example", "https://good.example"], False),
    ],
)
def test_an_origin_must_be_known(asked: list[str], is_let_in: bool) -> None:
    """Any page in any browser of this machine can open a WebSocket to it; programs send no Origin."""
    refusal = origin(asked, ["https://good.example", "http://localhost:3000"])

    assert (None if is_let_in else 403) == status_of(refusal)


def test_an_extension_of_a_browser_can_be_known() -> None:
    """Its origin has a scheme of its own."""
    known = ["chrome-extension://abcdef"]

    assert [None, 403] == [
        status_of(origin([asked], known)) for asked in ("chrome-extension://abcdef", "chrome-extension://abcdeg")
    ]


@pytest.mark.parametrize(
    ("offered", "status"),
    [
        ([TOKEN], None),
        (["wrong", TOKEN], None),
        ([], 401),
        ([""], 401),
        (["RIGHT"], 401),
        (["right "], 401),
        (["t\u00f6ken"], 401),
        (["\ud800"], 401),
    ],
)
def test_a_token_must_be_right(offered: list[str], status: int | None) -> None:
    """Whatever bytes a peer chose."""
    assert status == status_of(Admission().token(offered, TOKEN, "127.0.0.1", 1000.0))


def test_a_token_that_is_not_ascii_can_be_right() -> None:
    """It is config's own choice; the header carries Latin-1 (RFC 9110, section 5.5)."""
    assert None is Admission().token(["t\u00f6ken"], "t\u00f6ken", "127.0.0.1", 1000.0)


def test_no_token_of_ours_is_no_open_door() -> None:
    """An empty one must not be matched by an empty one."""
    assert 401 == status_of(Admission().token([""], "", "127.0.0.1", 1000.0))


def test_wrong_tokens_are_slowed_down_per_address() -> None:
    """Ten at once, then one each six seconds; others are not concerned."""
    admission = Admission()
    statuses = [status_of(admission.token(["wrong"], TOKEN, "10.0.0.1", 1000.0)) for _ in range(12)]
    other = admission.token(["wrong"], TOKEN, "10.0.0.2", 1000.0)
    later = [status_of(admission.token(["wrong"], TOKEN, "10.0.0.1", 1006.0)) for _ in range(2)]

    assert [401] * 10 + [429, 429] == statuses
    assert (401, [401, 429]) == (status_of(other), later)


def test_it_is_said_when_to_try_again() -> None:
    """Retry-After is in whole seconds, and never too few."""
    admission = Admission()
    for _ in range(11):
        refusal = admission.token([], TOKEN, "10.0.0.1", 1000.25)

    assert refusal is not None
    assert 6 == refusal.retry_after_s


def test_the_addresses_of_one_ipv6_host_count_together() -> None:
    """It has 2^64 of them."""
    admission = Admission()
    statuses = [status_of(admission.token([], TOKEN, f"2001:db8::{n:x}", 1000.0)) for n in range(11)]
    other = admission.token([], TOKEN, "2001:db8:0:1::1", 1000.0)

    assert ([401] * 10 + [429], 401) == (statuses, status_of(other))


def test_mapped_ipv4_addresses_count_each_for_itself() -> None:
    """They share their first 64 bits, and nothing else."""
    admission = Admission()
    statuses = [status_of(admission.token([], TOKEN, f"::ffff:10.0.0.{n}", 1000.0)) for n in range(11)]

    assert [401] * 11 == statuses


def test_the_table_of_addresses_is_bounded() -> None:
    """It forgets who was wrong longest ago."""
    guests = Admission()
    for number in range(2 * admission.MOST_ADDRESSES):
        guests.token([], TOKEN, f"10.{number // 65536}.{number // 256 % 256}.{number % 256}", 1000.0)

    assert admission.MOST_ADDRESSES == len(guests._wrong)


def test_who_was_wrong_longest_ago_is_forgotten_first() -> None:
    """Whoever is at it now is not."""
    guests = Admission()
    for address in ("10.0.0.1", "10.0.0.2"):
        for _ in range(10):
            guests.token([], TOKEN, address, 1000.0)
    for number in range(admission.MOST_ADDRESSES - 1):
        guests.token([], TOKEN, f"10.1.{number // 256}.{number % 256}", 1000.0)
    statuses = [status_of(guests.token([], TOKEN, address, 1000.0)) for address in ("10.0.0.2", "10.0.0.1")]

    assert [429, 401] == statuses
