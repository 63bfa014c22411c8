"""Why nobody could be reached, in a sentence for people: names, ports, certificates, proxies."""

import errno
import socket
import ssl
from collections.abc import Iterator

import httpx2

from acp_broker.core.redact import plain

# OpenSSL, x509_vfy.h: what a verification ends with.
_NOT_YET, _EXPIRED, _OTHER_HOST = 9, 10, 62
_NO_WAY = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL})


def why(error: Exception, host: str, proxy: str | None) -> str:
    """`host` is as in an address, with its port; `proxy` is what was to lead there."""
    near = host if proxy is None else f"the proxy {proxy}"
    for cause in _causes(error):
        match cause:
            case ssl.SSLError():
                return _of_tls(cause, host)
            case socket.gaierror():
                return _of_name(cause, near)
            case ConnectionRefusedError():
                return f"{near} refuses connections: is it running, and is that its port?"
            case OSError() if cause.errno in _NO_WAY:
                return f"there is no way to {near}: is this machine online?"
            case httpx2.ProxyError():
                return _of_proxy(plain(str(cause)), host)
    said = words(error)
    if isinstance(error, httpx2.ConnectError):
        return f"cannot connect to {near}: {said}"
    return f"{host} closed the connection without an answer: {told_by_http2(error) or said}"


def words(error: Exception) -> str:
    """Its own; a connection that is reset has none."""
    is_lost = isinstance(error, (httpx2.ReadError, httpx2.WriteError))
    return plain(str(error)) or ("the connection was reset" if is_lost else type(error).__name__)


def told_by_http2(error: Exception) -> str | None:
    """What ended a stream or a connection of HTTP/2; None for what is no such end."""
    for cause in _causes(error):
        event = cause.args[0] if cause.args else None
        code = getattr(event, "error_code", None)
        if code is not None:
            what = "reset the stream" if hasattr(event, "stream_id") else "closes its connections"
            return f"{what} ({getattr(code, 'name', None) or f'error {code}'})"
    return None


def _of_name(cause: socket.gaierror, near: str) -> str:
    name = near.rpartition(":")[0] or near
    if cause.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
        return f"{name} is the name of no host: is it written right, and is this machine online?"
    return f"the name {name} cannot be looked up: is this machine online?"


def _of_tls(cause: ssl.SSLError, host: str) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        match cause.verify_code:
            case n if n == _EXPIRED:
                return f"the certificate of {host} has expired"
            case n if n == _NOT_YET:
                return f"the certificate of {host} is not valid yet: is the clock of this machine right?"
            case n if n == _OTHER_HOST:
                return f"the certificate of {host} is for another host: {plain(cause.verify_message)}"
        return (
            f"nobody whom this machine trusts has signed the certificate of {host} ({plain(cause.verify_message)}): "
            "name its authority in SSL_CERT_FILE"
        )
    if cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return f"{host} does not speak TLS: is it http:// in `baseUrl`?"
    return f"{host} and this machine agree on no TLS: {plain(cause.reason or str(cause))}"


def _of_proxy(said: str, host: str) -> str:
    login = "; it wants a login, as in http://user:password@proxy" if said.startswith("407") else ""
    return f"the proxy does not let us through to {host}: {said}{login}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it; of several at once, the last: as a rule each address failed alike."""
    seen: BaseException | None = error
    for _ in range(12):
        if seen is None:
            return
        yield seen
        within = seen.exceptions[-1] if isinstance(seen, BaseExceptionGroup) else None
        seen = within or seen.__cause__ or seen.__context__
