"""Frontends that nobody wants, one function each: it does its worst until it is cancelled.

What comes back is not looked at: whether the others are harmed is what a test looks at, and what the log calls it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from tests.support.crowd import FLOOD, STALL, Guest
from tests.support.handmade import BINARY, PING, TEXT, WebSocket, connected, frame, shaken

# Between two acts of one that could go on without a pause: it is rude, not a benchmark of the handshake.
PAUSE_S = 0.02


class Door(NamedTuple):
    """Where the daemon is, and what lets a frontend in."""

    url: str
    headers: Mapping[str, str]
    cwd: str
    most_bytes: int


Act = Callable[[Door], Awaitable[None]]


async def reads_slowly(door: Door) -> None:
    async with _inside(door) as guest:
        await _ask(guest, FLOOD)
        while True:
            guest.line.transport.pause_reading()
            await asyncio.sleep(PAUSE_S)
            guest.line.transport.resume_reading()
            await asyncio.sleep(0)


async def never_reads(door: Door) -> None:
    async with _inside(door) as guest:
        await _ask(guest, FLOOD)
        guest.line.transport.pause_reading()
        await asyncio.Event().wait()


async def vanishes(door: Door) -> None:
    """In the middle of a turn, with a reset; then it comes back and does it again."""
    while True:
        async with _inside(door) as guest:
            await _ask(guest, STALL)
            await asyncio.sleep(PAUSE_S)
            guest.line.vanish()


async def floods(door: Door) -> None:
    """Valid requests, notifications, and what is no JSON, as fast as they are taken."""
    async with _inside(door) as guest:
        said = [
            b'{"jsonrpc":"2.0","id":"x","method":"session/list","params":{}}',
            b'{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"nobody"}}',
            b'{"jsonrpc":"2.0","id":"x","method":"_what/is","params":{}}',
            b"{this is no JSON",
        ]
        data = b"".join(frame(TEXT, one) for one in said) * 50
        while not guest.line.closed.is_set():
            guest.line.transport.write(data)
            await guest.line.flush()
            await asyncio.sleep(0.001)


async def stops_in_the_handshake(door: Door) -> None:
    line = await connected(door.url, _unheard)
    line.transport.write(b"GET /acp HTTP/1.1\r\nHost: ")
    await _stays(line)


async def answers_no_ping(door: Door) -> None:
    async with _inside(door) as guest:
        guest.line.answers_pings = False
        await _stays(guest.line)


async def sends_too_much(door: Door) -> None:
    """One message of a size that nobody takes, again and again."""
    while True:
        line = await shaken(door.url, door.headers, _unheard)
        line.transport.write(frame(TEXT, bytes(door.most_bytes + 1)))
        await _stays(line)
        await asyncio.sleep(PAUSE_S)


async def guesses_tokens(door: Door) -> None:
    number = 0
    while True:
        number += 1
        line = await shaken(door.url, {"Authorization": f"Bearer guess-{number}"}, _unheard)
        line.abort()
        await asyncio.sleep(PAUSE_S)


async def comes_from_elsewhere(door: Door) -> None:
    """A web page that found the port."""
    while True:
        line = await shaken(door.url, {**door.headers, "Origin": "https://elsewhere.example"}, _unheard)
        line.abort()
        await asyncio.sleep(PAUSE_S)


async def speaks_no_text(door: Door) -> None:
    """Binary frames first, which are nothing to us; then what is no frame."""
    while True:
        line = await shaken(door.url, door.headers, _unheard)
        line.transport.write(frame(BINARY, bytes(range(256))) * 20 + frame(TEXT, b"\xff\xfe", head=0xF0))
        await _stays(line)
        await asyncio.sleep(PAUSE_S)


async def pings(door: Door) -> None:
    async with _inside(door) as guest:
        data = frame(PING, b"x" * 125) * 200
        while not guest.line.closed.is_set():
            guest.line.transport.write(data)
            await guest.line.flush()
            await asyncio.sleep(0.001)


ACTS: tuple[Act, ...] = (
    reads_slowly,
    never_reads,
    vanishes,
    floods,
    stops_in_the_handshake,
    answers_no_ping,
    sends_too_much,
    guesses_tokens,
    comes_from_elsewhere,
    speaks_no_text,
    pings,
)


@asynccontextmanager
async def harassed(door: Door) -> AsyncIterator[None]:
    """All of them at once, for as long as the block lasts."""
    async with asyncio.TaskGroup() as acting:
        acts = [acting.create_task(_act(act, door)) for act in ACTS]
        await asyncio.sleep(10 * PAUSE_S)
        yield
        for act in acts:
            act.cancel()


async def _act(act: Act, door: Door) -> None:
    while True:
        try:
            await act(door)
        except (AssertionError, OSError):  # it was thrown out, and comes back
            await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def _inside(door: Door) -> AsyncIterator[Guest]:
    guest = Guest(door.cwd)
    guest.line = await shaken(door.url, door.headers, guest.on_message)
    try:
        await guest.introduce()
        await guest.open()
        yield guest
    finally:
        guest.line.abort()


async def _ask(guest: Guest, text: str) -> None:
    """Have a turn under way that has begun to speak: one that fails before that is tried again."""
    params = {"sessionId": guest.session, "prompt": [{"type": "text", "text": text}]}
    while not guest.words:
        turn = asyncio.ensure_future(guest.call("session/prompt", **params))
        try:
            while not turn.done() and not guest.words:  # noqa: ASYNC110 - of two things, the first
                await asyncio.sleep(PAUSE_S)
        finally:
            turn.cancel()


async def _stays(line: WebSocket) -> None:
    try:
        await line.closed.wait()
    finally:
        line.abort()


def _unheard(_: bytes) -> None:
    """It does not listen."""
