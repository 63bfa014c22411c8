"""Permission: what Claude Code asks before it uses a tool, as ACP's `session/request_permission` and back."""

from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct, field

from acp_broker.contract import Asked, Client
from acp_broker.errors import RpcError
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Answer
from backends.anthropic_cli import wire

_ONCE, _ALWAYS, _REJECT = "allow", "allow_always", "reject"


class _Outcome(Struct):
    outcome: str = ""
    option: str = field(name="optionId", default="")


class _Answer(Struct):
    outcome: _Outcome


_answer = msgspec.json.Decoder(_Answer).decode


class Asks:
    """The questions that are open, by Claude Code's ids of them."""

    def __init__(self, session: str, write: Callable[[bytes], None]) -> None:
        self._session = jsonrpc.encode(session)
        self._write = write
        self._open: dict[str, Asked | None] = {}

    def put(self, id: str, asked: wire.Asking, call: dict[str, object], client: Client) -> None:  # noqa: A002
        """Ask the frontend; its answer is written as soon as it is there, and at most one."""
        self._open[id] = None

        def answered(outcome: Answer) -> None:
            if self._open.pop(id, False) is not False:
                self._write(wire.answers(id, _said(outcome, asked)))

        params = {
            "sessionId": self._session,
            "toolCall": jsonrpc.encode(call),
            "options": jsonrpc.encode(_options(asked)),
        }
        question = client.ask("session/request_permission", params, answered)
        if id in self._open:
            self._open[id] = question

    def withdraw(self, request_id: str) -> None:
        """It wants no answer any more."""
        question = self._open.pop(request_id, None)
        if question is not None:
            question.withdraw()


def _options(asked: wire.Asking) -> list[dict[str, str]]:
    options = [
        {"optionId": _ONCE, "name": "Allow", "kind": "allow_once"},
        {"optionId": _ALWAYS, "name": "Allow for this session", "kind": "allow_always"},
        {"optionId": _REJECT, "name": "Reject", "kind": "reject_once"},
    ]
    return options if asked.suggestions and not asked.no_always else [options[0], options[2]]


def _said(outcome: Answer, asked: wire.Asking) -> dict[str, object]:
    try:
        chosen = None if isinstance(outcome, RpcError) else _answer(outcome).outcome
    except msgspec.DecodeError:
        chosen = None
    match chosen:
        case _Outcome("selected", "allow"):
            return {"behavior": "allow", "updatedInput": asked.input}
        case _Outcome("selected", "allow_always"):
            return {"behavior": "allow", "updatedInput": asked.input, "updatedPermissions": _for_session(asked)}
        case _Outcome("cancelled"):
            return {"behavior": "deny", "message": "The turn was cancelled.", "interrupt": True}
        case _:
            return {"behavior": "deny", "message": "The user does not allow this."}


def _for_session(asked: wire.Asking) -> list[dict[str, Raw]]:
    """Its suggestions, but none that would be written to the user's settings: another chain knows nothing of them."""
    return [{**one, "destination": Raw(b'"session"')} for one in asked.suggestions or ()]
