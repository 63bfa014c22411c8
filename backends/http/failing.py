"""What httpx2 raises, and answers that are none, as failures."""

from collections.abc import Mapping, Sequence

import httpx2

from acp_broker.clock import Clock
from acp_broker.core import http_failures
from acp_broker.core.failures import NO_CONNECTION, Failure, FailureKind
from acp_broker.core.redact import plain
from acp_broker.core.rules import Rule, ruled
from acp_broker.errors import BackendFailure
from backends.http.client import Client, pieces
from backends.http.clocks import Watch
from backends.http.http11 import Stale
from backends.http.unreachable import told_by_http2, why, words

# More of an error is not read: the reason stands at its beginning.
MAX_BODY_BYTES = 65_536
# Nor is waited for longer: its head says the most, and the next backend is ready.
_BODY_S = 2.0


def of_transport(error: Exception, client: Client, *, is_answered: bool) -> Failure:
    """Why there is no answer (`is_answered`: no more of it)."""
    code = type(error).__name__
    is_of_host = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError))
    if is_answered:
        said = told_by_http2(error) or words(error)
        return Failure(
            FailureKind.SERVER_ERROR, f"{client.host} broke off its answer: {said}", code, seen_at="submitted"
        )
    text = why(error, client.host, client.proxy)
    # Whose connection had been idle for too long is asked again in the next turn, on a new one.
    rest_s = 0.0 if isinstance(error, Stale) else None
    return Failure(FailureKind.UNREACHABLE, text, NO_CONNECTION if is_of_host else code, rest_s, "submitted")


def not_connected(host: str, within_s: float) -> Failure:
    text = f"{host} did not accept a connection within {within_s:g} s"
    return Failure(FailureKind.UNREACHABLE, text, NO_CONNECTION, seen_at="submitted")


async def check(response: httpx2.Response, host: str, clock: Clock, rules: Sequence[Rule] = ()) -> None:
    """Raises BackendFailure for an answer that cannot hold one of a model's."""
    status, headers = response.status_code, _lower(response.headers)
    if status < 300 and _type(headers) not in ("text/html", "application/xhtml+xml"):
        return
    body = bytearray()
    watch = Watch(clock)
    watch.arm(_BODY_S, None)
    with watch.block():
        await _read(response, body, MAX_BODY_BYTES)
    failure = _refused(status, headers, bytes(body), host, clock.wall())
    raise BackendFailure(ruled(rules, failure, bytes(body), status))


def _refused(status: int, headers: Mapping[str, str], body: bytes, host: str, wall: float) -> Failure:
    if status < 300:
        return of_page(body, host)
    if status >= 400:
        return http_failures.from_http(status, headers, body, wall=wall)
    where = plain(headers.get("location", "nowhere"))
    text = f"{host} answers with {status} and leads to {where}; write the right address in `baseUrl`"
    return Failure(FailureKind.UNREACHABLE, text, str(status), seen_at="submitted")


def of_page(body: bytes, host: str) -> Failure:
    """A web page with status 200, whatever its headers call it."""
    text = f"{host} answered with {http_failures.page_title(body)}; a proxy, or a wrong `baseUrl`"
    return Failure(FailureKind.GARBLED, text, "200", seen_at="submitted")


async def beginning(response: httpx2.Response, most: int = MAX_BODY_BYTES) -> bytes:
    """A body, or as much of it as is read; one that breaks off is what came of it."""
    body = bytearray()
    await _read(response, body, most)
    return bytes(body)


async def _read(response: httpx2.Response, body: bytearray, most: int) -> None:
    try:
        async for piece in pieces(response):
            body += piece[: most - len(body)]
            if len(body) >= most:
                break
    except (httpx2.HTTPError, httpx2.StreamError):
        pass


def _type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _lower(headers: httpx2.Headers) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}
