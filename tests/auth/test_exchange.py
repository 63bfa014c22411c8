"""One question to a token server: what is sent, what comes back, and what every kind of trouble is called."""

import gzip
import socket
import ssl
from pathlib import Path

import pytest

from acp_broker.auth.exchange import Limits, Reply, post
from acp_broker.errors import AuthUnavailable
from tests.support.certificates import certificate
from tests.support.token_server import said, token_server

pytestmark = pytest.mark.anyio

SHORT = Limits(connect_s=5.0, read_s=0.05, total_s=5.0)


async def refused(url: str, limits: Limits | None = None) -> AuthUnavailable:
    with pytest.raises(AuthUnavailable) as raised:
        await post(url, {"refresh_token": "s3cret"}, limits=limits)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None
    return raised.value


async def test_a_form_is_sent_and_its_answer_comes_back() -> None:
    """RFC 6749, section 4.1.3: a form in the body, nothing in the address."""
    async with token_server(said({"a": 1}, 400)) as server:
        reply = await post(server.url, {"a b": "c&d"}, headers={"Authorization": "Basic eA=="})
    [asked] = server.asked

    assert Reply("127.0.0.1", 400, b'{"a": 1}') == reply
    assert ("POST", "/token", {"a b": "c&d"}, "Basic eA==") == (
        asked.method,
        asked.target,
        asked.form,
        asked.headers["authorization"],
    )


async def test_it_asks_for_json() -> None:
    """GitHub answers with a form unless it is told."""
    async with token_server(said({})) as server:
        await post(server.url, {})

    assert "application/json" == server.asked[0].headers["accept"]


async def test_a_redirect_is_not_followed() -> None:
    """It would hand the refresh token to whom the answer names."""
    async with token_server(said({})) as other, token_server(said({}, 307, Location=other.url)) as server:
        error = await refused(server.url)

    assert (
        "127.0.0.1 answered with a redirect (307); name the address that it leads to",
        False,
        0,
    ) == (str(error), error.is_unanswered, len(other.asked))


@pytest.mark.parametrize("status", [200, 400, 429, 500, 503])
async def test_nothing_is_asked_twice(status: int) -> None:
    """A refresh token that is shown again may end the login."""
    async with token_server(said({}, status)) as server:
        await post(server.url, {})

    assert 1 == len(server.asked)


async def test_nobody_there_is_said_and_was_not_asked() -> None:
    """Whoever was not asked has used nothing up."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    error = await refused(f"http://127.0.0.1:{port}/token")

    assert ("cannot reach 127.0.0.1: All connection attempts failed", False) == (str(error), error.is_unanswered)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "127.0.0.1 gave no answer: "),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "127.0.0.1 gave no answer: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", "127.0.0.1 gave no answer: "),
        (b"220 mail.test ESMTP\r\n", "127.0.0.1 gave no answer: "),
        (said(b"x" * 300_000), "127.0.0.1 answered with more than 262144 bytes"),
        (said(gzip.compress(b"{}"), Content_Encoding="gzip"), "127.0.0.1 packs its answer"),
    ],
)
async def test_an_answer_that_cannot_be_read_leaves_open_what_was_done(answer: bytes, why: str) -> None:
    """The old refresh token may be worth nothing by now."""
    async with token_server(answer) as server:
        error = await refused(server.url)

    assert (why, True) == (str(error)[: len(why)], error.is_unanswered)


async def test_silence_has_a_limit() -> None:
    """A server that takes the question and says nothing."""
    async with token_server(None) as server:
        error = await refused(server.url, SHORT)

    assert ("127.0.0.1 gave no answer: ReadTimeout", True) == (str(error), error.is_unanswered)


async def test_all_of_it_has_a_limit() -> None:
    """One that begins an answer and never ends it would be within every shorter limit."""
    async with token_server(None) as server:
        error = await refused(server.url, Limits(read_s=60.0, total_s=0.1))

    assert ("127.0.0.1 gave no answer within 0.1 s", True) == (str(error), error.is_unanswered)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry_After": "7"}, 7.0),
        (
            {"Retry_After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            30.0,
        ),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:30 -0000", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry_After": "Wed, 21 Oct 2026 07:27:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry_After": "soon", "Date": "soon"}, None),
        ({"Retry_After": "99999999999"}, None),
        ({}, None),
    ],
)
async def test_how_long_to_wait_is_read(headers: dict[str, str], expected: float | None) -> None:
    """RFC 9110, section 10.2.3. A date is held against the server's own clock: ours may be wrong."""
    async with token_server(said({}, 503, **headers)) as server:
        reply = await post(server.url, {})

    assert expected == reply.retry_after_s


async def test_a_private_authority_is_trusted_where_the_environment_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Companies have their own; every other program of the machine is told by this variable."""
    chain, key = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(chain, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    async with token_server(said({}), tls=tls) as server:
        reply = await post(server.url, {})

    assert 200 == reply.status


async def test_a_stranger_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is told no secret."""
    chain, key = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(chain, key)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with token_server(said({}), tls=tls) as server:
        error = await refused(server.url)

    assert (True, False, []) == ("CERTIFICATE_VERIFY_FAILED" in str(error), error.is_unanswered, server.asked)


async def test_authorities_that_cannot_be_read_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable: nobody remembers having set it."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    error = await refused("https://127.0.0.1:9/token")

    said = "cannot read the authorities in $SSL_CERT_FILE or $SSL_CERT_DIR: [Errno 2] No such file or directory"
    assert (said, False) == (str(error), error.is_unanswered)


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many machines have no other way out. It is asked to connect, and sees no secret."""
    async with token_server(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:hunter22@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        error = await refused("https://tokens.test/token")

    assert ["tokens.test:443"] == [asked.target for asked in proxy.asked]
    assert ("cannot reach tokens.test: 403 No", False) == (str(error), error.is_unanswered)


async def test_no_proxy_is_asked_for_what_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no TLS on that way: the proxy would read the token."""
    async with token_server(said({})) as proxy, token_server(said({})) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        await post(server.url, {})

    assert (0, 1) == (len(proxy.asked), len(server.asked))


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "what://127.0.0.1:1", "http://[::"])
async def test_a_proxy_that_we_cannot_use_is_said(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """It is in the environment of many, and must not look like a fault of ours."""
    monkeypatch.setenv("all_proxy", proxy)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("no_proxy", "")
    error = await refused("https://tokens.test/token")

    assert ("cannot use the proxy of this environment: ", False) == (str(error)[:42], error.is_unanswered)
