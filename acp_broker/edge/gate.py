"""What a handshake is answered: the routes, who is refused and with what words, and who becomes a guest."""

import hashlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from msgspec import Struct
from websockets.http11 import Request
from websockets.server import ServerProtocol

from acp_broker.clock import Clock
from acp_broker.edge import admission, handshake
from acp_broker.edge.admission import Admission, Refusal
from acp_broker.edge.handshake import Head
from acp_broker.edge.peers import PeerLimits, Seats

# A client that found no seat had better wait so long.
FULL_RETRY_S = 5

Log = Callable[..., None]


class WebSocketWay(Struct, frozen=True, kw_only=True):
    """What config says of this way in; `tls` is a certificate and its key. What can be called is called each time.

    `health` gives the status and the JSON of /healthz.
    """

    host: str
    port: int
    tls: tuple[Path, Path] | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    token: Callable[[], str]
    limits: Callable[[], PeerLimits]
    seats: Seats
    health: Callable[[], tuple[int, bytes]]


class Guest(Struct, frozen=True):
    """`connection` is the Acp-Connection-Id that the peer was given."""

    address: str
    connection: str


class Admitted(Struct, frozen=True):
    """`core` holds the 101 that is to be sent; a seat was taken, and is the caller's to leave."""

    core: ServerProtocol
    guest: Guest
    digest: bytes


class Gate:
    def __init__(self, way: WebSocketWay, clock: Clock, log: Log) -> None:
        self._way = way
        self._clock = clock
        self._log = log
        self._admission = Admission()

    def judge(self, head: Head, address: str) -> bytes | Admitted:
        """The whole answer to a request that opens no WebSocket, or what came of one that does."""
        if not head.method:
            return self._refused(address, Refusal(400, "no HTTP request, or one that is too long"))
        if head.method != "GET":
            # It may have a body, which nobody here reads: so only its first line counts.
            return handshake.upgrade_required() if head.path == handshake.PATH else handshake.not_found()
        core = handshake.new_core(self._way.limits().max_message_bytes)
        core.receive_data(head.raw)
        request = next(iter(core.events_received()), None)
        if not isinstance(request, Request):
            return self._refused(address, Refusal(400, "a request that HTTP/1.1 does not allow"))
        refusal = admission.host(request.headers.get_all("Host"), self._way.host, self._way.hosts)
        if refusal is not None:
            return self._refused(address, refusal)
        match head.path:
            case handshake.HEALTH:
                return handshake.health(*self._way.health())
            case handshake.PATH if request.headers.get_all("Upgrade"):
                return self._open(core, request, address)
            case handshake.PATH:
                return handshake.upgrade_required()
            case _:
                return handshake.not_found()

    def _open(self, core: ServerProtocol, request: Request, address: str) -> bytes | Admitted:
        status, _ = self._way.health()
        if status != HTTPStatus.OK:  # it is about to end
            return self._refused(address, Refusal(503, "it lets nobody in any more", FULL_RETRY_S))
        token = self._way.token()
        refusal = admission.origin(request.headers.get_all("Origin"), self._way.origins)
        if refusal is None:
            refusal = self._admission.token(handshake.tokens(request.headers), token, address, self._clock.now())
        if refusal is not None:
            return self._refused(address, refusal)
        response = core.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._log(
                "websocket_refused", address=address, status=response.status_code, why="a broken WebSocket handshake"
            )
            return response.serialize()
        if not self._way.seats.take():
            return self._refused(address, Refusal(503, "all seats are taken (limits.connections)", FULL_RETRY_S))
        guest = Guest(address, handshake.new_connection_id(response))
        core.send_response(response)
        return Admitted(core, guest, token_digest(token))

    def _refused(self, address: str, refusal: Refusal) -> bytes:
        self._log("websocket_refused", address=address, status=refusal.status, why=refusal.why)
        return handshake.refused(refusal)


def token_digest(token: str) -> bytes:
    """What is kept of a token beside the connection that it opened."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
