"""A login with a browser: what it is sent, who is let in at the port, and what each of them sees."""

import asyncio
import base64
import hashlib
import socket
from urllib.parse import parse_qsl, urlsplit

import anyio
import pytest

from acp_broker.auth import landing, loopback
from acp_broker.auth.loopback import Browser
from acp_broker.auth.oauth import Client, Endpoint
from acp_broker.clock import SystemClock
from acp_broker.errors import AuthRejected, AuthUnavailable, UsageError
from tests.support.token_server import TokenServer, said, token_server

pytestmark = pytest.mark.anyio

GOOD = said({"access_token": "a", "refresh_token": "r"})
HERE = "http://127.0.0.1/callback"


class Login:
    """A login under way: `asked` is what the browser was sent to ask, `get` what a visitor of its port sees."""

    def __init__(self, server: TokenServer, redirect_url: str, limit_s: float) -> None:
        self.shown: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        browser = Browser("https://tokens.test/auth?v=2", redirect_url, {"scope": "mail", "state": "ours wins"})
        place = Endpoint(server.url, Client("me"), SystemClock())
        self.task = asyncio.create_task(loopback.log_in(place, browser, self.shown.set_result, limit_s))

    async def begin(self) -> None:
        self.address = await self.shown
        self.asked = dict(parse_qsl(urlsplit(self.address).query))
        self.back = urlsplit(self.asked["redirect_uri"])
        self.state = self.asked["state"]

    async def say(self, data: bytes) -> str:
        reader, writer = await asyncio.open_connection(self.back.hostname, self.back.port)
        writer.write(data)
        try:
            return (await reader.read()).decode()
        finally:
            writer.close()

    async def get(self, target: str) -> str:
        return await self.say(f"GET {target} HTTP/1.1\r\nHost: here\r\n\r\n".encode())

    async def come_back(self, **answer: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in {"state": self.state, **answer}.items())
        return await self.get(f"{self.back.path or '/'}?{query}")

    async def failed(self) -> str:
        with pytest.raises((AuthRejected, AuthUnavailable)) as raised:
            await self.task
        assert "c0de" not in str(raised.value)
        return str(raised.value)


@pytest.fixture
async def begin():
    """Begins a login before a token server that gives these answers."""
    async with token_server(GOOD) as server:
        logins: list[Login] = []

        async def begun(*answers: bytes, redirect_url: str = HERE, limit_s: float = 60.0) -> tuple[Login, TokenServer]:
            server.answers = list(answers or (GOOD,))
            logins.append(Login(server, redirect_url, limit_s))
            await logins[-1].begin()
            return logins[-1], server

        yield begun
        for login in logins:
            login.task.cancel()
        await asyncio.gather(*(login.task for login in logins), return_exceptions=True)


def status(page: str) -> str:
    return page.split(" ", 2)[1]


async def test_the_browser_asks_with_pkce_and_a_state(begin) -> None:
    """RFC 6749, section 4.1.1; RFC 7636, section 4.3; RFC 8252, section 7.3. What config adds takes nothing away."""
    login, server = await begin()
    page = await login.come_back(code="c0de")
    tokens = await login.task
    asked, form = login.asked, server.asked[0].form
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()

    assert login.address.startswith("https://tokens.test/auth?v=2&")
    assert {
        "v": "2",
        "scope": "mail",
        "state": login.state,
        "response_type": "code",
        "client_id": "me",
        "redirect_uri": f"http://127.0.0.1:{login.back.port}/callback",
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
    } == asked
    assert {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": asked["redirect_uri"],
        "code_verifier": form["code_verifier"],
        "client_id": "me",
    } == form
    assert (("a", "r"), "200", True) == ((tokens.access, tokens.refresh), status(page), "You are logged in" in page)


async def test_no_two_logins_share_a_secret(begin) -> None:
    """And each is long enough: RFC 7636, section 4.1."""
    logins = [(await begin())[0] for _ in range(2)]

    assert 4 == len({value for login in logins for value in (login.state, login.asked["code_challenge"])})
    assert 43 <= min(len(login.state) for login in logins)


async def test_only_the_login_with_our_state_counts(begin) -> None:
    """RFC 6749, section 10.12: any page can send a browser here, with the code of another account."""
    login, server = await begin()
    pages = [await login.get("/callback?code=theirs"), await login.get("/callback?code=theirs&state=x%E9")]
    right = await login.come_back(code="c0de")
    await login.task

    assert (["400", "400"], "200", ["c0de"]) == (
        [status(page) for page in pages],
        status(right),
        [asked.form["code"] for asked in server.asked],
    )


@pytest.mark.parametrize("target", ["/", "/favicon.ico", "/callback/", "//callback", "*", "http://[", "/callback%00"])
async def test_nothing_else_is_there(begin, target: str) -> None:
    """Browsers ask for icons."""
    login, _ = await begin()
    page = await login.get(target)
    await login.come_back(code="c0de")
    await login.task

    assert "404" == status(page)


