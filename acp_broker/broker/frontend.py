"""One frontend's connection: the ACP agent that it believes to talk to.

Every message is handled in the order it came, synchronously where nothing has to be waited for; a request that must
wait runs as a task of this connection and answers when it is done.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import msgspec
from anyio import Event, Lock, create_task_group, to_thread
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from msgspec import Raw

from acp_broker.broker import methods
from acp_broker.broker.asked import LONG_BYTES, unpacked
from acp_broker.broker.guard import call, guarded
from acp_broker.broker.limit import within
from acp_broker.broker.numbers import Seen
from acp_broker.broker.outbox import FULL_BYTES, Outbox
from acp_broker.broker.params import Then
from acp_broker.broker.replies import reply_to, reply_to_failure
from acp_broker.broker.terms import Terms
from acp_broker.broker.whom import Whom
from acp_broker.core.failures import Failure
from acp_broker.core.names import SessionId
from acp_broker.edge.channel import LAST_WORDS_S, Channel
from acp_broker.errors import (
    BUSY,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    REQUEST_CANCELLED,
    BrokerError,
    RpcError,
    SessionInUse,
)
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Answer
from acp_broker.wire.client import Can
from acp_broker.wire.jsonrpc import Malformed, Message, Notification, Request, Response

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.session import Session

# Requests of one client that wait for their answers; prompts wait in their sessions' queues. More only cost memory.
MOST_OPEN = 1_000

# Log lines of one kind about one client; it may send nonsense for hours. The rest is counted.
MOST_COMPLAINTS = 20

# A session's past is sent in pieces of this size: each holds the event loop for about a millisecond.
REPLAY_BYTES = 64 * 1024
# A record that shows nothing is read as well: it may be a file that an agent has written.
HIDDEN_BYTES = 4 * 1024


class Frontend:
    """An ACP client of ours. `can` and `whom` are what it declared; nothing before `initialize`."""

    def __init__(self, broker: "Broker", channel: Channel, number: int, terms: Terms) -> None:
        self.broker = broker
        self.number = number
        self.terms = terms
        self.name = terms.name
        self.can = Can()
        self.whom = Whom()
        self.is_initialized = False
        # Its connection is gone: nothing more is asked of it.
        self.has_left = False
        # What it has opened or taken up; those that it has closed may still be among them.
        self.sessions: set[SessionId] = set()
        self.outbox = Outbox(channel, number, self._on_drained)
        self._channel = channel
        self._drained = Event()
        # What is expensive is done one at a time, and paid for before the next: each may have a file open, and a client
        # may ask for a thousand and read none of them.
        self.costly = Lock()
        # The lines that were not heard yet: a long one, and those behind it.
        self._late: list[bytes] = []
        channel.when_drained(self._on_drained)
        self._tasks: TaskGroup
        self._open = 0
        # By event, how often this client did wrong.
        self._complaints: dict[str, int] = {}

    async def serve(self) -> None:
        """Answer until the frontend closes its side, and what it asked before that; then end what still runs for it."""
        async with create_task_group() as self._tasks:
            await self._channel.run(self._on_lines)
            # `printf ... | acp-broker stdio` is answered too; nothing but a prompt should take longer than that.
            clock, limit_s = self.broker.clock, self.broker.policy.session_new_s + 1
            last_words = clock.call_at(clock.now() + limit_s, self._tasks.cancel_scope.cancel)
        last_words.cancel()

    @property
    def unread_bytes(self) -> int:
        """What it was sent, or is to be sent, and has not taken."""
        return self.outbox.unsent() + self._channel.pending

    async def caught_up(self, session: SessionId | None = None) -> bool:
        """Wait until the frontend was sent all there is, of one session or of all; False where it stopped reading."""
        left = self.outbox.unsent(session)
        while left:
            pending = self._channel.pending
            with within(self.broker.clock, LAST_WORDS_S):
                await self._drained.wait()
            before, left = left, self.outbox.unsent(session)
            if left >= before and self._channel.pending >= pending:
                return False
        return True

    def close(self) -> None:
        self.outbox.close()
        for event, count in self._complaints.items():
            if count > MOST_COMPLAINTS:
                self.broker.log("more_of_it", frontend=self.name, what=event, count=count - MOST_COMPLAINTS)

    def attend(self, session: "Session", seen: Seen | None = None, *, is_back: bool = False) -> None:
        """See that what this session shows reaches this connection, from now on if it does not yet.

        `seen`: what was shown behind that reaches it as well; `is_back`: so does the beginning of the running turn.
        """
        if not self.outbox.is_attached(session.id):
            self.claim(session.id)
            here = seen or Seen(-1, session.log.shown)
            self.outbox.attach(session.id, session.log, here.position, here.number)
            self.broker.asks.attended(session.id, self.number)
            if self.can.numbers:
                session.prompts.tell(self, running=not is_back)

    def claim(self, session: SessionId) -> None:
        """Count a session among those it has open. Raises RpcError when it has as many as it may."""
        if session not in self.sessions:
            self._make_room()
            self.sessions.add(session)

    def _make_room(self) -> None:
        most, known = self.terms.most_sessions, self.broker.sessions
        if most is None or len(self.sessions) < most:
            return
        self.sessions = {name for name in self.sessions if name in known and not known[name].repose.is_closed}
        if len(self.sessions) >= most:
            text = f"this client has {most} sessions open, all that limits.sessionsPerClient allows; close one first"
            raise RpcError(BUSY, text)

    async def replay(self, frames: Iterable[bytes]) -> None:
        """Send a session's past as fast as the frontend reads it, in pieces that hold nobody up.

        A frame is empty for a record that shows nothing.
        """
        written = 0
        async with self.costly:
            for frame in frames:
                if frame:
                    self._channel.write(frame)
                written += len(frame) or HIDDEN_BYTES
                if written > REPLAY_BYTES:
                    await self.pay(written)
                    written = 0
                    await checkpoint()
                    while self._channel.pending > FULL_BYTES:
                        await self._drained.wait()
            await self.pay(written)

    async def pay(self, size: int) -> None:
        """Have so many bytes of work counted as what the client sends is, and wait until its limit allows for them."""
        wait_s = self._channel.charge(size)
        if wait_s > 0:
            await self.broker.clock.sleep(wait_s)

    def _on_drained(self) -> None:
        self._drained.set()
        self._drained = Event()

    def _on_lines(self, lines: list[bytes]) -> None:
        if self._late:
            self._late += lines
            return
        for index, line in enumerate(lines):
            if len(line) > LONG_BYTES:
                self._hear(map(jsonrpc.read, lines[:index]))
                self._late += lines[index:]
                self._channel.pause()
                self._tasks.start_soon(self._catch_up)
                return
        self._hear(map(jsonrpc.read, lines))

    async def _catch_up(self) -> None:
        """Hear what is late: a long line is read in a thread, and what came behind it waits for it."""
        late = self._late
        try:
            while late:
                if len(late[0]) > LONG_BYTES:
                    # One at a time, of all clients: two threads read no faster than one.
                    async with self.broker.reading:
                        message = await to_thread.run_sync(unpacked, late[0])
                else:
                    message = jsonrpc.read(late[0])
                self._hear((message,))
                del late[0]
        finally:
            late.clear()
            self._channel.resume()

    def _hear(self, messages: Iterable[Message]) -> None:
        for message in messages:
            match message:
                case Request() as request:
                    fault = call(self.broker.log, self._on_request, request)
                    if fault is not None:
                        self.answer(request, reply_to_failure(fault))
                case Notification() as notification:
                    call(self.broker.log, self._on_notification, notification)
                case Response(id, outcome):
                    call(self.broker.log, self._on_response, id, outcome)
                case Malformed(code, text, id):
                    self._complain("bad_message", why=text)
                    self._channel.write(jsonrpc.failure(id, RpcError(code, text)))

    def _on_request(self, request: Request) -> None:
        try:
            if not self.is_initialized and request.method != "initialize":
                raise RpcError(INVALID_REQUEST, f"{request.method} came before initialize")
            if self._open >= MOST_OPEN:
                raise RpcError(BUSY, f"{MOST_OPEN} requests of this client wait for their answers; wait for one")
            handler = methods.REQUESTS.get(request.method)
            if handler is None:
                handler = methods.extension(request.method)
            if handler is None:
                raise RpcError(METHOD_NOT_FOUND, f"{request.method}: this agent has no such method")
            outcome = handler(self, request)
        except BrokerError as error:
            self.answer(request, reply_to(error))
        except msgspec.DecodeError as error:
            self.answer(request, RpcError(INVALID_PARAMS, f"{request.method}: {error}"))
        else:
            if isinstance(outcome, Raw):
                self.answer(request, outcome)
            elif outcome is not None:
                self._open += 1
                self._tasks.start_soon(self._answer_later, request, outcome)

    async def _answer_later(self, request: Request, work: Awaitable["Raw | Then"]) -> None:
        outcome: Raw | Then | RpcError | Failure = RpcError(REQUEST_CANCELLED, "the client has left")
        try:
            outcome = await guarded(self._replied(work), self.broker.log)
        finally:  # cut off, it is answered too
            self._open -= 1
            if isinstance(outcome, Failure):
                outcome = reply_to_failure(outcome)
            self.answer(request, outcome.result if isinstance(outcome, Then) else outcome)
        if isinstance(outcome, Then):
            outcome.then()

    async def _replied(self, work: Awaitable["Raw | Then"]) -> "Raw | Then | RpcError":
        try:
            return await work
        except (RpcError, SessionInUse) as error:
            return reply_to(error)

    def answer(self, request: Request, outcome: Answer) -> None:
        self.reply(request.id, outcome)

    def reply(self, request_id: Raw, outcome: Answer) -> None:
        self._channel.write(jsonrpc.answer(request_id, outcome))

    def tell(self, method: str, params: object) -> None:
        """Send a notification that is in no log."""
        self._channel.write(jsonrpc.notification(method, params))

    def _on_notification(self, notification: Notification) -> None:
        # JSON-RPC 2.0: a notification is never answered, whatever is wrong with it.
        if not self.is_initialized:
            return
        handler: Callable[[Frontend, Notification], None] | None = methods.NOTIFICATIONS.get(notification.method)
        if handler is None:
            handler = methods.extension_notification(notification.method)
        if handler is None:
            return
        try:
            handler(self, notification)
        except (BrokerError, msgspec.DecodeError) as error:
            self._complain("bad_notification", method=notification.method, why=str(error))

    def _on_response(self, id: Raw | None, outcome: Answer) -> None:  # noqa: A002 - JSON-RPC's own word
        if not self.broker.asks.answer(self.number, id, outcome) and id is not None:
            self._complain("answer_nobody_asked_for")

    def _complain(self, event: str, **fields: str) -> None:
        count = self._complaints[event] = self._complaints.get(event, 0) + 1
        if count <= MOST_COMPLAINTS:
            self.broker.log(event, frontend=self.name, **fields)
