"""JSON-RPC with one agent process: its answers find our questions, its words go to whoever listens.

    agent --lines of one read--> Peer --|-- session/update, in order, one `show` per read --> listener
                                        |-- requests   --> listener.ask --> the answer, under the agent's own id
                                        `-- responses  --> the question of ours that waits for it

Everything is handled in the order it came, on the reader's own stack: no task per message.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec
from msgspec import UNSET, Raw, Struct

from acp_broker.contract import Asked, Client
from acp_broker.core.failures import Failure
from acp_broker.errors import INVALID_PARAMS, METHOD_NOT_FOUND, BackendFailure, RpcError
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Answer, Update
from backends.acp.numbering import Numbers, begins
from backends.odd_lines import Log, OddLines

# Updates for a session whose id is still on its way.
_MOST_EARLY = 200
# In digits: more than we ever count to, and fewer than Python refuses to read.
_LONGEST_ID = 19


class Line(Protocol):
    """Where lines to the agent go."""

    def write(self, data: bytes) -> None: ...


class _Head(Struct):
    """What is read of an update; the rest of it is passed on as it is."""

    kind: str = msgspec.field(name="sessionUpdate", default="")
    message: str | None = msgspec.field(name="messageId", default=None)
    tool_call: str | None = msgspec.field(name="toolCallId", default=None)


class _Question(Struct):
    """One of ours. `line` is what was sent, of one that is asked again over another connection."""

    future: asyncio.Future[Raw]
    then: Callable[[], None] | None
    line: bytes | None


class _Cancelled(Struct):
    request: Raw = msgspec.field(name="requestId")


_frame = jsonrpc.frame
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_head = msgspec.json.Decoder(_Head).decode


class Peer:
    """`listener` hears what the agent says; None swallows it (a replay)."""

    def __init__(self, line: Line, listener: Client | None, log: Log) -> None:
        self.listener = listener
        self.session: Raw | None = None
        # The beginnings of what the agent was not offered, whatever the frontend can do.
        self.withheld: tuple[str, ...] = ()
        # How many updates came while nobody listened: what a session is loaded with.
        self.swallowed = 0
        # Of an agent that numbers its updates.
        self.numbers: Numbers | None = None
        # A prompt that such a one has not begun with, by its key, and who listens from then on.
        self.awaited: tuple[str, Client] | None = None
        self._line = line
        self._log = log
        self._odd = OddLines("JSON-RPC", log)
        self._last_id = 0
        self._questions: dict[int, _Question] = {}
        self._asked: dict[bytes, Asked] = {}
        self._early: list[Update] = []
        self._failure: Failure | None = None

    def ask(
        self, method: str, params: object, then: Callable[[], None] | None = None, *, is_lasting: bool = False
    ) -> asyncio.Future[Raw]:
        """Ask the agent; the future gives its result or raises RpcError, or BackendFailure once it is gone.

        `then` is called on the very line of the answer, before what follows it is read. One that is lasting outlives
        the connection: `repeat` asks it again.
        """
        # Ids from 0, as the agents' own SDKs count them.
        number, self._last_id = self._last_id, self._last_id + 1
        future: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        future.add_done_callback(partial(self._over, number))
        if self._failure is not None:
            future.set_exception(BackendFailure(self._failure))
            return future
        line = jsonrpc.request(number, method, params)
        self._questions[number] = _Question(future, then, line if is_lasting else None)
        self._line.write(line)
        return future

    def tell(self, method: str, params: object) -> None:
        self._line.write(jsonrpc.notification(method, params))

    def fail(self, failure: Failure) -> None:
        """The agent is gone: every open question fails, and every later one."""
        self._failure = failure
        questions, self._questions = self._questions, {}
        for question in questions.values():
            if not question.future.done():
                question.future.set_exception(BackendFailure(failure))

    @property
    def is_gone(self) -> bool:
        """Whether nothing that is asked now is answered."""
        return self._failure is not None

    def lost(self, failure: Failure) -> None:
        """The connection is gone, its agent perhaps not: what is lasting waits, everything else fails.

        Its questions are taken back: one that is still open is asked again by who finds the agent.
        """
        lasting = {number: one for number, one in self._questions.items() if one.line is not None}
        self._questions = {number: one for number, one in self._questions.items() if one.line is None}
        self.fail(failure)
        self._questions = lasting
        asked, self._asked = self._asked, {}
        for one in tuple(asked.values()):
            one.withdraw()

    def found(self, line: Line) -> None:
        """Another connection to the agent that was lost."""
        self._failure = None
        self._line = line

    def repeat(self) -> None:
        """Ask once more what is lasting."""
        for question in tuple(self._questions.values()):
            if question.line is not None:
                self._line.write(question.line)

    def named(self, session: Raw) -> None:
        """The agent's id of the session is known: what came before it is heard now."""
        self.session = session
        early, self._early = self._early, []
        mine = [update for update in early if update.params.get("sessionId") == session]
        if mine and self.listener is not None:
            self.listener.show(mine)

    def on_lines(self, lines: list[bytes]) -> None:
        """One read of the agent. Raises BackendFailure (garbled) for an agent that speaks something else."""
        batch: list[Update] = []
        for line in lines:
            try:
                if len(line) > jsonrpc.SURELY_SHALLOW or not line.isascii():
                    jsonrpc.check(line)
                frame = _frame(line)
                if frame.method == "session/update" and frame.id is UNSET:
                    params = _members(frame.params or b"{}")
                    head = _head(params["update"])
                    if self.numbers is not None and not self.numbers.is_new(head.kind, params, head.message):
                        continue
                    if params.get("sessionId") == self.session:
                        batch.append(Update(head.kind, params, head.message, head.tool_call))
                    else:
                        self._not_ours(Update(head.kind, params, head.message, head.tool_call))
                    continue
            except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError):
                # What was said before it is heard before it: it may be the line too many.
                batch = self._show(batch)
                whole = jsonrpc.mended(line)
                if whole is None:
                    self._odd.add(line)
                else:
                    self.on_lines([whole])
                continue
            if batch:
                batch = self._show(batch)
            self._message(line)
        self._show(batch)

    def _over(self, number: int, future: "asyncio.Future[Raw]") -> None:
        """A question that was given up is forgotten; one that nobody waits for any more may fail in peace."""
        self._questions.pop(number, None)
        if not future.cancelled():
            future.exception()

    def _show(self, batch: list[Update]) -> list[Update]:
        if self.listener is None:
            self.swallowed += len(batch)
        elif batch:
            self.listener.show(batch)
        return []

    def _not_ours(self, update: Update) -> None:
        # goose and vibe speak before the answer that carries the session's id.
        if self.session is None and len(self._early) < _MOST_EARLY:
            self._early.append(update)

    def _message(self, line: bytes) -> None:
        match jsonrpc.read(line):
            case jsonrpc.Request(id, method, params):
                self._requested(id, method, params)
            case jsonrpc.Notification(method, params):
                try:
                    self._notified(method, params)
                except msgspec.DecodeError:
                    self._odd.add(line)
            case jsonrpc.Response(id, outcome):
                self._answered(id, outcome)
            case jsonrpc.Malformed():
                self._odd.add(line)

    def _requested(self, id: Raw, method: str, params: Raw | None) -> None:  # noqa: A002 - JSON-RPC's own word
        key = bytes(id)
        # Of this connection: on another one the id is another question's.
        asked, line = self._asked, self._line

        def answered(outcome: Answer) -> None:
            asked.pop(key, None)
            line.write(jsonrpc.answer(id, outcome))

        if method.startswith(self.withheld):
            answered(RpcError(METHOD_NOT_FOUND, f"{method} was not offered"))
            return
        try:
            members = _members(params) if params is not None else {}
        except msgspec.DecodeError as error:
            answered(RpcError(INVALID_PARAMS, f"{method}: {error}"))
            return
        if self.listener is None:
            answered(RpcError(INVALID_PARAMS, f"{method}: nobody listens while a session is being loaded"))
            return
        is_answered = False

        def once(outcome: Answer) -> None:
            nonlocal is_answered
            is_answered = True
            answered(outcome)

        question = self.listener.ask(method, members, once)
        if not is_answered:
            asked[key] = question

    def _notified(self, method: str, params: Raw | None) -> None:
        if method == "$/cancel_request":
            asked = self._asked.get(bytes(msgspec.json.decode(params or b"{}", type=_Cancelled).request))
            if asked is not None:
                asked.withdraw()
        elif method.startswith("_acp-broker/"):
            # Between a broker and its client, which we are; our own clients are told of our turns.
            if self.awaited is not None and params is not None and begins(params, self.awaited[0]):
                self.listener, self.awaited = self.awaited[1], None
        elif method.startswith("_") or method == "elicitation/complete":
            if self.listener is not None:
                self.listener.tell(method, _members(params) if params is not None else None)
        else:
            self._log("agent_notification", method=method)

    def _answered(self, id: Raw | None, outcome: Answer) -> None:  # noqa: A002
        key = bytes(id) if id is not None else b""
        question = self._questions.pop(int(key), None) if key.isdigit() and len(key) < _LONGEST_ID else None
        if question is None:
            return
        future = question.future
        if question.then is not None:
            question.then()
        if future.done():
            return
        if isinstance(outcome, RpcError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
