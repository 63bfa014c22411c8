"""Connections to providers, shared by all sessions of this process that go the same way, and kept alive.

No redirect is followed and nothing is sent twice. What nobody uses any more is closed.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache, partial
from ipaddress import ip_address, ip_network
from typing import Protocol, cast
from urllib.parse import SplitResult, urlsplit

import anyio.to_thread
import httpx2
from msgspec import Struct

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.redact import plain
from acp_broker.errors import BackendFailure
from backends.http import http2
from backends.http.http11 import Answer, Body, Http11
from backends.http.written import LOOPBACK, PORTS

# Requests in one HTTP/2 connection or more of them; connections that wait for the next request.
_MOST, _MOST_IDLE = 1_000, 100
# The clocks are those of `clocks`: one at a time, and by the broker's own time.
_NO_LIMITS = dict.fromkeys(("connect", "pool", "read", "write"))
# Shorter than what load balancers and servers grant as a rule.
_KEPT_S = 55.0


class Way(Struct, frozen=True):
    """How a request gets to its host: through a proxy or not, and whose certificates are trusted."""

    origin: str
    proxy: str | None = None
    certificates: tuple[str | None, str | None] = (None, None)

    @property
    def proxy_host(self) -> str | None:
        """Without a password that may stand before it."""
        return None if self.proxy is None else self.proxy.rpartition("//")[2].rpartition("@")[2].partition("/")[0]

    def __repr__(self) -> str:
        return f"Way({self.origin})"


class _Shared:
    """The connections of one way, and how many use it.

    A pool looks at all of its connections for each request, so every connection has a pool of its own. HTTP/2 carries
    many requests in one.
    """

    def __init__(self, way: Way, authorities: ssl.SSLContext | None) -> None:
        self.users = 0
        self._new = partial(_transport, way, authorities)
        self._is_one = authorities is not None and http2.is_usable()
        # With when each was used; the one that was last is at the end.
        self._idle = [(_now(), self._new())]

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[httpx2.AsyncBaseTransport]:
        if self._is_one:
            yield self._idle[0][1]
            return
        transport = self._idle.pop()[1] if self._idle and self._idle[-1][0] >= _now() - _KEPT_S else self._new()
        try:
            yield transport
        finally:
            if self.users and len(self._idle) < _MOST_IDLE:
                self._idle.append((_now(), transport))
            else:
                await _close(transport)
            await self._close_old()

    async def _close_old(self) -> None:
        """What one crowded minute has opened is not kept for hours."""
        while self._idle and self._idle[0][0] < _now() - _KEPT_S:
            await _close(self._idle.pop(0)[1])

    async def close(self) -> None:
        for _, transport in self._idle:
            await _close(transport)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _close(transport: httpx2.AsyncBaseTransport) -> None:
    with anyio.CancelScope(shield=True):
        await transport.aclose()


_parsed = lru_cache(maxsize=64)(httpx2.URL)

# By the loop that its connections belong to.
_pools: dict[tuple[int, Way], _Shared] = {}


class Client:
    """Asks one host, through a proxy or not."""

    def __init__(self, shared: _Shared, host: str, proxy: str | None) -> None:
        self.host = host
        self.proxy = proxy
        self._shared = shared

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, on_sending: Callable[[], None]
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        """The head of the answer, open in the block. `on_sending` is called before the body's first byte is written.

        Has no limit of its own. Raises httpx2's own errors.
        """
        sent = {"content-length": str(len(body)), **headers}
        return self._answer("POST", url, sent, Body(body, on_sending))

    def get(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[httpx2.Response]:
        """As `post`, for what is only looked at."""
        return self._answer("GET", url, headers, Body(b"", lambda: None))

    @asynccontextmanager
    async def _answer(
        self, method: str, url: str, headers: Mapping[str, str], body: Body
    ) -> AsyncIterator[httpx2.Response]:
        request = _request(method, url, headers, body)
        async with self._shared.lent() as transport:
            response = await _sent(transport, request)
            try:
                yield response
            finally:
                await response.aclose()


def _request(method: str, url: str, headers: Mapping[str, str], body: Body) -> httpx2.Request:
    """Raises InvalidURL. With a stream httpx2 takes the headers as they are: half the price of its own preparations."""
    parsed = _parsed(url)
    sent = {"host": parsed.netloc.decode(), **headers}
    return httpx2.Request(method, parsed, headers=sent, stream=body, extensions={"timeout": _NO_LIMITS})


async def _sent(transport: httpx2.AsyncBaseTransport, request: httpx2.Request) -> httpx2.Response:
    if request.url.scheme != "https":
        return await transport.handle_async_request(request)
    connecting = _Connecting()
    request.extensions["trace"] = connecting.happened
    try:
        return await transport.handle_async_request(request)
    except BaseException:
        await connecting.close()
        raise


class _Stream(Protocol):
    async def aclose(self) -> None: ...


class _Connecting:
    """Sees a connection being made: httpcore2 forgets one whose TLS is given up half-way, and it would stay open."""

    def __init__(self) -> None:
        self._without_tls: _Stream | None = None

    async def happened(self, event: str, told: Mapping[str, object]) -> None:
        if event.endswith(".connect_tcp.complete"):
            self._without_tls = cast("_Stream", told["return_value"])
        elif event.endswith(".start_tls.complete"):
            self._without_tls = None

    async def close(self) -> None:
        if self._without_tls is not None:
            with anyio.CancelScope(shield=True):
                await self._without_tls.aclose()


def pieces(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as it comes: past httpx2's decoders, where there is nothing to decode."""
    if "content-encoding" in response.headers:
        return response.aiter_bytes()
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    return aiter(response.stream)


