"""A provider that is hardly ever the bottleneck: Chat Completions as the tests' fault server writes them, made before.

    python -m bench.responder [WORDS OF A FLOOD]

prints its port. The last `show:NAME` in a request says how it is answered: see `_shows`; but at a path that begins with
/spare, `fail` is `first`.
"""

import asyncio
import re
import sys
from collections.abc import Sequence

from msgspec import Struct

from tests.support.provider import openai
from tests.support.provider.chat import Chat
from tests.support.provider.shape import Answer, Ask
from tests.support.provider.wire import chunk, head

# In every word, and nowhere else.
MARK = b"lorem"
# Words of `run`.
RUN = 200
_PACED, _PACE_S = 20, 0.02
_REST_S = 0.002
# Of a flood: some 16 KB.
_PER_WRITE = 64

_SHOW = re.compile(rb"show:([a-z]+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Show(Struct, frozen=True):
    """Writes in order: `first` at once, `rest` each after `pause_s`."""

    first: Sequence[bytes]
    rest: Sequence[bytes] = ()
    pause_s: float = 0.0


class Responder(asyncio.Protocol):
    """One connection, kept alive; nobody sends a second request before the first is answered."""

    def __init__(self, shows: dict[bytes, Show]) -> None:
        self._shows = shows
        self._read = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        start = self._read.find(b"\r\n\r\n")
        if start < 0:
            return
        length = _LENGTH.search(self._read, 0, start)
        if len(self._read) < start + 4 + (int(length[1]) if length else 0):
            return
        request, self._read = self._read, b""
        name = (_SHOW.findall(request) or [b"first"])[-1]
        self._play(self._shows[b"first" if name == b"fail" and b" /spare" in request[:32] else name])

    def _play(self, show: Show) -> None:
        for piece in show.first:
            self._transport.write(piece)
        if show.rest:
            asyncio.get_running_loop().call_later(
                show.pause_s, self._play, Show(show.rest[:1], show.rest[1:], show.pause_s)
            )


def _shows(flood: int) -> dict[bytes, Show]:
    first, run, paced = _reel(1), _reel(RUN), _reel(_PACED)
    return {
        # A word, and the end a little later: the time to it is not mixed with what the end costs.
        b"first": Show(first[:2], first[2:], _REST_S),
        # Each event a write of its own, at once.
        b"run": Show(run),
        b"paced": Show(paced[:2], paced[2:], _PACE_S),
        b"flood": Show(_joined(_reel(flood))),
        b"fail": Show([_failure()]),
    }


def _reel(words: int) -> list[bytes]:
    """Head and opening, each word, the ending: each event a chunk of the body."""
    ask = Ask("drill-model", is_stream=True, tokens=10)
    reel = Chat().reel(ask, Answer(tuple(f"{MARK.decode()}{number} " for number in range(words))))
    begin = head(200, "text/event-stream; charset=utf-8", None, {"cache-control": "no-cache", **Chat().headers()})
    return [begin + chunk(reel.opening), *map(chunk, reel.words), chunk(reel.ending) + chunk(b"")]


def _joined(pieces: Sequence[bytes]) -> list[bytes]:
    return [b"".join(pieces[at : at + _PER_WRITE]) for at in range(0, len(pieces), _PER_WRITE)]


def _failure() -> bytes:
    body = b'{"error":{"message":"The server is overloaded","type":"server_error","param":null,"code":null}}'
    # It rests no longer than the measurement can wait.
    return head(503, "application/json", len(body), {"retry-after-ms": "1", **openai.headers()}) + body


async def _serve(flood: int) -> None:
    shows = _shows(flood)
    server = await asyncio.get_running_loop().create_server(lambda: Responder(shows), "127.0.0.1", 0, backlog=200)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(*sys.argv[1:])))
