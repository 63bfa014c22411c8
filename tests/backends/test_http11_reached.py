"""How a server of HTTP/1.1 is reached: its name, its addresses, its TLS."""

import asyncio
import socket
import ssl
from pathlib import Path

import anyio
import httpx2
import pytest

from acp_broker.edge import http_connection
from acp_broker.edge.http_connection import MOST_UNREAD
from backends.http import http2
from backends.http.client import connected
from tests.support.answers import STREAM, WHOLE
from tests.support.certificates import certificate
from tests.support.client import DEADLINE_S
from tests.support.provider.wire import chunk
from tests.support.writing import writing

pytestmark = pytest.mark.anyio


@pytest.fixture
def tls(monkeypatch, tmp_path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of it, and the certificate to trust; without HTTP/2, which httpx2 speaks."""
    monkeypatch.setattr(http2, "is_usable", lambda: False)
    made, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)
    return context, made


async def test_a_host_s_next_address_is_tried(monkeypatch):
    """`localhost` means ::1 first, and many a local server listens on 127.0.0.1 alone."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with writing(WHOLE) as server:

            async def found(*_args, **_more):
                every = (unused.getsockname(), ("127.0.0.1", server.door.port))
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in every]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found, raising=False)
            url = f"http://two.test:{server.door.port}/v1"
            async with connected(url, {}) as client, client.post(url, {}, b"", lambda: None) as response:
                read = await response.aread()

    assert b"hi" == read


async def test_a_host_s_next_address_is_tried_while_the_first_is_silent(monkeypatch):
    """RFC 8305: behind a broken tunnel IPv6 says nothing at all, and a user would wait for minutes."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def connecting(sock, address):
        if address[0] == "127.0.0.2":
            await anyio.sleep_forever()
        await connect(sock, address)

    async with writing(WHOLE) as server:

        async def found(*_args, **_more):
            every = ("127.0.0.2", "127.0.0.1")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, server.door.port)) for one in every]

        monkeypatch.setattr(loop, "getaddrinfo", found, raising=False)
        monkeypatch.setattr(loop, "sock_connect", connecting, raising=False)
        monkeypatch.setattr(http_connection, "_NEXT_ADDRESS_S", 0.001)
        with anyio.fail_after(DEADLINE_S):
            url = f"http://two.test:{server.door.port}/v1"
            async with connected(url, {}) as client, client.post(url, {}, b"", lambda: None) as response:
                read = await response.aread()

    assert b"hi" == read


async def test_a_name_is_not_looked_up_in_the_way_of_all_others(monkeypatch):
    """A name server may take half a minute, and the event loop would stand still."""
    asked = []
    async with writing(WHOLE) as server:

        async def found(host, port, **_more):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found, raising=False)
        for host in ("127.0.0.1", "localhost"):
            url = f"http://{host}:{server.door.port}/v1"
            async with connected(url, {}) as client, client.post(url, {}, b"", lambda: None) as response:
                await response.aread()

    assert ["localhost"] == asked


async def test_a_handshake_has_a_limit_of_its_own(monkeypatch):
    """For whoever connects without one: asyncio's is a minute, and that may be the time of a slow machine."""
    monkeypatch.setattr(http2, "is_usable", lambda: False)
    monkeypatch.setattr(http_connection, "_HANDSHAKE_S", 0.001)
    async with writing() as server:
        url = server.url.replace("http:", "https:")
        async with connected(url, {}) as client:
            with anyio.fail_after(DEADLINE_S), pytest.raises(httpx2.ConnectError, match="handshake"):
                await client.post(f"{url}/x", {}, b"{}", lambda: None).__aenter__()


async def test_an_answer_that_came_before_its_request_is_none(tls):
    """A server of TLS 1.2 may write behind its handshake at once; with whom it speaks it does not know."""
    context, made = tls
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    class Hasty(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            transport.write(WHOLE)

        def data_received(self, _data):
            self.transport.write(WHOLE)

    server = await asyncio.get_running_loop().create_server(Hasty, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    async with connected(url, {"SSL_CERT_FILE": str(made)}) as client:
        with anyio.fail_after(DEADLINE_S), pytest.raises(httpx2.RemoteProtocolError):
            await client.post(url, {}, b"{}", lambda: None).__aenter__()
    server.close()


async def test_a_handshake_that_is_given_up_leaves_no_connection(monkeypatch):
    """Its server never says a word, and the next backend is asked."""
    monkeypatch.setattr(http2, "is_usable", lambda: False)
    async with writing() as server:
        url = server.url.replace("http:", "https:")
        async with connected(url, {}) as client:
            with anyio.fail_after(DEADLINE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.post(f"{url}/x", {}, b"{}", lambda: None).__aenter__)
                    while not server.open:
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
                while server.open:
                    await server.left.wait()


async def test_nonsense_behind_much_that_nobody_has_read_is_told_with_tls(tls):
    """Reading is paused, and the server has left: asyncio reads on and shuts down in one go."""
    context, made = tls
    part = bytes(MOST_UNREAD + 1)
    paused = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM + chunk(part))
        await paused.wait()
        writer.write(b"what is this\r\n")
        writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    async with connected(url, {"SSL_CERT_FILE": str(made)}) as client, client.get(url, {}) as response:
        connection = response.stream._connection
        with anyio.fail_after(DEADLINE_S):
            while connection._unread <= MOST_UNREAD:
                await anyio.lowlevel.checkpoint()
            paused.set()
            while not connection._transport._ssl_protocol._eof_received:
                await anyio.lowlevel.checkpoint()
            with pytest.raises(httpx2.RemoteProtocolError, match="chunk size"):
                await response.aread()
    server.close()


async def test_with_tls_it_is_said_what_will_be_spoken(tls):
    """RFC 7301; a server with more protocols than one may refuse whoever names none."""
    context, made = tls
    context.set_alpn_protocols(["h2", "http/1.1"])
    spoken = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(WHOLE)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    async with connected(url, {"SSL_CERT_FILE": str(made)}) as client, client.get(url, {}) as response:
        await response.aread()
    server.close()

    assert ["http/1.1"] == spoken
