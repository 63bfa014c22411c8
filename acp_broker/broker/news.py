"""`_acp-broker/turn`: what clients that asked for numbers are told of a session's turns, their own and others'.

    queued, with its position --> started --> ended, with a stop reason or an error
       '---- cancelled, refused: never begun ------^

Start and end are made from the log's records (see `numbers`) and keep their place among the words. The queue is in no
log: what is told of it has no number, and holds for who hears it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, field

from acp_broker.broker.order import Order
from acp_broker.core.names import SessionId, TurnId
from acp_broker.errors import RpcError
from acp_broker.wire.acp import Answer

if TYPE_CHECKING:
    from acp_broker.broker.frontend import Frontend
    from acp_broker.broker.session import Session

TURN = "_acp-broker/turn"


def params(session: SessionId, turn: str, state: str, key: str | None = None, **members: object) -> dict[str, object]:
    """The params of one notification. `key` is the prompt's own, if it came with one."""
    known = {} if key is None else {"idempotencyKey": key}
    return {"sessionId": session, "turn": turn, "state": state, **known, **members}


class _Ours(Struct):
    backend: str | None = None


class _Meta(Struct):
    ours: _Ours | None = field(name="acp-broker", default=None)


class _Result(Struct):
    stop_reason: str = field(name="stopReason")
    meta: _Meta | None = field(name="_meta", default=None)


_result = msgspec.json.Decoder(_Result).decode


class _StopReason(Struct):
    stop_reason: str = field(name="stopReason", default="end_turn")


def end(outcome: Answer) -> Mapping[str, object]:
    """How a turn ended, as members of its notification: by its prompt's answer."""
    if isinstance(outcome, RpcError):
        return {"error": {"code": outcome.code, "message": outcome.message}}
    try:
        result = _result(outcome)
    except msgspec.DecodeError:  # an agent's own `_meta` may have any shape where ours is switched off
        return {"stopReason": msgspec.json.decode(outcome, type=_StopReason).stop_reason}
    backend = result.meta.ours.backend if result.meta is not None and result.meta.ours is not None else None
    return {"stopReason": result.stop_reason, **({} if backend is None else {"backend": backend})}


class News:
    """What one session's clients are told of its queue. One per session."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        # The positions that were told last.
        self._told: dict[TurnId, int] = {}

    def queue(self, waiting: Sequence[Order]) -> None:
        """Tell of each prompt that waits where it stands now, should that be news."""
        before, self._told = self._told, {order.turn: place for place, order in enumerate(waiting, 1)}
        if before or self._told:
            moved = [order for order in waiting if before.get(order.turn) != self._told[order.turn]]
            for frontend in self._numbered() if moved else ():
                for order in moved:
                    self._tell_place(frontend, order)

    def never_begun(self, order: Order, outcome: Answer | None) -> None:
        """A prompt that waited is answered without a turn of its own; None: by one that is not over."""
        self._told.pop(order.turn, None)
        how = {} if outcome is None else end(outcome)
        for frontend in self._numbered():
            self._tell(frontend, order, "ended", **how)

    def tell_all(self, frontend: "Frontend", waiting: Sequence[Order], *, running: bool) -> None:
        """What somebody who comes now should know; `running`: of the turn that runs, too."""
        turn = self._session.turn
        if turn is not None and running:
            self._tell(frontend, turn.order, "started")
        for order in waiting:
            self._tell_place(frontend, order)

    def _numbered(self) -> "Iterator[Frontend]":
        session = self._session
        for frontend in session.broker.frontends.values():
            if frontend.can.numbers and frontend.outbox.is_attached(session.id):
                yield frontend

    def _tell_place(self, frontend: "Frontend", order: Order) -> None:
        self._tell(frontend, order, "queued", position=self._told.get(order.turn, 1))

    def _tell(self, frontend: "Frontend", order: Order, state: str, **members: object) -> None:
        key = None if order.key is None else order.key.name
        frontend.tell(TURN, params(self._session.id, order.turn, state, key, **members))
