"""How an answer is sent, and where the fault breaks it."""

from typing import NoReturn

import anyio
from msgspec import Struct
from msgspec.json import encode
from msgspec.structs import replace

from tests.support.provider.faults import SOONEST, Cut, Fault, Where
from tests.support.provider.shape import THOUGHTS, Answer, Ask, Reel, Shape
from tests.support.provider.wire import Gone, Wire, chunk, head

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
_EVENTS = "text/event-stream; charset=utf-8"
_BROKEN = Fault("500", 500)
_BROKEN_EVENT = b'data: {"choices": [{"delta": {"content": \n\n'
_DONE = b"data: [DONE]\n\n"


class Pace(Struct, frozen=True):
    """Seconds from one piece to the next, and before the connection breaks: time for a client to have read them."""

    between: float = 0.01
    before_cut: float = 0.1


async def play(wire: Wire, shape: Shape, ask: Ask, answer: Answer, fault: Fault, pace: Pace) -> None:
    """Answer one request. Raises Gone when the connection cannot be used again."""
    match fault.cut:
        case _ if fault.status:
            await _refuse(wire, shape, fault)
        case _ if fault.name == "garbage":
            await wire.send(head(200, "text/html", len(_HTML), {}) + _HTML)
        case Cut.RESET | Cut.STALL as cut, Where.HEADERS:
            await _break(wire, cut)
        case Cut.EOF as cut, Where.HEADERS:
            await wire.send(head(200, _EVENTS, None, shape.headers())[:40])
            await _break(wire, cut)
        case cut:
            thinking = Answer(answer.words, answer.thoughts or THOUGHTS, answer.call)
            spoken = thinking if cut and cut[1] is Where.THINK else answer
            if ask.is_stream:
                await _stream(wire, shape, _odd(shape.reel(ask, spoken), fault), cut, pace)
            else:
                await _at_once(wire, shape, encode(shape.whole(ask, spoken)), cut, pace)


async def denied(wire: Wire, shape: Shape, fault: Fault) -> bool:
    """What is no request to the model, failed by a fault that comes before any word; False for all others.

    Raises Gone when the connection cannot be used again.
    """
    match fault.cut:
        case _ if fault.status:
            await _refuse(wire, shape, fault)
        case _ if fault.name == "garbage":
            await wire.send(head(200, "text/html", len(_HTML), {}) + _HTML)
        case Cut.RESET | Cut.STALL as cut, Where.HEADERS:
            await _break(wire, cut)
        case _:
            return False
    return True


async def _refuse(wire: Wire, shape: Shape, fault: Fault) -> None:
    told = shape.failure(fault)
    body, status = encode(told), fault.status if "promptFeedback" not in told else 200
    more = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
    await wire.send(head(status, "application/json", len(body), shape.headers() | more) + body)


def _odd(reel: Reel, fault: Fault) -> Reel:
    """With what is wrong in the middle of it, or at its end."""
    if fault.name == "garbled-mid":
        return replace(reel, words=[*reel.words[:SOONEST], _BROKEN_EVENT, *reel.words[SOONEST:]])
    if fault.name == "no-done":
        return replace(reel, ending=reel.ending.removesuffix(_DONE))
    return reel


async def _stream(wire: Wire, shape: Shape, reel: Reel, cut: tuple[Cut, Where] | None, pace: Pace) -> None:
    await wire.send(head(200, _EVENTS, None, {"cache-control": "no-cache", **shape.headers()}))
    for piece in _pieces(reel, cut):
        await wire.send(chunk(piece))
        await anyio.sleep(pace.between)
    match cut:
        case (Cut.RESET | Cut.STALL as how, _):
            await anyio.sleep(pace.before_cut)
            await _break(wire, how)
        case _:
            await wire.send(chunk(b""))


def _pieces(reel: Reel, cut: tuple[Cut, Where] | None) -> list[bytes]:
    """Those that are sent, in order."""
    match cut:
        case None:
            return [reel.opening, *reel.thoughts, *reel.words, reel.ending]
        case Cut.ERROR, Where.HEADERS:
            return [reel.error_first]
        case how, where:
            sent = {
                Where.HEADERS: [],
                Where.OPEN: [],
                Where.FIRST: [reel.opening],
                Where.THINK: [reel.opening, *reel.thoughts[:SOONEST]],
                Where.MID: [reel.opening, *reel.words[:SOONEST]],
            }[where]
            return [*sent, reel.error] if how is Cut.ERROR else sent


async def _at_once(wire: Wire, shape: Shape, body: bytes, cut: tuple[Cut, Where] | None, pace: Pace) -> None:
    match cut:
        case None:
            await wire.send(head(200, "application/json", len(body), shape.headers()) + body)
        case Cut.ERROR, _:
            await _refuse(wire, shape, _BROKEN)
        case how, where:
            sent = body[: len(body) // 2] if where is Where.MID else b""
            await wire.send(head(200, "application/json", len(body), shape.headers()) + sent)
            await anyio.sleep(pace.before_cut)
            await _break(wire, how)


async def _break(wire: Wire, how: Cut) -> NoReturn:
    if how is Cut.STALL:
        await wire.gone()
    elif how is Cut.RESET:
        wire.reset()
    raise Gone
