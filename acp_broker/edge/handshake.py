"""The HTTP of a WebSocket connection: the head of one request, and the answers to it."""

import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus

from anyio import Event
from msgspec import Struct
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from acp_broker.edge.admission import BEARER, Refusal
from acp_broker.edge.link import Link

PATH = "/acp"
HEALTH = "/healthz"
PROTOCOL = Subprotocol("acp")
# Of a request's head; browsers send a few hundred, proxies add some.
HEAD_BYTES = 16 * 1024
_END = b"\r\n\r\n"
# We never compress (see websocket_channel), so there is nothing to remember from message to message; a small window
# keeps what a client costs small.
_DEFLATE = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_max_window_bits=12)
# What `websockets` has to say, we say in our own log.
_SILENT = logging.Logger("acp_broker.websocket", logging.CRITICAL + 1)


class Head(Struct, frozen=True):
    """A request's head as it came, and what came behind it. `method` is empty for what is no HTTP, or too long."""

    raw: bytes
    rest: bytes
    method: str
    path: str


class _Collector:
    def __init__(self) -> None:
        self.data = b""
        self.is_over = Event()

    def add(self, data: bytes) -> None:
        # The blank line that ends it may be split between two reads.
        begin = max(0, len(self.data) - len(_END))
        self.data += data
        if self.data.find(_END, begin) >= 0 or len(self.data) > HEAD_BYTES:
            self.is_over.set()


async def read_head(link: Link) -> Head | None:
    """What the peer asks first, with the link paused behind it; None if it left before it had asked."""
    collector = _Collector()
    link.listen(collector.add, collector.is_over.set)
    await collector.is_over.wait()
    link.pause()
    raw, end, rest = collector.data.partition(_END)
    if len(raw) > HEAD_BYTES:
        return Head(raw, rest, "", "")
    if not end:
        return None
    first = raw.partition(b"\r\n")[0].decode("latin-1").split(" ")
    method, target = first[:2] if len(first) == 3 and first[2].startswith("HTTP/1.") else ("", "")
    return Head(raw + end, rest, method, target.partition("?")[0])


def new_core(max_message_bytes: int) -> ServerProtocol:
    return ServerProtocol(extensions=[_DEFLATE], select_subprotocol=_select, max_size=max_message_bytes, logger=_SILENT)


def _select(core: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:  # noqa: ARG001 - theirs
    """Only ever `acp`: the other one that we know carries the token, which is not for echoing.

    Offered the token alone, we name none: RFC 6455, section 4.1, allows it, though browsers want one of theirs.
    """
    return PROTOCOL if PROTOCOL in offered else None


def tokens(headers: Headers) -> list[str]:
    """Every token that a request offers; a browser cannot set headers, but it can name subprotocols."""
    found = []
    for value in headers.get_all("Authorization"):
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() == BEARER:
            found.append(token.strip())
    offered = [name.strip() for value in headers.get_all("Sec-WebSocket-Protocol") for name in value.split(",")]
    return found + [name.removeprefix(f"{BEARER}.") for name in offered if name.startswith(f"{BEARER}.")]


def new_connection_id(response: Response) -> str:
    """Name one on the 101, and return it."""
    connection = secrets.token_urlsafe(16)
    response.headers["Acp-Connection-Id"] = connection
    return connection


# --- whole answers, after which the connection is closed


def health(status: int, body: bytes) -> bytes:
    return _answer(status, body, {"Content-Type": "application/json"})


def not_found() -> bytes:
    return _plain(404, f"Here are only {PATH} and {HEALTH}.")


def upgrade_required() -> bytes:
    # RFC 9110, section 15.5.22: it must say to what.
    headers = {"Upgrade": "websocket", "Connection": "Upgrade, close"}
    return _plain(426, "This is a WebSocket: connect with a WebSocket client.", headers)


def refused(refusal: Refusal) -> bytes:
    headers: dict[str, str] = {}
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return _plain(refusal.status, refusal.why, headers)


def _plain(status: int, text: str, more: dict[str, str] | None = None) -> bytes:
    return _answer(status, f"{text}\n".encode(), {"Content-Type": "text/plain; charset=utf-8", **(more or {})})


def _answer(status: int, body: bytes, more: dict[str, str]) -> bytes:
    headers = {"Content-Length": str(len(body)), "Cache-Control": "no-store", "Connection": "close", **more}
    return Response(status, HTTPStatus(status).phrase, Headers(headers), body).serialize()
