"""The OAuth code before a server that is none of ours: logins, refreshing, and what it makes of a reused token."""

from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from acp_broker.auth import device, loopback
from acp_broker.auth.device import Code
from acp_broker.auth.lease import Logins
from acp_broker.auth.loopback import Browser
from acp_broker.auth.oauth import Client, Endpoint, OAuthSource, revoke
from acp_broker.auth.tokens import TokenSet
from acp_broker.clock import SystemClock
from acp_broker.errors import AuthRejected
from tests.support.oidc import CLIENT_SECRET, OidcServer, oidc_server, visit
from tests.support.renewing import HARMLESS, WORK, Order, outcomes, stored
from tests.support.skipping import SkippingClock

pytestmark = pytest.mark.anyio

ASKED = {"scope": "openid email offline_access", "prompt": "consent"}
ME = {"login": "me", "password": "any"}


async def client_secret() -> str:
    return CLIENT_SECRET


CLIENTS = [Client("public"), Client("kept:secret", client_secret)]


@pytest.fixture(scope="module")
def server():
    with oidc_server() as server:
        yield server


def endpoint(server: OidcServer, client: Client) -> Endpoint:
    return Endpoint(server.token_url, client, SystemClock())


async def browsed(server: OidcServer, client: Client, person: dict[str, str] = ME) -> tuple[TokenSet, str]:
    """The tokens of a login with a browser, and the last page that the person saw."""
    seen: list[str] = []
    browser = Browser(server.authorization_url, "http://127.0.0.1/callback", ASKED)

    async def open_it(address: str) -> None:
        seen.append(await visit(address, person))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            tokens = await loopback.log_in(
                endpoint(server, client), browser, lambda address: group.start_soon(open_it, address)
            )
    return tokens, seen[0]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
async def test_a_person_logs_in_with_a_browser(server: OidcServer, client: Client) -> None:
    """RFC 8252 and RFC 7636; the server insists on PKCE, and takes any port of loopback."""
    tokens, page = await browsed(server, client)

    assert (True, "me@test.example", {"openid", "email", "offline_access"}) == (
        tokens.refresh is not None,
        tokens.account,
        set(tokens.scopes),
    )
    assert "You are logged in" in page


async def test_a_login_that_the_server_refuses_is_told_on_both_ends(server: OidcServer) -> None:
    """In the terminal, and on the page that the person looks at."""
    seen: list[str] = []

    async def open_it(address: str) -> None:
        seen.append(await visit(address, ME))

    browser = Browser(server.authorization_url, "http://127.0.0.1/callback", {**ASKED, "prompt": "none"})
    async with anyio.create_task_group() as group:
        with pytest.raises(AuthRejected) as raised:
            await loopback.log_in(
                endpoint(server, CLIENTS[0]), browser, lambda address: group.start_soon(open_it, address)
            )

    why = "the server refused the login: login_required; End-User authentication is required"
    assert (why, True) == (str(raised.value), f"<h1>The login failed</h1><p>{why}.</p>" in seen[0])


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
async def test_a_person_logs_in_on_another_device(server: OidcServer, client: Client) -> None:
    """RFC 8628: nothing is there at the first question; then the code was used."""
    shown: list[Code] = []

    async def meanwhile() -> None:
        if len(clock.slept) == 2:
            await visit(shown[0].direct or "", ME)

    clock = SkippingClock(meanwhile)
    place = Endpoint(server.token_url, client, clock)
    tokens = await device.log_in(place, server.device_url, ASKED, shown.append)

    assert ("me@test.example", [5.0, 5.0]) == (tokens.account, clock.slept)


async def test_a_rotated_token_is_followed(server: OidcServer) -> None:
    """Each refresh brings another refresh token, and the next one is asked with that."""
    first, _ = await browsed(server, CLIENTS[0])
    source = OAuthSource(endpoint(server, CLIENTS[0]))
    second = await source.refresh(first)
    third = await source.refresh(second)

    assert 3 == len({first.refresh, second.refresh, third.refresh})
    assert 3 == len({first.access, second.access, third.access})


async def test_a_token_that_is_shown_twice_ends_the_login(server: OidcServer) -> None:
    """Why nothing is ever asked twice: the whole family is revoked (RFC 9700, section 4.14.2)."""
    first, _ = await browsed(server, CLIENTS[0])
    source = OAuthSource(endpoint(server, CLIENTS[0]))
    second = await source.refresh(first)
    ends: list[str] = []
    for tokens in (first, second):
        with pytest.raises(AuthRejected) as raised:
            await source.refresh(tokens)
        ends.append(str(raised.value))

    assert ["127.0.0.1 refuses the stored login: invalid_grant; grant request is invalid"] * 2 == ends


@pytest.mark.parametrize("kill_at", ["", *HARMLESS])
async def test_twenty_processes_do_not_end_the_login(server: OidcServer, tmp_path: Path, kill_at: str) -> None:
    """Asked a second time with the same token, this server would: the login is as good as new afterwards."""
    first, _ = await browsed(server, CLIENTS[0])
    stored(tmp_path, first.refresh)
    order = Order(str(tmp_path), server.token_url, client="public", kill_at=kill_at)
    found = await anyio.to_thread.run_sync(outcomes, order)
    living = [one for one in found if not one.died]
    login = Logins(tmp_path, SystemClock()).read(WORK)
    again = await OAuthSource(endpoint(server, CLIENTS[0])).refresh(login.tokens)

    assert (20 - bool(kill_at), {login.tokens.access}) == (len(living), {one.access for one in living}), living
    assert first.refresh != login.tokens.refresh != again.refresh


async def test_a_login_that_is_revoked_is_over(server: OidcServer) -> None:
    """RFC 7009."""
    tokens, _ = await browsed(server, CLIENTS[1])
    await revoke(server.revocation_url, CLIENTS[1], tokens)
    with pytest.raises(AuthRejected) as raised:
        await OAuthSource(endpoint(server, CLIENTS[1])).refresh(tokens)

    assert "invalid_grant" == raised.value.code


async def test_a_client_with_another_secret_is_refused(server: OidcServer) -> None:
    """That is config's fault, and not the login's."""
    tokens, _ = await browsed(server, CLIENTS[1])

    async def another() -> str:
        return "another"

    with pytest.raises(AuthRejected) as raised:
        await OAuthSource(endpoint(server, Client("kept:secret", another))).refresh(tokens)

    assert ("invalid_client", False) == (raised.value.code, raised.value.is_final)
