"""What httpx2 raises, and answers that are none, as failures."""

from collections.abc import Mapping, Sequence

import httpx2

from acp_broker.core import http_failures
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.redact import plain
from acp_broker.core.rules import Rule, ruled
from acp_broker.errors import BackendFailure

# More of an error is not read: the reason stands at its beginning.
MAX_BODY_BYTES = 65_536


def of_transport(error: Exception, host: str, *, is_answered: bool) -> Failure:
    """Why there is no answer (`is_answered`: no more of it)."""
    said = plain(str(error)) or type(error).__name__
    if is_answered:
        text = f"{host} broke off its answer: {said}"
        return Failure(FailureKind.SERVER_ERROR, text, type(error).__name__, seen_at="submitted")
    match error:
        case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            text = f"{host} did not accept a connection in time"
        case httpx2.ProxyError():
            text = f"the proxy does not let us through to {host}: {said}"
        case httpx2.ConnectError():
            text = f"cannot connect to {host}: {said}"
        case _:
            text = f"{host} closed the connection without an answer: {said}"
    return Failure(FailureKind.UNREACHABLE, text, type(error).__name__, seen_at="submitted")


def not_connected(host: str, within_s: float) -> Failure:
    text = f"{host} did not accept a connection within {within_s:g} s"
    return Failure(FailureKind.UNREACHABLE, text, "ConnectTimeout", seen_at="submitted")


async def check(response: httpx2.Response, host: str, wall: float, rules: Sequence[Rule] = ()) -> None:
    """Raises BackendFailure for an answer that cannot hold one of a model's."""
    status, headers = response.status_code, _lower(response.headers)
    if status < 300 and _type(headers) not in ("text/html", "application/xhtml+xml"):
        return
    body = await beginning(response)
    raise BackendFailure(ruled(rules, _refused(status, headers, body, host, wall), body, status))


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
    body = b""
    try:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) >= most:
                break
    except (httpx2.HTTPError, httpx2.StreamError):
        pass
    return body[:most]


def _type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _lower(headers: httpx2.Headers) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}
