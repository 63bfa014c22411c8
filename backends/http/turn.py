"""One attempt at a provider: a request goes out, its stream comes back as updates, usage and a stop reason.

A stream without the end that its kind knows is never `end_turn`, and nothing is sent twice.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import httpx2
import msgspec
from msgspec import Raw, Struct

from acp_broker.clock import Clock
from acp_broker.contract import Client as Frontend
from acp_broker.contract import Finished, TurnRequest
from acp_broker.core import http_failures
from acp_broker.core.evidence import Evidence
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import StopReason
from acp_broker.core.redact import plain
from acp_broker.core.rules import Rule, fitting, of_rule, ruled
from acp_broker.errors import BackendFailure, WireError
from acp_broker.wire.acp import Update, update
from backends.http import failing
from backends.http.client import Client, is_read_whole, pieces
from backends.http.clocks import Watch
from backends.http.speaking import Piece, Voice
from backends.http.sse import Event, EventStream
from backends.http.usage import Usage

# What comes at once is heard in parts of this size, however much of it there is.
_MOST_WAITING = 1024 * 1024
# Behind the end of the answer: for what it has used, and for the end of the body that lets the connection live on.
_TRAILER_S, _TAIL_S = 5.0, 0.2


class Decoder(Protocol):
    """One answer's events, in a kind's own language. `stop` is set once its end has come, `code` is the provider's word
    for it, `why` its sentence; `is_over` when nothing more can follow."""

    stop: StopReason | None
    code: str | None
    why: str | None
    usage: Usage | None
    is_over: bool

    def pieces(self, event: Event) -> Iterable[Piece]:
        """What an event says. Raises BackendFailure for an error, and for what is none of this language."""


class Order(Struct, frozen=True):
    """What is sent where, and how long its server may take to accept it, and then to begin."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_s: float
    first_byte_s: float
    context_window: int | None = None
    rules: tuple[Rule, ...] = ()

    def __repr__(self) -> str:
        return f"Order({self.url})"


async def converse(
    order: Order,
    decoder: Decoder,
    turn: TurnRequest,
    frontend: Frontend,
    client: Client,
    clock: Clock,
    spent: Callable[[Usage], float],
) -> Finished:
    """Run one attempt to its end. `spent` is told what was used, and says what the session has cost here so far.

    Raises BackendFailure.
    """
    watch, voice = Watch(clock), Voice()
    answer = _Answer(order, decoder, frontend, client, clock, watch, voice)
    turn.cancel_asked.then(watch.call_off)
    with watch.block():
        await answer.read()
    if turn.cancel_asked.is_set():
        return Finished("cancelled", _result("cancelled", decoder.usage))
    stop = answer.end()
    usage = decoder.usage
    if usage is not None:
        cost = spent(usage)
        if order.context_window is not None:
            frontend.show([_used(usage, order.context_window, cost)])
    return Finished(stop, _result(stop, usage))


