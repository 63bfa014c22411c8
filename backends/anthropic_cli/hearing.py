"""What one Claude Code process says, heard for the turn that runs: shown, asked, and in the end its outcome."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from acp_broker.contract import CancelAsked, Client, Finished, Tools
from acp_broker.core import redact
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from acp_broker.wire.acp import Update, update
from backends.anthropic_cli import ending, wire
from backends.anthropic_cli.asking import Asks
from backends.anthropic_cli.showing import Showing


class Turn:
    """A prompt that was sent with `uuid`, and what is known of its turn so far."""

    def __init__(self, uuid: str, client: Client, cancel_asked: CancelAsked) -> None:
        self.uuid = uuid
        self.client = client
        self.cancel_asked = cancel_asked
        self.end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        # It waits, behind a turn perhaps that Claude Code has begun by itself, for a task in its background.
        self.is_queued = False
        # How it marked the failure that it worded last.
        self.error: str | None = None


class Hearing:
    """link.Listener. `turn` is the one that runs; what is said outside of it goes to `tools.between`."""

    def __init__(self, session: str, cwd: str, tools: Tools, write: Callable[[bytes], None]) -> None:
        self.turn: Turn | None = None
        self._tools = tools
        self._showing = Showing(cwd)
        self._asks = Asks(session, write)
        self._write = write
        self._batch: list[Update] = []
        self._limit: wire.Limit | None = None
        # It says when it begins with a prompt.
        self._tells_starts = False

    def begin(self, turn: Turn) -> "asyncio.Future[Finished]":
        """From here on it is heard for this turn; how it ends, or BackendFailure."""
        assert self.turn is None, "a prompt still runs in it"
        self.turn = turn
        # What it still says for a task in its background comes before that.
        turn.is_queued = self._tells_starts
        self._limit = None
        self._showing.begin()
        return turn.end

    def heard(self, head: wire.Head, line: bytes) -> None:
        match head.type:
            case "stream_event" if head.parent is None:
                self._show(self._showing.streamed(wire.streamed(line).event))
            case "assistant" if head.parent is None:
                self._said(wire.said(line))
            case "user":
                self._show(self._showing.results(wire.said(line).message))
            case "result":
                self._finished(line)
            case "system":
                self._noted(head.subtype, line)
            case "rate_limit_event":
                self._limit = wire.limited(line).limit
            case "command_lifecycle":
                self._queued(wire.lifecycle(line))
            case "control_request":
                self._asked(wire.control(line))
            case "control_cancel_request":
                self.flush()
                self._asks.withdraw(wire.control(line).request_id)

    def flush(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            self._listener.show(batch)

    def left(self, end: Failure) -> None:
        turn, self.turn = self.turn, None
        if turn is not None and not turn.end.done():
            turn.end.set_exception(BackendFailure(end))

    @property
    def _listener(self) -> Client:
        return self._tools.between if self.turn is None or self.turn.is_queued else self.turn.client

    def _show(self, updates: Iterable[Update]) -> None:
        self._batch.extend(updates)

    def _said(self, said: wire.Said) -> None:
        if said.error is None:
            self._show(self._showing.whole(said.message))
        if self.turn is not None and not self.turn.is_queued:
            # What is said behind a failure tells that it went on.
            self.turn.error = said.error

    def _noted(self, subtype: str | None, line: bytes) -> None:
        if subtype == "api_retry" and self.turn is not None:
            self.flush()
            self.turn.client.reached("retrying")
        elif subtype == "status" and (mode := wire.status(line).mode) is not None:
            self._show([update("current_mode_update", currentModeId=mode)])

    def _queued(self, cycle: wire.Lifecycle) -> None:
        turn = self.turn
        if turn is None or cycle.prompt != turn.uuid:
            return
        self.flush()
        if turn.is_queued and cycle.state == "cancelled" and not turn.end.done():
            # It was never begun: no result follows.
            self.turn = None
            turn.end.set_result(ending.ended("cancelled"))
        turn.is_queued = cycle.state == "queued"
        self._tells_starts |= cycle.state == "started"

    def _asked(self, asked: wire.Control) -> None:
        self.flush()
        try:
            request = wire.asking(asked.request)
        except msgspec.DecodeError:
            request = wire.Asking()
        if request.subtype == "can_use_tool":
            self._asks.put(asked.request_id, request, self._showing.call(request), self._listener)
        else:
            self._write(wire.refuses(asked.request_id, "acp-broker has no answer to this"))

    def _finished(self, line: bytes) -> None:
        try:
            result = wire.result(line)
        except msgspec.DecodeError as error:
            # Passed over, it would leave a turn without an end.
            self.flush()
            text = redact.plain(f"ended its turn with something else: {error}")
            self.left(Failure(FailureKind.GARBLED, text, seen_at="submitted"))
        else:
            self._ended(result)

    def _ended(self, result: wire.Result) -> None:
        turn = self.turn
        if turn is None or not result.ends(turn.uuid, is_queued=turn.is_queued):
            return
        self._show(ending.used(result, self._showing.context))
        self.flush()
        self.turn = None
        if turn.end.done():
            return
        if turn.cancel_asked.is_set():
            turn.end.set_result(ending.ended("cancelled", result.usage))
            return
        try:
            turn.end.set_result(ending.finished(result, turn.error, self._limit, self._tools.clock.wall()))
        except BackendFailure as failure:
            turn.end.set_exception(failure)
