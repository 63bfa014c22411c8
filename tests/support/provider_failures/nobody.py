"""Nobody there: what the system says of names, ports and certificates, and how a person reads it."""

import errno
import os
import socket
import ssl

import httpx2

from acp_broker.core.failures import Failure
from backends.http import failing
from backends.http.client import Client

_HOST, _PROXY = "model.example", "proxy.example:3128"


def _certificate(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, message
    return error


def _system(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# What happens, what the system raises, and whether it is a proxy that was to be reached.
NOBODY: tuple[tuple[str, Exception, bool], ...] = (
    ("DNS: no such name", socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
    ("DNS: no answer", socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), False),
    ("refused", _system(errno.ECONNREFUSED), False),
    ("refused by the proxy's host", _system(errno.ECONNREFUSED), True),
    ("no way there", _system(errno.ENETUNREACH), False),
    ("TLS: signed by nobody known", _certificate(18, "self-signed certificate"), False),
    ("TLS: expired", _certificate(10, "certificate has expired"), False),
    ("TLS: of another host", _certificate(62, "Hostname mismatch"), False),
    ("the proxy answers 407", httpx2.ProxyError("407 Proxy Authentication Required"), True),
    ("the proxy answers 403", httpx2.ProxyError("403 Forbidden"), True),
)


def found(error: Exception, *, is_proxied: bool) -> Failure:
    """What the code makes of it."""
    wrapped = error if isinstance(error, httpx2.ProxyError) else httpx2.ConnectError(str(error))
    if wrapped is not error:
        wrapped.__cause__ = error
    client = Client(httpx2.AsyncHTTPTransport(verify=False), _HOST, _PROXY if is_proxied else None)
    return failing.of_transport(wrapped, client, is_answered=False)


def no_connection() -> Failure:
    return failing.not_connected(_HOST, 5)