@pytest.mark.parametrize(
    "data",
    [
        b"POST /callback HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\r\n\r\n",
        b"GET /callback\r\n\r\n",
        b"GET /" + b"a" * 40_000,
        b"\xff \xff \xff\r\n\r\n",
    ],
)
async def test_what_no_browser_says_is_not_answered(begin, data: bytes) -> None:
    """And holds nobody up."""
    login, _ = await begin()
    try:
        heard = await login.say(data)
    except ConnectionError:
        heard = ""
    await login.come_back(code="c0de")
    await login.task

    assert "" == heard


async def test_a_visitor_that_says_nothing_holds_nobody_up(begin) -> None:
    """Browsers open connections ahead of need."""
    login, _ = await begin()
    _, writer = await asyncio.open_connection(login.back.hostname, login.back.port)
    page = await login.come_back(code="c0de")
    await login.task
    writer.close()

    assert "200" == status(page)


async def test_a_visitor_that_says_nothing_is_sent_away(begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is on this machine could else use up our descriptors."""
    monkeypatch.setattr(landing, "_REQUEST_S", 0.05)
    login, _ = await begin()
    with anyio.fail_after(20):
        heard = await login.say(b"GET /call")

    assert "" == heard


async def test_a_code_is_used_once(begin) -> None:
    """RFC 6749, section 4.1.2: a second use would end what came of the first."""
    answers: list[str] = []
    login, server = await begin()

    async def again() -> None:
        answers.append(status(await login.come_back(code="c0de")))

    server.meanwhile = again
    page = await login.come_back(code="c0de")
    await login.task

    assert ("200", ["400"], 1) == (status(page), answers, len(server.asked))


async def test_nobody_is_there_afterwards(begin) -> None:
    """A port that stays open is a door."""
    login, _ = await begin()
    await login.come_back(code="c0de")
    await login.task

    with pytest.raises(ConnectionError):
        await login.get("/callback")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            {"error": "access_denied", "error_description": "Not%20today"},
            "the login was declined: access_denied; Not today",
        ),
        ({"error": "invalid_scope"}, "the server refused the login: invalid_scope"),
        ({"error": "%3Cscript%3E"}, "the server refused the login: <script>"),
        ({}, "the server refused the login: it gave no code"),
    ],
)
async def test_a_login_that_is_refused_is_said(begin, answer: dict[str, str], why: str) -> None:
    """In the terminal and on the page, where nothing of it is obeyed."""
    login, server = await begin()
    page = await login.come_back(**answer)

    assert (why, "400", False, []) == (await login.failed(), status(page), "<script>" in page, server.asked)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said({"error": "invalid_grant"}, 400), "127.0.0.1 refuses the code of this login: invalid_grant"),
        (said({"error": "invalid_client"}, 401), "127.0.0.1 does not take the client: "),
        (said(b"", 500), "127.0.0.1 answered with status 500"),
    ],
)
async def test_a_code_that_cannot_be_used_is_said(begin, answer: bytes, why: str) -> None:
    """The page must not say that all is well."""
    login, _ = await begin(answer)
    page = await login.come_back(code="c0de")

    assert (why, "400", False) == ((await login.failed())[: len(why)], status(page), "c0de" in page)


async def test_a_page_keeps_and_passes_on_nothing(begin) -> None:
    """Its address holds the code."""
    login, _ = await begin()
    page = await login.come_back(code="c0de")
    await login.task

    wanted = {"Cache-Control: no-store", "Referrer-Policy: no-referrer"}
    assert wanted == wanted & set(page.split("\r\n"))


async def test_a_login_that_nobody_finishes_ends(begin) -> None:
    """The terminal is wanted back."""
    login, _ = await begin(limit_s=0.05)

    assert "nobody logged in within 0.05 s; begin again" == await login.failed()


async def test_a_browser_that_has_gone_loses_no_login(begin) -> None:
    """What was got for the code is kept, whoever looks."""
    login, server = await begin()
    _, writer = await asyncio.open_connection(login.back.hostname, login.back.port)
    server.on_asked = writer.transport.abort
    writer.write(f"GET /callback?state={login.state}&code=c0de HTTP/1.1\r\n\r\n".encode())

    assert "a" == (await login.task).access


async def test_the_port_may_be_configured(begin) -> None:
    """Some servers know only the one that was registered."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    login, _ = await begin(redirect_url=f"http://127.0.0.1:{port}/auth/done")

    assert f"http://127.0.0.1:{port}/auth/done" == login.asked["redirect_uri"]


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
async def test_the_host_is_the_configured_one(begin, host: str) -> None:
    """Servers compare it letter by letter."""
    login, _ = await begin(redirect_url=f"http://{host}")
    page = await login.come_back(code="c0de")
    await login.task

    assert (f"http://{host}:{login.back.port}", "200") == (login.asked["redirect_uri"], status(page))


async def test_a_port_that_is_taken_is_said(begin) -> None:
    """Another login may be under way there."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"http://127.0.0.1:{door.getsockname()[1]}/callback"
        async with token_server(GOOD) as server:
            place = Endpoint(server.url, Client("me"), SystemClock())
            with pytest.raises(UsageError) as raised:
                await loopback.log_in(place, Browser("https://t.test", address, {}), lambda _: None)

    assert f"cannot listen for the browser at {address}: " in str(raised.value)
