"""The refresh grant: what a server is asked, what becomes of each of its answers, and that no secret is repeated."""

import base64
import json
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp_broker.auth.exchange import Limits, Reply
from acp_broker.auth.oauth import Client, Endpoint, OAuthSource, Refusal, revoke, tokens_of
from acp_broker.auth.tokens import TokenSet
from acp_broker.errors import AuthRejected, AuthUnavailable, Unresolved
from tests.support.clock import FakeClock
from tests.support.token_server import Answer, TokenServer, said, token_server

pytestmark = pytest.mark.anyio

CLOCK = FakeClock()
NOW = CLOCK.wall()
OLD = TokenSet(access="old-access", refresh="old-refresh", scopes=("mail",), account="me@here.test")
GOOD = {"access_token": "new-access", "token_type": "bearer", "expires_in": 3600}
SECRETS = ("old-access", "old-refresh", "cl13nt-s3cret")


def secret(value: str) -> Callable[[], Awaitable[str]]:
    async def look_up() -> str:
        return value

    return look_up


def source(server: TokenServer, client: Client | None = None) -> OAuthSource:
    return OAuthSource(Endpoint(server.url, client or Client("me"), CLOCK, Limits(total_s=5.0)))


async def refreshed(*answers: Answer, tokens: TokenSet = OLD) -> TokenSet:
    async with token_server(*answers) as server:
        return await source(server).refresh(tokens)


async def rejected(answer: Answer) -> AuthRejected:
    with pytest.raises(AuthRejected) as raised:
        await refreshed(answer)
    assert not [one for one in SECRETS if one in str(raised.value)]
    return raised.value


async def unavailable(answer: Answer) -> AuthUnavailable:
    with pytest.raises(AuthUnavailable) as raised:
        await refreshed(answer)
    assert not [one for one in SECRETS if one in str(raised.value)]
    return raised.value


# --- what is asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "form", "authorization"),
    [
        (Client("me"), {"client_id": "me"}, None),
        (Client("me", secret("a b:c"), "post"), {"client_id": "me", "client_secret": "a b:c"}, None),
        # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
        (Client("m:e", secret("a b:c")), {}, "Basic " + base64.b64encode(b"m%3Ae:a+b%3Ac").decode()),
    ],
)
async def test_the_client_says_who_it_is(client: Client, form: dict[str, str], authorization: str | None) -> None:
    """In one way, never in two: RFC 6749, section 2.3."""
    async with token_server(said(GOOD)) as server:
        await source(server, client).refresh(OLD)
    [asked] = server.asked

    assert (
        {"grant_type": "refresh_token", "refresh_token": "old-refresh", **form},
        authorization,
    ) == (asked.form, asked.headers.get("authorization"))


async def test_a_login_without_a_refresh_token_is_not_asked_for() -> None:
    """Nobody but a person can renew it."""
    async with token_server(said(GOOD)) as server:
        with pytest.raises(AuthRejected) as raised:
            await source(server).refresh(TokenSet(access="a"))

    assert ("it cannot be refreshed: its server gave no refresh token", True, []) == (
        str(raised.value),
        raised.value.is_final,
        server.asked,
    )


# --- what it becomes ------------------------------------------------------------------------------------------------


async def test_a_rotated_refresh_token_takes_the_place_of_the_old_one() -> None:
    """RFC 6749, section 6: the client MUST discard the old one."""
    tokens = await refreshed(said({**GOOD, "refresh_token": "new-refresh", "scope": "mail files"}))

    assert tokens == TokenSet(
        access="new-access",
        refresh="new-refresh",
        obtained_at=NOW,
        expires_at=NOW + 3600,
        scopes=("mail", "files"),
        account="me@here.test",
    )


async def test_what_an_answer_leaves_out_stays_as_it_was() -> None:
    """RFC 6749, sections 5.1 and 6: a server may give no new refresh token, and names scopes only when they differ."""
    tokens = await refreshed(said(GOOD))

    assert ("old-refresh", ("mail",), "me@here.test") == (tokens.refresh, tokens.scopes, tokens.account)


