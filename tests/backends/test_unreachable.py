"""Why nobody could be reached, as a person reads it: real sockets, real TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from backends.http import http2
from tests.support import apis
from tests.support.certificates import issued
from tests.support.client import FakeClient, turn
from tests.support.provider.wire import head

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["http11", "http2"], autouse=True)
def has_http2(request, monkeypatch) -> bool:
    """With the extra `http2` it is httpx2 that connects, without it we do: both must tell the same."""
    monkeypatch.setattr(http2, "is_usable", lambda: request.param)
    return request.param


async def failure(url: str, environment: dict[str, str] | None = None, client: FakeClient | None = None) -> Failure:
    async with apis.CHAT.open(apis.given(environment=environment or {}), baseUrl=url) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client or FakeClient())
    assert FailureKind.UNREACHABLE == raised.value.failure.kind
    return raised.value.failure


@asynccontextmanager
async def answering(answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that says this to everybody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize(
    ("name", "days", "is_trusted", "told"),
    [
        ("localhost", (-1, 1), False, "nobody whom this machine trusts has signed the certificate of localhost:"),
        ("localhost", (-3, -1), True, "the certificate of localhost:{port} has expired"),
        ("localhost", (1, 3), True, "is not valid yet: is the clock of this machine right?"),
        ("other.example", (-1, 1), True, "the certificate of localhost:{port} is for another host"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_told_by_its_reason(tmp_path, name, days, is_trusted, told):
    """`CERTIFICATE_VERIFY_FAILED` sends people to turn the check off."""
    made, key = issued(tmp_path, name, days)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)
    async with answering(b"", context) as port:
        found = await failure(f"https://localhost:{port}/v1", {"SSL_CERT_FILE": str(made)} if is_trusted else {})

    assert told.format(port=port) in found.text


async def test_a_certificate_is_for_the_host_that_was_asked(tmp_path):
    """For localhost is not for 127.0.0.1."""
    made, key = issued(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)
    async with answering(b"", context) as port:
        found = await failure(f"https://127.0.0.1:{port}/v1", {"SSL_CERT_FILE": str(made)})

    assert "is not valid for '127.0.0.1'" in found.text


async def test_an_authority_that_is_missing_is_told_with_where_to_name_it():
    """Companies have one, and their people do not know of it."""
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = 20, "unable to get local issuer certificate"

    assert "name its authority in SSL_CERT_FILE" in kind_of(error)


def kind_of(error: OSError) -> str:
    from backends.http.unreachable import why  # noqa: PLC0415 - with httpx2

    return why(error, "model.example:443", None)


async def test_a_server_without_tls_is_told():
    """A local server behind `https://` is the commonest slip of all."""
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        found = await failure(f"https://127.0.0.1:{port}/v1")

    assert f"127.0.0.1:{port} does not speak TLS: is it http:// in `baseUrl`?" == found.text


async def test_a_name_that_no_host_can_have_is_told():
    """RFC 1035, 2.3.4: a label has 63 letters at most."""
    found = await failure(f"http://{'a' * 70}.test/v1")

    assert "label" in found.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_port_that_nobody_listens_on_is_told(host):
    """The local server is not running."""
    port = free_port()
    found = await failure(f"http://{host}:{port}/v1")

    assert f"{host}:{port} refuses connections: is it running, and is that its port?" == found.text


async def test_of_addresses_that_fail_differently_the_last_one_tells(monkeypatch):
    """A container without IPv6 has ::1 for localhost all the same, and nobody listens on 127.0.0.1 either."""
    port = free_port()

    async def looked_up(*_: object, **__: object) -> list[tuple[object, ...]]:
        missing = (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/nowhere")
        return [missing, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", looked_up)
    found = await failure(f"http://both.test:{port}/v1")

    assert f"both.test:{port} refuses connections: is it running, and is that its port?" == found.text


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (socket.EAI_NONAME, "model.invalid is the name of no host: is it written right, and is this machine online?"),
        (socket.EAI_AGAIN, "the name model.invalid cannot be looked up: is this machine online?"),
    ],
)
async def test_a_name_that_leads_nowhere_is_told(monkeypatch, number, told):
    """Written wrong, or the machine is offline: the two are mended differently."""

    async def looked_up(*_: object, **__: object) -> None:
        raise socket.gaierror(number, "as the system says it")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", looked_up)
    found = await failure("http://model.invalid:8000/v1")

    assert told == found.text


async def test_a_proxy_that_is_away_is_told_by_its_own_name():
    """The provider is well, and nobody would look at the proxy. Its password is not told."""
    port = free_port()
    found = await failure("https://model.invalid/v1", {"HTTPS_PROXY": f"http://u:secret@127.0.0.1:{port}"})

    assert f"the proxy 127.0.0.1:{port} refuses connections: is it running, and is that its port?" == found.text


async def test_a_proxy_that_wants_a_login_is_told_and_the_prompt_was_not_sent():
    """Whoever counts a sent prompt as begun may still ask another backend."""
    client = FakeClient()
    async with answering(head(407, "text/plain", 0, {"connection": "close"})) as port:
        found = await failure("https://model.invalid/v1", {"HTTPS_PROXY": f"http://127.0.0.1:{port}"}, client)

    assert ([], True) == (
        client.phases,
        found.text.startswith("the proxy does not let us through to model.invalid: 407"),
    )
    assert "it wants a login" in found.text


async def test_a_connection_that_is_closed_without_a_word_is_told():
    """Something listens there, and it is no model."""
    async with answering(b"") as port:
        found = await failure(f"http://127.0.0.1:{port}/v1")

    assert f"127.0.0.1:{port} closed the connection without an answer: " in found.text


@pytest.mark.parametrize("name", ["ReadError", "WriteError"])
def test_a_connection_that_is_reset_is_told_in_words(name):
    """httpx2 has none for it, and the name of its error helps nobody."""
    import httpx2  # noqa: PLC0415 - for those alone who need it

    from backends.http.unreachable import words  # noqa: PLC0415 - as above

    assert "the connection was reset" == words(getattr(httpx2, name)(""))