def is_read_whole(response: httpx2.Response) -> bool:
    """Whether each of its pieces is all that has come since the last."""
    return isinstance(response.stream, Answer)


@asynccontextmanager
async def connected(url: str, environment: Mapping[str, str]) -> AsyncIterator[Client]:
    """A client for a host, by the proxies and authorities that this environment names. Raises BackendFailure."""
    way = way_to(url, environment)
    key = (id(asyncio.get_running_loop()), way)
    if key not in _pools:
        authorities = await trusted(way)
        _pools.setdefault(key, _Shared(way, authorities))
    shared = _pools[key]
    shared.users += 1
    try:
        yield Client(shared, urlsplit(url).netloc, way.proxy_host)
    finally:
        shared.users -= 1
        if not shared.users:
            del _pools[key]
            await shared.close()


def way_to(url: str, environment: Mapping[str, str]) -> Way:
    """By `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` and `SSL_CERT_FILE`, `SSL_CERT_DIR`. Loopback needs no proxy."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    named = {name.lower().removesuffix("_proxy"): value for name, value in environment.items() if _is_proxy(name)}
    is_direct = host in LOOPBACK or any(_is_for(parts, name) for name in named.get("no", "").split(","))
    proxy = None if is_direct else named.get(parts.scheme) or named.get("all")
    has_tls = parts.scheme == "https"
    certificates = (environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")) if has_tls else (None, None)
    return Way(f"{parts.scheme}://{parts.netloc}", proxy or None, certificates)


def _is_for(parts: SplitResult, entry: str) -> bool:
    """Whether an entry of `NO_PROXY` means this host: by its name or one above, by its network, for one port or all."""
    host, name = parts.hostname or "", entry.strip().lower()
    if name == "*":
        return True
    if name.startswith("["):
        name, _, port = name[1:].partition("]")
    elif name.count(":") == 1:
        name, _, port = name.partition(":")
    else:
        port = ""
    if port.removeprefix(":") not in ("", str(parts.port or PORTS.get(parts.scheme))):
        return False
    if "/" in name:
        return _is_within(host, name)
    name = name.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _is_within(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy")


def _transport(way: Way, trusted: ssl.SSLContext | None) -> httpx2.AsyncBaseTransport:
    has_http2 = trusted is not None and http2.is_usable()
    if way.proxy is None and not has_http2:
        return Http11(trusted)
    limits = httpx2.Limits(max_connections=_MOST, max_keepalive_connections=_MOST_IDLE, keepalive_expiry=_KEPT_S)
    proxy = None
    try:
        if way.proxy is not None:
            proxy = httpx2.Proxy(way.proxy if "://" in way.proxy else f"http://{way.proxy}")
        return httpx2.AsyncHTTPTransport(
            verify=trusted or False,
            trust_env=False,
            http2=has_http2,
            limits=limits,
            proxy=proxy,
        )
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        raise _unusable(f"the proxy in the environment cannot be used: {plain(str(error))}") from error


async def trusted(way: Way) -> ssl.SSLContext | None:
    """The authorities of a way, read from disk; None for one without TLS. Raises BackendFailure."""
    if not way.origin.startswith("https:"):
        return None
    file, folder = way.certificates

    def read() -> ssl.SSLContext:
        named = ssl.create_default_context(cafile=file or None, capath=folder or None) if file or folder else None
        return named or httpx2.create_ssl_context(trust_env=False)

    try:
        return await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
    except OSError as error:
        raise _unusable(f"cannot read the authorities in SSL_CERT_FILE or SSL_CERT_DIR: {plain(str(error))}") from error


def _unusable(text: str) -> BackendFailure:
    return BackendFailure(Failure(FailureKind.UNREACHABLE, text, seen_at="starting"))