@pytest.mark.parametrize(
    ("lasts", "expected"),
    [(60, NOW + 60), ("60", NOW + 60), (1.5, NOW + 1.5)]
    + [(absurd, None) for absurd in (0, -1, True, "soon", None, [], 1e300, 10**400, 4_000_000_000, "nan", "inf")],
)
async def test_only_a_believable_lifetime_is_believed(lasts: object, expected: float | None) -> None:
    """A token that seems to be over at once would be refreshed for each turn."""
    tokens = await refreshed(said({**GOOD, "expires_in": lasts}))

    assert expected == tokens.expires_at


async def test_a_lifetime_is_counted_from_when_the_token_was_asked_for() -> None:
    """The server counted from before its answer came."""
    clock = FakeClock()
    asked_at = clock.wall()
    async with token_server(said(GOOD)) as server:
        server.on_asked = lambda: setattr(clock, "_now", clock.now() + 25.0)
        tokens = await OAuthSource(Endpoint(server.url, Client("me"), clock)).refresh(OLD)

    assert asked_at + 3600 == tokens.expires_at


@pytest.mark.parametrize("claims", [{"email": "you@there.test", "sub": "1"}, {"sub": "you@there.test"}])
async def test_an_id_token_says_whose_login_it_is(claims: dict[str, str]) -> None:
    """For `auth status`. It came from the server itself: OpenID Connect Core, section 3.1.3.7, item 6."""
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    tokens = await refreshed(said({**GOOD, "id_token": f"e30.{middle}.c2ln"}))

    assert "you@there.test" == tokens.account


@pytest.mark.parametrize("odd", ["", "a.b.c", "a.!.c", "e30.e30", "e30.W10.x", 5, None, "\u2028.\u2028.\u2028"])
async def test_an_odd_id_token_spoils_nothing(odd: object) -> None:
    """What matters has come."""
    tokens = await refreshed(said({**GOOD, "id_token": odd}))

    assert ("new-access", "me@here.test") == (tokens.access, tokens.account)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 200])
async def test_a_spent_refresh_token_is_final(status: int) -> None:
    """Nothing but a new login helps. GitHub says it with status 200."""
    error = await rejected(said({"error": "invalid_grant", "error_description": "Token has been revoked."}, status))

    assert ("127.0.0.1 refuses the stored login: invalid_grant; Token has been revoked.", "invalid_grant", True) == (
        str(error),
        error.code,
        error.is_final,
    )


async def test_openai_says_it_in_its_own_way() -> None:
    """As an object."""
    error = await rejected(said({"error": {"code": "refresh_token_reused", "message": "Already used."}}, 401))

    assert ("127.0.0.1 refuses the stored login: refresh_token_reused; Already used.", True) == (
        str(error),
        error.is_final,
    )


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("invalid_client", "does not take the client: look at clientId, clientSecret and clientAuthentication"),
        ("unauthorized_client", "does not let this client do that: "),
        ("invalid_scope", "does not give these scopes"),
        ("unsupported_grant_type", "does not know this kind of login"),
        ("invalid_request", "does not understand the question: "),
    ],
)
async def test_what_config_says_wrong_is_another_thing(code: str, why: str) -> None:
    """The login is as good as before; a new one would be refused too."""
    error = await rejected(said({"error": code}, 401))

    assert (f"127.0.0.1 {why}", code, False) == (str(error)[: len(why) + 10], error.code, error.is_final)


@pytest.mark.parametrize(
    ("answer", "why", "is_unanswered"),
    [
        (said(b"busy", 429, Retry_After="7"), "answered with status 429", False),
        (said({"error": "invalid_grant"}, 503, Retry_After="7"), "answered with status 503: invalid_grant", False),
        (said(b"<html>", 502, Retry_After="7"), "answered with status 502", True),
        (said({"error": "invalid_grant"}, 500, Retry_After="7"), "answered with status 500: invalid_grant", True),
        (said(b"Not Found", 404, Retry_After="7"), "answered with status 404", False),
        (said(b"[" * 100_000, 400, Retry_After="7"), "answered with status 400", False),
        (said(b"\xff{}", Retry_After="7"), "answered with something that holds no access token", True),
        (said([GOOD], Retry_After="7"), "answered with something that holds no access token", True),
        (said({}, Retry_After="7"), "answered with something that holds no access token", True),
        (said({"access_token": "a\nb"}, Retry_After="7"), "answered with something that holds no access token", True),
        (said({"access_token": ""}, Retry_After="7"), "answered with something that holds no access token", True),
    ],
)
async def test_trouble_at_the_server_passes(answer: bytes, why: str, is_unanswered: bool) -> None:
    """A gateway's page, a proxy's login form, too many questions: the login itself is not in doubt."""
    error = await unavailable(answer)

    assert (f"127.0.0.1 {why}", 7.0, is_unanswered) == (str(error), error.retry_after_s, error.is_unanswered)


