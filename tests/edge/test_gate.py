"""What strangers may send in a handshake: anything."""

from hypothesis import given
from hypothesis import strategies as st

from acp_broker.edge.gate import Admitted, Gate, WebSocketWay
from acp_broker.edge.handshake import Head
from acp_broker.edge.peers import PeerLimits, Seats
from tests.support.clock import FakeClock
from tests.support.websocket import TOKEN, request

NAMES = [
    "Host",
    "Origin",
    "Authorization",
    "Upgrade",
    "Connection",
    "Content-Length",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
]
VALUES = st.one_of(
    st.binary(max_size=40).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b"")),
    st.sampled_from([b"localhost", b"bearer.right-token, acp", b"permessage-deflate; client_max_window_bits=99", b"["]),
)


def judged(raw: bytes) -> bytes | Admitted:
    way = WebSocketWay(
        host="127.0.0.1",
        port=0,
        token=lambda: TOKEN,
        limits=PeerLimits,
        seats=Seats(lambda: 1),
        health=lambda: (200, b"{}"),
    )
    return Gate(way, FakeClock(), lambda event, **fields: None).judge(Head(raw, b"", "GET", "/acp"), "127.0.0.1")


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_no_header_is_more_than_refused(headers: dict[str, bytes]) -> None:
    """Whatever stands in it, the answer is one of HTTP, or a WebSocket."""
    raw = request(**{name.replace("-", "_"): value.decode("latin-1") for name, value in headers.items()})

    assert isinstance(verdict := judged(raw), Admitted) or verdict.startswith(b"HTTP/1.1 4")


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_refused(garbage: bytes) -> None:
    """Its first line alone was looked at before."""
    verdict = judged(b"GET /acp HTTP/1.1\r\n" + garbage.replace(b"\r\n\r\n", b"") + b"\r\n\r\n")

    assert isinstance(verdict, bytes)
    assert verdict.startswith(b"HTTP/1.1 4")
