"""A login on another device: how often the server is asked, and how it ends."""

import pytest

from acp_broker.auth import device
from acp_broker.auth.device import Code
from acp_broker.auth.oauth import Client, Endpoint
from acp_broker.errors import AuthRejected, AuthUnavailable
from tests.support.skipping import SkippingClock
from tests.support.token_server import Answer, said, token_server

pytestmark = pytest.mark.anyio

BEGUN = {
    "device_code": "d3vice",
    "user_code": "ABCD-EFGH",
    "verification_uri": "https://tokens.test/device",
    "expires_in": 600,
    "interval": 7,
}
PENDING = said({"error": "authorization_pending"}, 400)
SLOWER = said({"error": "slow_down"}, 400)
DONE = said({"access_token": "a", "refresh_token": "r"})


class Login:
    """`run` logs in; what was shown, slept and asked is kept."""

    def __init__(self) -> None:
        self.shown: list[Code] = []
        self.clock = SkippingClock()
        self.forms: list[dict[str, str]] = []

    async def run(self, *answers: Answer):
        async with token_server(*answers) as server:
            try:
                place = Endpoint(server.url, Client("me"), self.clock)
                return await device.log_in(place, server.url, {"scope": "mail"}, self.shown.append)
            finally:
                self.forms = [asked.form for asked in server.asked]

    async def failed(self, *answers: Answer) -> str:
        with pytest.raises((AuthRejected, AuthUnavailable)) as raised:
            await self.run(*answers)
        assert "d3vice" not in str(raised.value)
        return str(raised.value)


async def test_what_is_asked_is_rfc_8628s() -> None:
    """Sections 3.1 and 3.4."""
    login = Login()
    tokens = await login.run(said(BEGUN), PENDING, DONE)

    grant = "urn:ietf:params:oauth:grant-type:device_code"
    poll = {"grant_type": grant, "device_code": "d3vice", "client_id": "me"}
    assert ("r", [{"scope": "mail", "client_id": "me"}, poll, poll]) == (tokens.refresh, login.forms)


async def test_a_person_is_shown_the_code_and_where_to_type_it() -> None:
    """Section 3.3."""
    login = Login()
    direct = "https://tokens.test/device?code=ABCD-EFGH"
    await login.run(said({**BEGUN, "verification_uri_complete": direct}), DONE)

    assert [Code("https://tokens.test/device", "ABCD-EFGH", 600.0, direct)] == login.shown


async def test_googles_older_name_for_the_address_is_known() -> None:
    """Google's own device flow still has it."""
    login = Login()
    older = {"verification_url" if name == "verification_uri" else name: value for name, value in BEGUN.items()}
    await login.run(said(older), DONE)

    assert "https://tokens.test/device" == login.shown[0].address


@pytest.mark.parametrize(
    ("interval", "slept"), [(7, 7.0), (None, 5.0), (0, 5.0), (-1, 5.0), ("soon", 5.0), (100_000, 60.0)]
)
async def test_the_server_says_how_often_it_is_asked(interval: object, slept: float) -> None:
    """Five seconds where it does not (section 3.2); and never so rarely that a person would give up."""
    login = Login()
    await login.run(said({**BEGUN, "interval": interval}), PENDING, DONE)

    assert [slept, slept] == login.clock.slept


async def test_slow_down_means_five_seconds_more_from_then_on() -> None:
    """Section 3.5."""
    login = Login()
    await login.run(said(BEGUN), SLOWER, PENDING, SLOWER, DONE)

    assert [7.0, 12.0, 12.0, 17.0] == login.clock.slept


@pytest.mark.parametrize("trouble", [b"", said(b"", 503), said(b"busy", 429), said(b"<html>")])
async def test_trouble_on_the_way_ends_nothing(trouble: bytes) -> None:
    """Section 3.5: ask less often. The person may be typing just then."""
    login = Login()
    tokens = await login.run(said(BEGUN), trouble, trouble, DONE)

    assert ("a", [7.0, 14.0, 28.0]) == (tokens.access, login.clock.slept)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("access_denied", "the login was declined"),
        ("expired_token", "the code has run out; begin again"),
        ("invalid_client", "127.0.0.1 does not take the client: "),
        ("odd", "127.0.0.1 gives no token: odd"),
        ("invalid_grant", "127.0.0.1 refuses the code of this login: invalid_grant"),
    ],
)
async def test_how_it_ends_is_said(code: str, why: str) -> None:
    """By the server's own word, in ours."""
    login = Login()
    text = await login.failed(said(BEGUN), PENDING, said({"error": code}, 400), DONE)

    assert (why, 3) == (text[: len(why)], len(login.forms))


async def test_a_code_that_nobody_uses_runs_out() -> None:
    """Whatever the server goes on saying."""
    login = Login()
    text = await login.failed(said({**BEGUN, "expires_in": 20}), PENDING)

    assert ("the code has run out; begin again", [7.0, 7.0]) == (text, login.clock.slept)


async def test_a_code_does_not_last_for_ever() -> None:
    """A terminal that waits for a day has been forgotten."""
    login = Login()
    await login.failed(said({**BEGUN, "expires_in": 10**9, "interval": 60}), PENDING)

    assert sum(login.clock.slept) <= 3600


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said({"error": "invalid_scope"}, 400), "127.0.0.1 does not give these scopes: invalid_scope"),
        (said({**BEGUN, "device_code": None}), "127.0.0.1 answered with something that holds no code"),
        (said({**BEGUN, "user_code": ""}), "127.0.0.1 answered with something that holds no code"),
        (
            said({**BEGUN, "verification_uri": "javascript:alert(1)"}),
            "127.0.0.1 answered with something that holds no code",
        ),
        (said(b"<html>", 404), "127.0.0.1 answered with status 404"),
        (said(b"<html>"), "127.0.0.1 answered with something that holds no code"),
    ],
)
async def test_a_login_that_cannot_begin_is_said(answer: bytes, why: str) -> None:
    """Nobody is shown anything."""
    login = Login()

    assert (why, []) == (await login.failed(answer), login.shown)


async def test_a_code_cannot_write_on_the_terminal() -> None:
    """It is shown as it came, less what a terminal would obey."""
    login = Login()
    await login.run(said({**BEGUN, "user_code": "AB\x1b[2JCD"}), DONE)

    assert "ABCD" == login.shown[0].user_code