class _Answer:
    """One request and what comes back."""

    def __init__(
        self,
        order: Order,
        decoder: Decoder,
        frontend: Frontend,
        client: Client,
        clock: Clock,
        watch: Watch,
        voice: Voice,
    ) -> None:
        self._order = order
        self._decoder = decoder
        self._frontend = frontend
        self._client = client
        self._clock = clock
        self._watch = watch
        self._voice = voice
        self._is_answered = False
        # Its last event: where there is no end, it may be an error in words of its own.
        self._last = b""
        self._events = EventStream()
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        # How long is waited behind the end of the answer, once that has come.
        self._grace_s: float | None = None
        self._error: BackendFailure | None = None

    async def read(self) -> None:
        try:
            await self._read()
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            if self._decoder.stop is None:
                failure = failing.of_transport(error, self._client, is_answered=self._is_answered)
                raise BackendFailure(failure) from error

    def end(self) -> StopReason:
        """The stop reason. Raises BackendFailure where the answer has none, or nothing in it.

        Whoever refuses before its first word leaves the turn to others; behind words it has answered so.
        """
        if self._error is not None:
            raise self._error
        stop, code, host = self._decoder.stop, self._decoder.code, self._client.host
        if stop is None:
            text = f"{host} ended its answer in the middle"
            failure = Failure(FailureKind.SERVER_ERROR, text, seen_at="submitted")
            raise BackendFailure(ruled(self._order.rules, failure, self._last))
        if rule := fitting(self._order.rules, Evidence(), code):
            text = f"{host} ended its answer as {code}"
            raise BackendFailure(of_rule(rule, Failure(rule.kind, text, code, seen_at="submitted")))
        if stop == "refusal" and not self._voice.has_spoken:
            text = f"{host} refuses to answer this prompt: {plain(self._decoder.why or code or '')}"
            raise BackendFailure(Failure(FailureKind.GUARDRAIL, text, code, seen_at="submitted"))
        if stop == "end_turn" and not self._voice.has_spoken:
            text = f"{host} answered with nothing"
            raise BackendFailure(Failure(FailureKind.EMPTY_TURN, text, seen_at="submitted"))
        return stop

    async def _read(self) -> None:
        order, client = self._order, self._client
        self._watch.arm(order.connect_s, failing.not_connected(client.host, order.connect_s))
        async with client.post(order.url, order.headers, order.body, self._sending) as response:
            self._is_answered = True
            await failing.check(response, client.host, self._clock, order.rules)
            self._watch.disarm()
            await self._stream(response)

    def _sending(self) -> None:
        limit = self._order.first_byte_s
        text = f"{self._client.host} did not begin to answer within {limit:g} s"
        self._watch.arm(limit, Failure(FailureKind.SILENT, text, seen_at="submitted"))
        self._frontend.reached("submitted")

    async def _stream(self, response: httpx2.Response) -> None:
        first = b""
        take = self._heard if is_read_whole(response) else self._take
        async for piece in pieces(response):
            first = first or piece
            take(piece)
        self._hear()
        if self._decoder.stop is None and http_failures.is_page(first):
            raise BackendFailure(failing.of_page(first, self._client.host))
        if self._decoder.stop is None and (bare := self._events.bare()):
            self._hear_bare(bare)

    def _hear_bare(self, bare: bytes) -> None:
        """Some answer whole, whatever they are asked for and whatever they call it; some break off with an error so."""
        try:
            self._say([Event("", bare)])
        except BackendFailure as error:
            if error.failure.kind is not FailureKind.UNCLASSIFIED:
                raise
        if self._decoder.stop is None:
            failure = ruled(self._order.rules, http_failures.from_event(bare), bare)
            if failure.kind is not FailureKind.UNCLASSIFIED:
                raise BackendFailure(failure)

    def _take(self, piece: bytes) -> None:
        """What one read of the connection held comes in pieces here, without a pause between: it is heard at once."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._hear_soon)
        self._waiting.append(piece)
        self._waiting_size += len(piece)
        if self._waiting_size > _MOST_WAITING:
            self._hear()

    def _hear_soon(self) -> None:
        try:
            self._hear()
        except BackendFailure as error:
            self._error = error
            self._watch.call_off()
        except BaseException:  # a bug of ours: the loop's own handler tells of it
            self._watch.call_off()
            raise

    def _hear(self) -> None:
        heard, self._waiting, self._waiting_size = b"".join(self._waiting), [], 0
        if heard and self._error is None:
            self._heard(heard)

    def _heard(self, heard: bytes) -> None:
        try:
            events = self._events.feed(heard)
        except WireError as error:
            raise BackendFailure(Failure(FailureKind.GARBLED, str(error), seen_at="submitted")) from error
        self._say(events)
        grace_s = _TAIL_S if self._decoder.is_over else _TRAILER_S if self._decoder.stop is not None else None
        if grace_s is not None and grace_s != self._grace_s:  # keep-alives behind the end do not prolong it
            self._grace_s = grace_s
            self._watch.arm(grace_s, None)

    def _say(self, events: list[Event]) -> None:
        """Show what the events say, up to the one that is an error; of first words with an error behind them nothing:
        another backend may answer instead."""
        decoder, pieces = self._decoder, list[Piece]()
        if decoder.is_over:
            return
        try:
            for event in events:
                pieces.extend(decoder.pieces(event))
        except BackendFailure as error:
            failure = ruled(self._order.rules, error.failure, event.data)
            if self._voice.has_spoken:
                self._show(pieces)
                if failure.kind is FailureKind.GUARDRAIL:
                    # Told as an error, and yet what an answer may end with.
                    decoder.stop, decoder.code, decoder.is_over = "refusal", failure.code, True
                    return
            raise BackendFailure(failure) from error
        if events:
            self._last = events[-1].data
        self._show(pieces)

    def _show(self, pieces: list[Piece]) -> None:
        if updates := self._voice.updates(pieces):
            self._grace_s = None
            self._frontend.show(updates)


def _result(stop: StopReason, usage: Usage | None) -> Raw:
    told = {} if usage is None else {"usage": msgspec.structs.replace(usage, cost=None)}
    return Raw(msgspec.json.encode({"stopReason": stop, **told}))


def _used(usage: Usage, window: int, cost: float) -> Update:
    price = {"cost": {"amount": cost, "currency": "USD"}} if cost else {}
    return update("usage_update", used=usage.total_tokens, size=window, **price)
