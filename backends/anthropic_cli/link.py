"""The line to one Claude Code process: what we ask finds its answer, all else goes to whoever listens, in order."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec
from anyio import CancelScope, Event, move_on_after
from msgspec import Raw

from acp_broker.contract import Child
from acp_broker.core import classify, redact
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Phase
from acp_broker.errors import INVALID_PARAMS, BackendFailure, RpcError
from acp_broker.wire import jsonrpc
from backends.anthropic_cli import wire
from backends.odd_lines import Log, OddLines

# How long the exit status may take to follow the end of stdout.
EXIT_GRACE_S = 0.2


class Listener(Protocol):
    """Raises msgspec.DecodeError for a message of another shape."""

    def heard(self, head: wire.Head, line: bytes) -> None: ...

    def flush(self) -> None:
        """One read is over."""

    def left(self, end: Failure) -> None:
        """It has ended, and nothing more will come."""


class Link:
    """One process. `phase` is what its end is blamed on."""

    def __init__(self, process: Child, listener: Listener, log: Log) -> None:
        self.phase: Phase = "starting"
        self.process = process
        self._listener = listener
        self._odd = OddLines("stream-json", log)
        self._last = 0
        self._questions: dict[str, asyncio.Future[Raw]] = {}
        self._has_left = False
        self._is_ended = Event()
        self._end = Failure(FailureKind.CRASHED, "Claude Code ended")

    async def read(self) -> None:
        """Read it to its end, end what is left of it, then fail whoever waits for it."""
        garbled: Failure | None = None

        def on_lines(lines: list[bytes]) -> None:
            nonlocal garbled
            if garbled is None:
                try:
                    self._read(lines)
                except BackendFailure as error:
                    garbled = error.failure
                    self.process.kill()

        try:
            await self.process.run(on_lines)
            self._has_left = True
            with move_on_after(EXIT_GRACE_S):
                await self.process.wait()
            exited = self.process.returncode
            with CancelScope(shield=True):
                await self.process.stop(eof_grace_s=0, term_grace_s=0)
            self._end = garbled or classify.from_exit(exited, self.process.stderr_tail(), seen_at=self.phase)
        finally:
            for question in self._questions.values():
                if not question.done():
                    question.set_exception(BackendFailure(self._end))
            self._listener.left(self._end)
            self._is_ended.set()

    @property
    def has_left(self) -> bool:
        return self._has_left or self.process.returncode is not None

    async def ended(self) -> Failure:
        await self._is_ended.wait()
        return self._end

    def write(self, line: bytes) -> None:
        self.process.write(line)

    def ask(self, subtype: str, then: Callable[[asyncio.Future[Raw]], None], **members: object) -> None:
        """Ask it and go on; `then` is given the answer, RpcError, or BackendFailure once it is gone."""
        self._asked(subtype, members).add_done_callback(then)

    async def answer(self, subtype: str, **members: object) -> Raw:
        """Ask it. Raises RpcError as it answered, BackendFailure once it is gone."""
        if self.has_left:
            raise BackendFailure(await self.ended())
        return await self._asked(subtype, members)

    def _asked(self, subtype: str, members: dict[str, object]) -> "asyncio.Future[Raw]":
        self._last += 1
        question: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        self._questions[str(self._last)] = question
        self.process.write(wire.asks(self._last, subtype, **members))
        return question

    def _read(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                self._hear(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                whole = jsonrpc.mended(line)
                self._odd.add(line) if whole is None else self._read([whole])
        self._listener.flush()

    def _hear(self, line: bytes) -> None:
        if len(line) > jsonrpc.SURELY_SHALLOW or not line.isascii():
            jsonrpc.check(line)
        head = wire.head(line)
        if head.type == "control_response":
            self._answered(wire.replied(line).response)
        else:
            self._listener.heard(head, line)

    def _answered(self, reply: wire.Reply) -> None:
        question = self._questions.pop(reply.request_id, None)
        if question is None or question.done():
            return
        if reply.subtype == "error":
            question.set_exception(RpcError(INVALID_PARAMS, redact.plain(reply.error)))
        else:
            question.set_result(reply.response)
