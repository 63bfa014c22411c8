"""Requests of agents that frontends owe an answer to: whatever ids both chose, each answer finds its agent.

Every ask gets an id of ours, unique in this process. It is put into the session's log like everything else a
frontend is sent, so that it keeps its place among the words around it.

A permission outlives the frontend that it was put to: it is put to all others that attend the session, and the first
answer wins. While nobody does, it waits for somebody to come, for so long and no longer. Everything else acts on the
machine of the frontend that prompted: with that gone, nobody can do it.
"""

from collections.abc import Callable, Collection

from msgspec import Raw, Struct

from acp_broker.clock import Clock, Timer
from acp_broker.core.names import SessionId
from acp_broker.errors import METHOD_NOT_FOUND, REQUEST_CANCELLED, RpcError
from acp_broker.store import records
from acp_broker.store.log import SessionLog
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Answer

PERMISSION = "session/request_permission"
ELICITATION = "elicitation/create"
_CANCELLED_PERMISSION = Raw(b'{"outcome":{"outcome":"cancelled"}}')
_CANCELLED_ELICITATION = Raw(b'{"action":"cancel"}')


def nobodys_answer(method: str) -> Answer:
    """What an agent is told when its turn ended before anybody answered (ACP v1, prompt-turn, "Cancellation")."""
    if method == PERMISSION:
        return _CANCELLED_PERMISSION
    return RpcError(REQUEST_CANCELLED, "the turn has ended")


def unattended_answer(method: str, why: str = "no turn is running that it could belong to") -> Answer:
    """What an agent is told when there is nobody to ask."""
    if method == PERMISSION:
        return _CANCELLED_PERMISSION
    if method == ELICITATION:
        return _CANCELLED_ELICITATION
    return RpcError(METHOD_NOT_FOUND, f"{method}: {why}")


def deserted_answer(method: str) -> Answer:
    """As above, where there was somebody."""
    return unattended_answer(method, "the client that it belongs to is gone")


class Ask(Struct, eq=False):
    """One open request. `answered` is called once; `log` is where it and its withdrawal are written.

    `late`, where given, is called with an answer that comes although it was withdrawn.
    """

    id: int
    session: SessionId
    method: str
    frame: bytes
    answered: Callable[[Answer], None]
    log: SessionLog
    late: Callable[[Answer], None] | None = None
    # Who was sent it and can still answer.
    asked: dict[int, None] = {}
    # The frontend that prompted is gone: whoever attends the session may answer.
    is_deserted: bool = False
    waits: Timer | None = None


class Asks:
    """All open requests of one broker, by our id. `attendants` are the frontends that attend a session."""

    def __init__(
        self, clock: Clock, attendants: Callable[[SessionId], Collection[int]], unattended_s: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._attendants = attendants
        self._unattended_s = unattended_s
        self._last = 0
        self._open: dict[int, Ask] = {}

    def put(
        self,
        log: SessionLog,
        session: SessionId,
        frontend: int | None,
        method: str,
        params: object,
        answered: Callable[[Answer], None],
        late: Callable[[Answer], None] | None = None,
    ) -> Ask:
        """Append a request to the session's log, for one frontend; None: for whoever attends the session."""
        self._last += 1
        ask = Ask(self._last, session, method, jsonrpc.request(self._last, method, params), answered, log, late)
        self._open[ask.id] = ask
        if frontend is None:
            self._desert(ask)
        else:
            self._send(ask, frontend)
        return ask

    def answer(self, frontend: int, id: Raw | None, outcome: Answer) -> bool:  # noqa: A002 - JSON-RPC's own word
        """A frontend's answer; False when nobody (any more) waits for it from there."""
        number = _number(id)
        ask = self._open.get(number) if number is not None else None
        if ask is None or frontend not in ask.asked:
            return False
        del ask.asked[frontend]
        if ask.asked and isinstance(outcome, RpcError):
            return True  # an error is no answer while another may give one
        self._close(ask)
        if ask.asked:
            ask.log.commit()
        ask.answered(outcome)
        return True

    def withdraw(self, ask: Ask) -> None:
        """End an ask that is still open: the frontend is told, the agent gets our answer, a late one is dropped."""
        if self._open.get(ask.id) is not ask:
            return
        asked = dict(ask.asked)
        self._close(ask)
        if ask.late is not None:
            self._open[ask.id] = Ask(ask.id, ask.session, ask.method, b"", ask.late, ask.log, asked=asked)
        ask.answered(nobodys_answer(ask.method))

    def attended(self, session: SessionId, frontend: int) -> None:
        """A frontend attends this session from now on: it is asked what others have left."""
        for ask in tuple(self._open.values()):
            if ask.is_deserted and ask.session == session and frontend not in ask.asked:
                self._send(ask, frontend)
                ask.log.commit()

    def left(self, frontend: int) -> None:
        """A frontend is gone: what it alone owed is put to others, or answered by us."""
        for ask in tuple(self._open.values()):
            if frontend not in ask.asked:
                continue
            del ask.asked[frontend]
            if ask.asked:
                continue
            if ask.method == PERMISSION:
                self._desert(ask)
            else:
                self._close(ask)
                ask.answered(deserted_answer(ask.method))
            ask.log.commit()

    def _desert(self, ask: Ask) -> None:
        ask.is_deserted = True
        for frontend in self._attendants(ask.session):
            self._send(ask, frontend)
        if not ask.asked:
            ask.waits = self._clock.call_at(self._clock.now() + self._unattended_s(), lambda: self._give_up(ask))

    def _give_up(self, ask: Ask) -> None:
        self.withdraw(ask)
        ask.log.commit()

    def _send(self, ask: Ask, frontend: int) -> None:
        if ask.waits is not None:
            ask.waits.cancel()
            ask.waits = None
        ask.asked[frontend] = None
        send(ask.log, frontend, ask.frame)

    def _close(self, ask: Ask) -> None:
        """Nobody needs to answer it any more; who was asked is told."""
        del self._open[ask.id]
        if ask.waits is not None:
            ask.waits.cancel()
        for frontend in ask.asked:
            send(ask.log, frontend, jsonrpc.notification("$/cancel_request", {"requestId": ask.id}))


def send(log: SessionLog, frontend: int, frame: bytes) -> None:
    """Append one message for one frontend."""
    log.append(records.line("sent", to=frontend, frame=Raw(frame[:-1])), frame, frontend)


def _number(id: Raw | None) -> int | None:  # noqa: A002
    text = bytes(id) if id is not None else b""
    return int(text) if text.isdigit() and len(text) < 19 else None