async def test_an_error_that_nobody_knows_passes_too() -> None:
    """To give a login up for a word that we do not know would cost a person more than another try."""
    error = await unavailable(said({"error": "temporarily_unavailable"}, 400))

    assert "127.0.0.1 gives no token: temporarily_unavailable" == str(error)


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "odd", "old-refresh"])
async def test_a_server_that_repeats_what_it_was_told_gives_nothing_away(code: str) -> None:
    """Some quote the question, credentials and all."""
    pair = base64.b64encode(b"me:cl13nt-s3cret").decode()
    said_back = f"old-refresh of Basic {pair} ({pair}: cl13nt-s3cret)"
    async with token_server(said({"error": code, "error_description": said_back}, 400)) as server:
        with pytest.raises((AuthRejected, AuthUnavailable)) as raised:
            await source(server, Client("me", secret("cl13nt-s3cret"))).refresh(OLD)

    assert [] == [one for one in (*SECRETS, pair) if one in str(raised.value)]


async def test_nothing_shows_a_secret() -> None:
    """Whatever is printed on the way to an error."""
    async with token_server(said({**GOOD, "refresh_token": "new-refresh"})) as server:
        made = source(server, Client("me", secret("cl13nt-s3cret")))
        tokens = await made.refresh(OLD)

    assert [] == [one for one in (*SECRETS, "new-access", "new-refresh") if one in repr((made, tokens))]


@pytest.mark.parametrize(("is_late", "kind"), [(True, AuthUnavailable), (False, AuthRejected)])
async def test_a_client_secret_that_cannot_be_had_is_said(is_late: bool, kind: type[Exception]) -> None:
    """It is the config's, or a keyring's that hangs: never the login's."""

    async def missing() -> str:
        raise Unresolved("$CLIENT_SECRET: is not set", is_late=is_late)

    async with token_server(said(GOOD)) as server:
        with pytest.raises(kind) as raised:
            await source(server, Client("me", missing)).refresh(OLD)

    said_ = "the client's secret cannot be had: $CLIENT_SECRET: is not set"
    assert (said_, False, []) == (str(raised.value), getattr(raised.value, "is_final", False), server.asked)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("access_token", "refresh_token", "expires_in", "token_type", "scope", "id_token", "error")
ANSWERS = st.dictionaries(st.sampled_from((*MEMBERS, "error_description")), JSON).map(
    lambda found: json.dumps(found).encode()
)


@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | ANSWERS, status=st.integers(200, 599))
def test_any_answer_has_a_meaning(body: bytes, status: int) -> None:
    """Whatever a server, a gateway or a login page of a hotel says: tokens, a refusal, or trouble that passes."""
    try:
        found = tokens_of(Reply("t.test", status, body), ("s3cret",), 1.0)
    except AuthUnavailable:
        return
    if isinstance(found, Refusal):
        assert isinstance(found.error(), AuthRejected | AuthUnavailable)
        assert len(found.said) < 1100
    else:
        assert found.access.isprintable()
        assert msgspec.json.decode(msgspec.json.encode(found), type=TokenSet) == found


# --- revocation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "form"),
    [
        (OLD, {"token": "old-refresh", "token_type_hint": "refresh_token"}),
        (TokenSet(access="a"), {"token": "a", "token_type_hint": "access_token"}),
    ],
)
async def test_the_token_that_ends_the_login_is_revoked(tokens: TokenSet, form: dict[str, str]) -> None:
    """RFC 7009, section 2.1: with a refresh token all others of its grant are invalid."""
    async with token_server(said(b"")) as server:
        await revoke(server.url, Client("me"), tokens)

    assert [{**form, "client_id": "me"}] == [asked.form for asked in server.asked]


async def test_a_revocation_that_failed_is_said() -> None:
    """RFC 7009, section 2.2.1: with 503 the token still exists."""
    async with token_server(said(b"", 503)) as server:
        with pytest.raises(AuthUnavailable) as raised:
            await revoke(server.url, Client("me"), OLD)

    assert "127.0.0.1 answered with status 503" == str(raised.value)
