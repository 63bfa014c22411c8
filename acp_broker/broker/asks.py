"""Requests of agents that frontends owe an answer to: whatever ids both chose, each answer finds its agent.

Every ask gets an id of ours, unique in this process. It is put into the session's log like everything else a
frontend is sent, so that it keeps its place among the words around it.
"""

from collections.abc import Callable

from msgspec import Raw, Struct

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


def unattended_answer(method: str) -> Answer:
    """What an agent is told when it asks outside of any turn."""
    if method == PERMISSION:
        return _CANCELLED_PERMISSION
    if method == ELICITATION:
        return _CANCELLED_ELICITATION
    return RpcError(METHOD_NOT_FOUND, f"{method}: no turn is running that it could belong to")


class Ask(Struct, eq=False):
    """One open request. `answered` is called once; `log` is where its withdrawal is written.

    `late`, where given, is called with an answer that comes although it was withdrawn.
    """

    id: int
    frontend: int
    method: str
    answered: Callable[[Answer], None]
    log: SessionLog
    late: Callable[[Answer], None] | None = None


class Asks:
    """All open requests of one broker, by our id."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, Ask] = {}

    def put(
        self,
        log: SessionLog,
        frontend: int,
        method: str,
        params: object,
        answered: Callable[[Answer], None],
        late: Callable[[Answer], None] | None = None,
    ) -> Ask:
        """Append a request to the session's log, for one frontend."""
        self._last += 1
        ask = Ask(self._last, frontend, method, answered, log, late)
        self._open[ask.id] = ask
        send(log, frontend, jsonrpc.request(ask.id, method, params))
        return ask

    def answer(self, frontend: int, id: Raw | None, outcome: Answer) -> bool:  # noqa: A002 - JSON-RPC's own word
        """A frontend's answer; False when nobody (any more) waits for it from there."""
        number = _number(id)
        ask = self._open.get(number) if number is not None else None
        if ask is None or ask.frontend != frontend:
            return False
        del self._open[ask.id]
        ask.answered(outcome)
        return True

    def withdraw(self, ask: Ask) -> None:
        """End an ask that is still open: the frontend is told, the agent gets our answer, a late one is dropped."""
        if self._open.get(ask.id) is not ask:
            return
        del self._open[ask.id]
        if ask.late is not None:
            self._open[ask.id] = Ask(ask.id, ask.frontend, ask.method, ask.late, ask.log)
        send(ask.log, ask.frontend, jsonrpc.notification("$/cancel_request", {"requestId": ask.id}))
        ask.answered(nobodys_answer(ask.method))

    def left(self, frontend: int) -> None:
        """A frontend is gone: what it owed is answered by us."""
        for ask in [ask for ask in self._open.values() if ask.frontend == frontend]:
            self.withdraw(ask)
            self._open.pop(ask.id, None)
            ask.log.commit()


def send(log: SessionLog, frontend: int, frame: bytes) -> None:
    """Append one message for one frontend."""
    log.append(records.line("sent", to=frontend, frame=Raw(frame[:-1])), frame, frontend)


def _number(id: Raw | None) -> int | None:  # noqa: A002
    text = bytes(id) if id is not None else b""
    return int(text) if text.isdigit() and len(text) < 19 else None
