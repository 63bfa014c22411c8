"""What it means that a connection to an agent elsewhere did not come about, or ended."""

import ssl
from collections.abc import Mapping

from msgspec.structs import replace
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHeader,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from websockets.frames import CloseCode

from acp_broker.core import http_failures
from acp_broker.core.failures import Failure, FailureKind, Spends, spends
from acp_broker.core.names import Phase
from acp_broker.core.redact import plain

# RFC 6455, section 7.4.1, as the peer means it; any other code is an agent that ended in the middle.
_CLOSES = {
    CloseCode.PROTOCOL_ERROR: FailureKind.GARBLED,
    CloseCode.UNSUPPORTED_DATA: FailureKind.GARBLED,
    CloseCode.INVALID_DATA: FailureKind.GARBLED,
    # Our token is one no longer (docs/daemon.md, "The token").
    CloseCode.POLICY_VIOLATION: FailureKind.AUTH_REJECTED,
    # What we sent: another backend may take it.
    CloseCode.MESSAGE_TOO_BIG: FailureKind.UNSUPPORTED,
    CloseCode.INTERNAL_ERROR: FailureKind.SERVER_ERROR,
    CloseCode.TRY_AGAIN_LATER: FailureKind.OVERLOADED,
}

# What we close a connection for.
_REFUSED: Mapping[int, str] = {
    CloseCode.PROTOCOL_ERROR: "does not speak WebSocket as RFC 6455 has it",
    CloseCode.INVALID_DATA: "sent text that is not UTF-8",
    CloseCode.MESSAGE_TOO_BIG: "sent a message longer than `limits.maxMessageBytes` of config.json",
}


def of_handshake(error: Exception, host: str, *, has_token: bool, wall: float) -> Failure:
    """Why there is no connection."""
    said, name = plain(str(error)) or type(error).__name__, type(error).__name__
    match error:
        case InvalidStatus():
            return _of_status(error, host, has_token=has_token, wall=wall)
        case InvalidHeader(name="Authorization"):
            text = "no header can carry this token: is there a line break or an odd character in it?"
            return Failure(FailureKind.AUTH_REJECTED, text, name, seen_at="starting")
        case UnicodeError():
            text = f"no host can have the name {host}: is it written right?"
        case TimeoutError():
            text = f"{host} did not open a connection in time"
        case InvalidProxyStatus() | InvalidProxy() | ProxyError():
            text = f"the proxy does not let us through to {host}: {said}"
        case ImportError():
            text = f"the proxy in the environment cannot be used: {said}"
        case ssl.SSLError():
            text = f"{host} and this machine agree on no TLS: {plain(error.reason or said)}; is it `ws://` in `url`?"
        case OSError():
            text = f"cannot connect to {host}: {said}"
        case _:
            text = f"{host} does not speak WebSocket: {said}; are the port and `ws://` or `wss://` in `url` right?"
    return Failure(FailureKind.UNREACHABLE, text, name, seen_at="starting")


def _of_status(error: InvalidStatus, host: str, *, has_token: bool, wall: float) -> Failure:
    response = error.response
    status, body = response.status_code, bytes(response.body or b"")
    if status == 401 and not has_token:
        text = f"{host} wants a token: name a profile that holds it under `auth`"
        return Failure(FailureKind.AUTH_MISSING, text, str(status), seen_at="starting")
    if 300 <= status < 400:
        where = plain(response.headers.get("Location", "nowhere"))
        text = f"{host} answers with {status} and leads to {where}; write the right address in `url`"
        return Failure(FailureKind.UNREACHABLE, text, str(status), seen_at="starting")
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    failure = http_failures.from_http(status, headers, body, wall=wall, seen_at="starting")
    text = f"{host} refuses the connection: {failure.text}"
    if status == 404 or status < 400 or spends(failure.kind) is Spends.TURN:
        # No prompt was sent that could be at fault: the address is.
        text = f"{host} has no agent there: {failure.text}; write the right address in `url`"
        return replace(failure, kind=FailureKind.UNREACHABLE, code=str(status), text=text)
    # A broker without a free seat, or a proxy before one that is being started anew.
    kind = FailureKind.OVERLOADED if status == 503 else failure.kind
    return replace(failure, kind=kind, text=text)


def of_close(closed: ConnectionClosed, host: str, seen_at: Phase) -> Failure:
    """Why a connection ended."""
    told = closed.rcvd
    if told is None or closed.rcvd_then_sent is False:  # it was we who closed it; a peer only echoes our code
        sent = closed.sent
        if sent is not None and sent.code in _REFUSED:
            return Failure(FailureKind.GARBLED, f"{host} {_REFUSED[sent.code]}", str(sent.code), seen_at=seen_at)
        is_silent = sent is not None and "ping timeout" in sent.reason
        text = f"nothing was heard of {host} any more" if is_silent else f"the connection to {host} was lost"
        return Failure(FailureKind.CRASHED, text, seen_at=seen_at)
    kind = _CLOSES.get(CloseCode(told.code), FailureKind.CRASHED) if told.code in _KNOWN else FailureKind.CRASHED
    why = f": {plain(told.reason)}" if told.reason else ""
    if told.code == CloseCode.MESSAGE_TOO_BIG:
        why += "; it takes no message so long: an ACP Broker does, if `limits.maxMessageBytes` over there is raised"
    return Failure(kind, f"{host} closed the connection ({told.code}){why}", str(told.code), seen_at=seen_at)


def of_unsent(size: int, limit: int, host: str, seen_at: Phase) -> Failure:
    """Why a connection was ended over which a message of ours, of `size` bytes, was to go."""
    text = f"a message of {size} bytes was not sent to {host}: `limits.maxMessageBytes` of config.json is {limit}"
    return Failure(FailureKind.UNSUPPORTED, text, seen_at=seen_at)


_KNOWN = frozenset(int(code) for code in CloseCode)
