"""How a request gets to its provider: proxies, authorities of one's own, and what happens where neither fits."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.errors import BackendFailure
from backends.http import http2
from backends.http.client import way_to
from tests.support import apis
from tests.support.certificates import certificate
from tests.support.chat_player import ended, playing, said
from tests.support.client import FakeClient, turn
from tests.support.provider.wire import chunk, head

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["http11", "http2"])
def has_http2(request, monkeypatch) -> bool:
    """With the extra `http2` it is httpx2 that connects, without it we do."""
    monkeypatch.setattr(http2, "is_usable", lambda: request.param)
    return request.param


async def run(url: str, environment: dict[str, str], client: FakeClient) -> None:
    async with apis.CHAT.open(apis.given(environment=environment), baseUrl=url) as backend:
        await backend.run(turn(), client)


@asynccontextmanager
async def secure(path):
    """A server with a certificate that nobody knows: its address, and the file that makes it known."""
    made, key = certificate(path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)
    answer = chunk(said(content="by TLS")) + chunk(ended("stop")) + chunk(b"")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head(200, "text/event-stream", None, {"connection": "close"}) + answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/v1", made
    finally:
        server.close()


async def test_a_request_goes_through_the_proxy(tmp_path):
    """Many machines have no other way out."""
    async with playing([[{"do": "say", "text": "by proxy"}]]) as proxy:
        client = FakeClient()
        await run("http://model.invalid/v1", {"HTTP_PROXY": proxy.url.removesuffix("/v1")}, client)

    assert (["by proxy"], "http://model.invalid/v1/chat/completions") == (client.texts, proxy.requests[0].target)


async def test_an_authority_of_ones_own_is_trusted(tmp_path, has_http2):
    """Companies have one."""
    client = FakeClient()
    async with secure(tmp_path) as (url, made):
        await run(url, {"SSL_CERT_FILE": str(made)}, client)

    assert ["by TLS"] == client.texts


async def test_a_certificate_that_nobody_knows_is_refused(tmp_path, has_http2):
    """It may be anybody's; nothing was sent to them."""
    client = FakeClient()
    async with secure(tmp_path) as (url, _):
        with pytest.raises(BackendFailure) as raised:
            await run(url, {}, client)

    assert (FailureKind.UNREACHABLE, []) == (raised.value.failure.kind, client.phases)


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://host/v1", {"HTTPS_PROXY": "http://p:1", "HTTP_PROXY": "http://q:1"}, "http://p:1"),
        ("https://host/v1", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("https://host/v1", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("https://host/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "host"}, None),
        ("https://a.host/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".host"}, None),
        ("http://127.0.0.1:1234/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://localhost:1234/v1", {"ALL_PROXY": "http://p:1"}, None),
        ("http://[::1]:1234/v1", {"ALL_PROXY": "http://p:1"}, None),
        ("https://host/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ""}, "http://p:1"),
        ("https://host/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://a.HOST/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "b , Host,"}, None),
        ("https://a.host/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*.host"}, None),
        ("https://ghost/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "host"}, "http://p:1"),
        ("https://host/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "host:443"}, None),
        ("https://host:8443/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "host:443"}, "http://p:1"),
        ("http://10.1.2.3:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://11.1.2.3:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://p:1"),
        ("http://host/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8,nothing/8"}, "http://p:1"),
        ("http://[fd00::1]:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "fd00::1"}, None),
        ("http://[fd00::1]:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "[fd00::1]:8000"}, None),
        ("http://[fd00::1]:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "[fd00::1]:80"}, "http://p:1"),
    ],
)
def test_the_proxy_is_that_of_the_environment(url, environment, proxy):
    """As every other program of the user reads it; what is on this machine needs none."""
    assert proxy == way_to(url, environment).proxy
