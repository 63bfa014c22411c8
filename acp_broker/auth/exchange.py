"""One question to a token server: a form goes there, a small answer comes back. Everything is bounded.

No redirect is followed (it would hand a secret to somebody whom nobody named), nothing is asked twice (the first time
may have used a refresh token up), and neither what is sent nor what is answered gets into an error. The name of the
server is looked up as its event loop does: who runs that sees that no resolver holds up its end (edge/lookups.py).
"""

import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from msgspec import Struct

from acp_broker.auth.aside import aside
from acp_broker.core import retry_after
from acp_broker.core.redact import plain
from acp_broker.errors import AuthUnavailable, Unresolved

if TYPE_CHECKING:
    from httpx2 import Headers, Response

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Gateways say these two when the server behind them was asked, and 500 comes in the middle of the work.
_UNDECIDED = frozenset({500, 502, 504})


class Limits(Struct, frozen=True):
    """What one question may cost. `total_s` is for all of it: a server that sends a byte a second is no help."""

    connect_s: float = 10.0
    read_s: float = 20.0
    total_s: float = 30.0
    # A token of a megabyte would fit no header, and no variable either.
    max_bytes: int = 262_144


class Reply(Struct, frozen=True):
    """What a server answered, whatever its status. `retry_after_s` is what it asked to wait, if that is believable."""

    host: str
    status: int
    body: bytes
    retry_after_s: float | None = None

    def __repr__(self) -> str:
        return f"Reply({self.status} from {self.host})"

    def unavailable(self, why: str) -> AuthUnavailable:
        """It is of no use; what was asked for may have been done all the same."""
        is_unanswered = self.status < 300 or self.status in _UNDECIDED
        text = f"{self.host} {why}"
        return AuthUnavailable(text, retry_after_s=self.retry_after_s, is_unanswered=is_unanswered)


async def post(
    url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None, limits: Limits | None = None
) -> Reply:
    """The answer to a form. Raises AuthUnavailable where there is none, or none that could be read."""
    return await _ask("POST", url, form, headers or {}, limits or Limits())


async def get(url: str, *, headers: Mapping[str, str], limits: Limits) -> Reply:
    """As `post`, with nothing to send, from a server so near that no proxy may stand between."""
    return await _ask("GET", url, None, headers, limits)


async def _ask(
    method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str], limits: Limits
) -> Reply:
    host = urlsplit(url).hostname or "nobody"
    try:
        with anyio.fail_after(limits.total_s):
            try:
                trusted = await aside(partial(_authorities, url), _authorities)
            except Unresolved as error:
                raise AuthUnavailable(str(error)) from None
            return await _send(method, url, form, headers, limits, trusted)
    except TimeoutError:
        raise AuthUnavailable(f"{host} gave no answer within {limits.total_s:g} s", is_unanswered=True) from None


def _authorities(url: str) -> ssl.SSLContext | None:
    """Who vouches for servers: $SSL_CERT_FILE or $SSL_CERT_DIR, else the machine's own; None without TLS.

    Blocks. Raises Unresolved.
    """
    # Here first, in a thread: most brokers have no login to refresh, and this takes as long to load as all of ours.
    import httpx2  # noqa: PLC0415

    try:
        return httpx2.create_ssl_context() if url.startswith("https:") else None
    except OSError as error:
        why = f"cannot read the authorities in $SSL_CERT_FILE or $SSL_CERT_DIR: {plain(str(error))}"
        raise Unresolved(why) from None


async def _send(
    method: str,
    url: str,
    form: Mapping[str, str] | None,
    headers: Mapping[str, str],
    limits: Limits,
    trusted: ssl.SSLContext | None,
) -> Reply:
    import httpx2  # noqa: PLC0415

    host = urlsplit(url).hostname or "nobody"
    limit = httpx2.Timeout(limits.read_s, connect=limits.connect_s)
    sent = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "acp-broker", **headers}
    try:
        # The proxies of the environment, but not on the way to this machine: there is no TLS.
        is_far = form is not None and host not in _LOOPBACK
        client = httpx2.AsyncClient(verify=trusted or False, trust_env=is_far, timeout=limit)
        async with client, client.stream(method, url, data=form, headers=sent, follow_redirects=False) as response:
            return await _read(response, host, limits)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol) as error:
        raise AuthUnavailable(f"cannot reach {host}: {_reason(error)}") from None
    except httpx2.HTTPError as error:
        raise AuthUnavailable(f"{host} gave no answer: {_reason(error)}", is_unanswered=True) from None
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise AuthUnavailable(f"cannot use the proxy of this environment: {_reason(error)}") from None


async def _read(response: "Response", host: str, limits: Limits) -> Reply:
    reply = Reply(host, response.status_code, b"", _retry_after_s(response.headers))
    if response.is_redirect:
        raise reply.unavailable(f"answered with a redirect ({reply.status}); name the address that it leads to")
    # As it came: a small body could unpack to one without end.
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise reply.unavailable("packs its answer, which it was asked not to do")
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > limits.max_bytes:
            raise reply.unavailable(f"answered with more than {limits.max_bytes} bytes")
    return Reply(host, reply.status, bytes(body), reply.retry_after_s)


def _retry_after_s(headers: "Headers") -> float | None:
    """RFC 9110, section 10.2.3: seconds, or a date. A date is held against the server's own clock."""
    asked = headers.get("Retry-After", "")
    if (seconds := retry_after.of_value(asked)) is not None:
        return seconds
    try:
        waits = parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return retry_after.sane(waits.total_seconds())


def _reason(error: Exception) -> str:
    return plain(str(error)) or type(error).__name__
