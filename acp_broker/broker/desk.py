"""Where the agents of one session meet its frontends: requests, extensions, terminals, and their tidy end."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Raw, Struct

from acp_broker.broker.asks import ELICITATION, PERMISSION, Ask, deserted_answer, send, unattended_answer
from acp_broker.broker.ids import Ids
from acp_broker.core.names import SessionId
from acp_broker.errors import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError
from acp_broker.store.log import SessionLog
from acp_broker.wire import acp, jsonrpc
from acp_broker.wire.acp import Answer

T = TypeVar("T", bound=Struct)

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker


class _Elicitation(Struct):
    mode: str = ""


class _Terminal(Struct):
    terminal: str = msgspec.field(name="terminalId", default="")


class Desk:
    """What a session's agents may ask, and of whom. A terminal's calls stay with the frontend that made it."""

    def __init__(self, broker: "Broker", session: SessionId, ids: Ids, log: SessionLog) -> None:
        self._broker = broker
        self._id = session
        self._session = jsonrpc.encode(session)
        self._ids = ids
        self._log = log
        self._terminals: dict[str, int] = {}

    def refusal(self, frontend: int, method: str, params: dict[str, Raw]) -> Answer | None:
        """The answer where the frontend cannot be asked this: it is gone, or never said that it can."""
        client = self._broker.present(self._whom(frontend, method, params))
        if client is None:
            # A permission is anybody's to give, and waits for somebody.
            return None if method == PERMISSION else deserted_answer(method)
        can = client.can
        if method == ELICITATION:
            mode = _decoded(params, _Elicitation).mode
            if not (can.form if mode == "form" else can.url if mode == "url" else False):
                return RpcError(INVALID_PARAMS, f"this client has not advertised elicitation mode {mode!r}")
            return None
        if method.startswith("_") or can.method(method):
            return None
        return RpcError(METHOD_NOT_FOUND, f"this client does not offer {method}")

    def ask(
        self,
        frontend: int,
        life: int,
        method: str,
        params: dict[str, Raw],
        answered: Callable[[Answer], None],
    ) -> Ask:
        """Put an agent's request into the log for one frontend; `answered` is called once.

        A permission whose frontend is gone is put to whoever attends.
        """
        whom = self._whom(frontend, method, params)
        there = None if method == PERMISSION and self._broker.present(whom) is None else whom
        put = partial(self._broker.asks.put, self._log, self._id, there, method, self._ours(params, life))
        if method == "terminal/create":

            def made(outcome: Answer) -> None:
                if not isinstance(outcome, RpcError):
                    self._terminals[_decoded(outcome, _Terminal).terminal] = whom
                answered(outcome)

            return put(made, lambda outcome: self._made_too_late(outcome, whom))
        if method == "terminal/release":
            self._terminals.pop(_decoded(params, _Terminal).terminal, None)
        return put(answered)

    def ask_between(
        self, frontend: int, life: int, method: str, params: dict[str, Raw], answered: Callable[[Answer], None]
    ) -> Ask | None:
        """A request outside of any turn: reading files and finishing with terminals is served, nothing that acts."""
        serves = method in ("fs/read_text_file", *_FINISHING)
        refusal = self.refusal(frontend, method, params) if serves else unattended_answer(method)
        if refusal is not None:
            answered(refusal)
            return None
        return self.ask(frontend, life, method, params, answered)

    def withdraw(self, ask: Ask) -> None:
        self._broker.asks.withdraw(ask)

    def tell(self, frontend: int, life: int, method: str, params: dict[str, Raw] | None) -> None:
        """Pass an agent's extension notification on to one frontend."""
        send(self._log, frontend, jsonrpc.notification(method, self._ours(params or {}, life)))

    def abort(self, tools: Iterable[str]) -> list[bytes]:
        """End what a broken-off attempt has left open: terminals; tool calls, returned as params to show."""
        terminals, self._terminals = self._terminals, {}
        for terminal, whom in terminals.items():
            self._end(terminal, whom)
        updates = [acp.update("tool_call_update", toolCallId=call, status="failed") for call in tools]
        return [msgspec.json.encode({"sessionId": self._session, **update.params}) for update in updates]

    def _whom(self, frontend: int, method: str, params: dict[str, Raw]) -> int:
        """A terminal's calls go to the frontend that made it, everything else to `frontend`."""
        if not self._terminals or not method.startswith("terminal/"):
            return frontend
        return self._terminals.get(_decoded(params, _Terminal).terminal, frontend)

    def _made_too_late(self, outcome: Answer, whom: int) -> None:
        """The agent that wanted this terminal has ended: nobody else knows of it."""
        if not isinstance(outcome, RpcError):
            self._end(_decoded(outcome, _Terminal).terminal, whom)
            self._log.commit()

    def _end(self, terminal: str, whom: int) -> None:
        if self._broker.present(whom) is not None:
            for method in ("terminal/kill", "terminal/release"):
                params = {"sessionId": self._session, "terminalId": jsonrpc.encode(terminal)}
                self._broker.asks.put(self._log, self._id, whom, method, params, _ignored)

    def _ours(self, params: dict[str, Raw], life: int) -> dict[str, Raw]:
        """The params with our session id, and tool-call ids as this session's frontends know them."""
        if "sessionId" in params:
            params["sessionId"] = self._session
        if "toolCallId" in params:
            params["toolCallId"] = self._unique(params["toolCallId"], life)
        if "toolCall" in params:
            params["toolCall"] = self._our_call(params["toolCall"], life)
        return params

    def _our_call(self, raw: Raw, life: int) -> Raw:
        try:
            call = msgspec.json.decode(raw, type=dict[str, Raw])
        except msgspec.DecodeError:  # no object: the frontend will say so
            return raw
        if "toolCallId" not in call:
            return raw
        return jsonrpc.encode({**call, "toolCallId": self._unique(call["toolCallId"], life)})

    def _unique(self, raw: Raw, life: int) -> Raw:
        value = msgspec.json.decode(raw)
        return jsonrpc.encode(self._ids.unique(life, value)) if isinstance(value, str) else raw


_FINISHING = ("terminal/output", "terminal/wait_for_exit", "terminal/kill", "terminal/release")


def _ignored(_outcome: Answer) -> None:
    """Tidying up: nobody waits for how it went."""


def _decoded(params: dict[str, Raw] | Raw, shape: type[T]) -> T:
    """The members that we read; all of them at their defaults where the params have another shape."""
    raw = params if isinstance(params, Raw) else jsonrpc.encode(params)
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.DecodeError:
        return shape()
