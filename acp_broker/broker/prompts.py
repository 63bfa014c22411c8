"""The prompts of one session: accepted, begun one at a time, answered once each.

accepted --> waits, in a bounded queue --> begun: in the log, a turn of its own --> answered, in the log
                 '--cancelled, refused--> answered beside the log: of what was never begun, nothing is in it
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import UNSET, Raw

from acp_broker.broker.asks import send
from acp_broker.broker.keys import Keys
from acp_broker.broker.lease import Lease
from acp_broker.broker.news import News
from acp_broker.broker.order import Order
from acp_broker.broker.replies import reply_to
from acp_broker.broker.runner import Turn
from acp_broker.errors import BUSY, RpcError, StoreError
from acp_broker.store import records
from acp_broker.store.past import Asked
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Answer

if TYPE_CHECKING:
    from acp_broker.broker.frontend import Frontend
    from acp_broker.broker.session import Session

# ACP v1, prompt-turn, "Cancellation": however a prompt is cancelled, and whether it waits or runs.
_CANCELLED = Raw(b'{"stopReason":"cancelled"}')


class Prompts:
    """One per session, whose running turn they set. Later prompts wait in a bounded queue."""

    def __init__(self, session: "Session") -> None:
        self.keys = Keys(self._answer_again)
        self.lease = Lease(session)
        self._session = session
        self._log = session.log
        self._log.when_held_up = self.lease.wait
        self._queue: list[Order] = []
        self._news = News(session)
        self._is_beginning = False

    @property
    def waiting(self) -> int:
        """How many wait behind the running one."""
        return len(self._queue)

    def accept(self, order: Order) -> None:
        """Accept a prompt, now or in its turn. Raises RpcError when the queue is full, StoreError when it cannot be
        kept."""
        session = self._session
        key = order.key
        if key is not None and self.keys.asked_again(key, order.frontend, order.request_id):
            return
        session.repose.is_closed = False
        if session.turn is None and not self._is_held_up and not self._queue and self.lease.taken():
            self._begin(order)
            return
        limit = session.broker.policy.queued_prompts
        if len(self._queue) >= limit and (self._queue or not self.lease.is_awaited):
            raise RpcError(BUSY, f"{limit} prompts wait in this session already; wait for one, or cancel")
        self._queue.append(order)
        session.broker.busy[session.id] = session
        if key is not None:
            self.keys.accepted(key)
        self._news.queue(self._queue)

    def tell(self, frontend: "Frontend", *, running: bool) -> None:
        """Tell a client that has come now who waits; `running`: what runs, too."""
        self._news.tell_all(frontend, self._queue, running=running)

    def restore(self, asked: Mapping[str, Asked]) -> None:
        """What was asked with a key in another process, or an earlier one: that is not run here as well."""
        self.keys.restore(asked)
        waiting, self._queue = self._queue, []
        for order in waiting:
            if order.key is None or order.key.name not in asked:
                self._queue.append(order)
                continue
            try:
                self.keys.asked_again(order.key, order.frontend, order.request_id)
            except RpcError as error:
                self._say(order, error)
            else:
                self._news.never_begun(order, self.keys.outcome(order.key))
        self._settle()

    def cancel(self) -> None:
        """ACP `session/cancel`: the running prompt and all that wait end `cancelled`."""
        waiting, self._queue = self._queue, []
        if self._session.turn is not None:
            self._session.turn.cancel()
        for order in waiting:
            self._cancelled(order)
        self._settle()

    def cancel_of(self, frontend: int, request: bytes | None = None) -> Turn | None:
        """Cancel what one frontend has asked: one prompt (ACP `$/cancel_request`), or all; the turn that is ending."""

        def is_meant(order: Order) -> bool:
            return order.frontend == frontend and request in (None, jsonrpc.same_id(order.request_id))

        running = self._session.turn
        turn = running if running is not None and is_meant(running.order) else None
        if turn is not None:
            turn.cancel()
        for order in [order for order in self._queue if is_meant(order)]:
            self._queue.remove(order)
            self._cancelled(order)
        self._settle()
        return turn

    def refuse(self, why: RpcError) -> None:
        """Answer the prompts that wait with this error; the one that runs goes on."""
        waiting, self._queue = self._queue, []
        for order in waiting:
            self._refuse(order, why)
        self._news.queue(self._queue)

    def next(self, *, is_between: bool = False) -> None:
        """Begin the prompt that has waited longest, if nothing holds it up; `is_between`: a turn has just ended."""
        session = self._session
        if is_between and self._queue:
            self.lease.give_way()
        session.adopt()
        if self._is_beginning:  # by a turn that was over as soon as it began: the loop below goes on with the next
            return
        self._is_beginning = True
        try:
            while self._queue and session.turn is None and not self._is_held_up and self._has_lease():
                self._begin_or_refuse(self._queue.pop(0))
        finally:
            self._is_beginning = False
        self._settle()

    def _settle(self) -> None:
        """Be among the busy sessions no longer than there is something to cancel."""
        session = self._session
        if session.turn is None and not self._queue:
            session.broker.busy.pop(session.id, None)
        self._news.queue(self._queue)

    @property
    def _is_held_up(self) -> bool:
        """Whether prompts wait: for a setting that is on its way to the backend, or for the end of a close."""
        session = self._session
        return session.fitting.is_busy or session.repose.is_under_way or self.lease.is_awaited

    def _has_lease(self) -> bool:
        try:
            return self.lease.taken()
        except StoreError as error:
            self.refuse(reply_to(error))
            return False

    def _begin_or_refuse(self, order: Order) -> None:
        try:
            self._begin(order)
        except (RpcError, StoreError) as error:
            self._refuse(order, reply_to(error))

    def _begin(self, order: Order) -> None:
        session = self._session
        try:
            turn = session.turn = self._accepted(order)
            session.broker.busy[session.id] = session
        except (RpcError, StoreError):
            self.lease.let_go()
            raise
        turn.begin()

    def _accepted(self, order: Order) -> Turn:
        session = self._session
        self._log.recover()
        rules, passed = session.broker.plan(session, order)
        line = records.line(
            "accepted",
            turn=order.turn,
            by=order.frontend,
            at=session.clock.wall(),
            prompt=order.prompt,
            rest=order.rest,
            **({} if order.key is None else {"key": order.key.name, "digest": order.key.digest}),
            rules=session.broker.chain.record(rules),
        )
        self._log.put(
            line, self._echo(order), -order.frontend, self._record(order) if self._log.by_number.watchers else None
        )
        session.frontend = order.frontend
        session.memory.turns.append(order.turn)
        if order.key is not None:
            self.keys.accepted(order.key)
        return Turn(session, order, rules, passed)

    def _record(self, order: Order) -> records.Record:
        """The same for those that read records."""
        key = UNSET if order.key is None else order.key.name
        return records.Record("accepted", turn=order.turn, by=order.frontend, prompt=order.prompt, key=key)

    def _echo(self, order: Order) -> bytes:
        """The prompt for the others that attend, if any; those with numbers read its record."""
        session = self._session
        asker = session.broker.present(order.frontend)
        is_among = asker is not None and not asker.can.numbers
        if self._log.frame_readers <= is_among:
            return b""
        return records.update_frames(records.prompt_params(session.id, order.turn, order.prompt))

    def answer(self, order: Order, outcome: Answer) -> None:
        """The one answer to a prompt, in the log; and to whoever has sent it again."""
        frame = jsonrpc.answer(order.request_id, outcome)
        line = records.line(
            "answer", to=order.frontend, turn=order.turn, at=self._session.clock.wall(), frame=Raw(frame[:-1])
        )
        self._log.append(line, frame, order.frontend)
        if order.key is not None:
            self.keys.answered(order.key, outcome)

    def _refuse(self, order: Order, why: RpcError) -> None:
        """The answer to a prompt that was never begun, and may be sent again."""
        self._say(order, why)
        if order.key is not None:
            self.keys.refused(order.key, why)

    def _cancelled(self, order: Order) -> None:
        """The answer to a prompt that was cancelled before it had begun."""
        self._say(order, _CANCELLED)
        if order.key is not None:
            self.keys.answered(order.key, _CANCELLED)

    def _say(self, order: Order, outcome: Answer) -> None:
        """Of a prompt that was never begun nothing is in the log, which another process may be writing just now."""
        session = self._session
        session.trace("prompt_not_begun", session=session.id, turn=order.turn, why=_why(outcome))
        self._news.never_begun(order, outcome)
        frontend = session.broker.frontends.get(order.frontend)
        if frontend is not None:
            frontend.reply(order.request_id, outcome)

    def _answer_again(self, frontend: int, request_id: Raw, outcome: Answer) -> None:
        send(self._log, frontend, jsonrpc.answer(request_id, outcome))
        self._log.commit()


def _why(outcome: Answer) -> str:
    return outcome.message if isinstance(outcome, RpcError) else "cancelled"
