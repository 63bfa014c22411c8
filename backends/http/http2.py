"""HTTP/2, where a server offers it and the package h2 is there (the extra `http2`).

httpcore2 gives up an answer that nobody wants any more by forgetting its stream: the server is not told, writes on, and
is paid for it. RFC 9113, 5.4.2 has a frame for that, and here it is sent. Where httpcore2 is built otherwise than
expected, HTTP/1.1 is spoken: there a closed connection says as much.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from types import SimpleNamespace
from typing import Protocol

import anyio

_CANCEL = 8  # RFC 9113, 7
# For a frame of 13 bytes: a connection that does not take it is none any more.
_WITHIN_S = 0.5
_NO_LIMITS = SimpleNamespace(extensions={})


class _Stream(Protocol):
    closed: bool


class _State(Protocol):
    streams: dict[int, _Stream]

    def reset_stream(self, stream_id: int, error_code: int) -> None: ...


class _Connection(Protocol):
    """As much of httpcore2's as is used."""

    _h2_state: _State

    async def _write_outgoing_data(self, request: object) -> None: ...


@cache
def is_usable() -> bool:
    """Whether HTTP/2 can be spoken so that a stream can be given up. Asked before a connection is made."""
    if find_spec("h2") is None:
        return False
    try:
        kind = import_module("httpcore2._async.http2").AsyncHTTP2Connection
        closed, write = kind._response_closed, kind._write_outgoing_data  # noqa: SLF001 - there is no other way to it
        gone = (import_module("h2.exceptions").H2Error, import_module("httpcore2").NetworkError)
    except (ImportError, AttributeError):
        return False
    if [list(signature(one).parameters) for one in (closed, write)] != [["self", "stream_id"], ["self", "request"]]:
        return False

    async def reset_and_closed(self: _Connection, stream_id: int) -> None:
        try:
            await _reset(self, stream_id)
        except gone:
            """Nor is there anybody who writes."""
        await closed(self, stream_id)

    kind._response_closed = reset_and_closed  # noqa: SLF001
    return True


async def _reset(connection: _Connection, stream_id: int) -> None:
    """Tell the server that nobody reads this stream any more, unless it has ended."""
    state = connection._h2_state  # noqa: SLF001
    stream = state.streams.get(stream_id)
    if stream is None or stream.closed:
        return
    state.reset_stream(stream_id, _CANCEL)
    with anyio.move_on_after(_WITHIN_S):
        await connection._write_outgoing_data(_NO_LIMITS)  # noqa: SLF001
