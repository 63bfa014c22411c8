"""The requests that a scripted runtime puts to its client, and what came of each: an outcome, and words for it."""

import posixpath

import msgspec

from acp_broker.errors import RpcError
from acp_broker.wire.acp import Answer
from backends.scripted import steps as s
from backends.scripted.actions import Ask, Moves, Tell

Outcome = tuple[str, str]


class _NotAnswered(Exception):  # noqa: N818 - it carries an outcome
    """The request came to nothing: refused by the client, withdrawn, or ended by a cancel."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def ask(step: s.Asking, session: str, cwd: str) -> Moves[Outcome]:
    """Play a step that asks; the outcome is what its branches are named by."""
    asker = _Asker(session, step.withdraw_ms)
    try:
        return (yield from _play(step, asker, cwd))
    except _NotAnswered as failed:
        return failed.outcome


class _Asker:
    def __init__(self, session: str, withdraw_ms: float | None) -> None:
        self.session = session
        self._limit_s = None if withdraw_ms is None else withdraw_ms / 1000

    def put(self, method: str, params: s.Object, *, in_session: bool = True) -> Moves[s.Object]:
        """Put a request; returns its result, raises _NotAnswered."""
        answer = yield Ask(method, {"sessionId": self.session, **params} if in_session else params, self._limit_s)
        return _result_of(answer)


def _play(step: s.Asking, asker: _Asker, cwd: str) -> Moves[Outcome]:
    match step:
        case s.AskPermission():
            return (yield from _permission(step, asker))
        case s.ReadFile():
            result = yield from asker.put("fs/read_text_file", {"path": posixpath.join(cwd, step.path)})
            return "ok", str(result.get("content"))
        case s.WriteFile():
            path = posixpath.join(cwd, step.path)
            yield from asker.put("fs/write_text_file", {"path": path, "content": step.text})
            return "ok", path
        case s.Terminal():
            return (yield from _terminal(step, asker))
        case s.Elicit():
            result = yield from asker.put(
                "elicitation/create", {"mode": step.mode, "message": step.message, **step.params}
            )
            return str(result.get("action")), _json(result)
        case s.Ext():
            return (yield from _ext(step, asker))


def _permission(step: s.AskPermission, asker: _Asker) -> Moves[Outcome]:
    tool_call = {"toolCallId": step.tool_call_id, "title": step.title}
    params: s.Object = {"toolCall": tool_call, "options": step.options}
    result = yield from asker.put("session/request_permission", params)
    outcome = result.get("outcome")
    chosen = outcome.get("optionId", outcome.get("outcome")) if isinstance(outcome, dict) else outcome
    return str(chosen), str(chosen)


def _terminal(step: s.Terminal, asker: _Asker) -> Moves[Outcome]:
    created = yield from asker.put("terminal/create", {"command": step.command, "args": step.args})
    terminal: s.Object = {"terminalId": created.get("terminalId")}
    if step.kill:
        yield from asker.put("terminal/kill", terminal)
    status = yield from asker.put("terminal/wait_for_exit", terminal)
    output = yield from asker.put("terminal/output", terminal)
    if step.release:
        yield from asker.put("terminal/release", terminal)
    outcome = status.get("signal") if status.get("exitCode") is None else status["exitCode"]
    return str(outcome), str(output.get("output"))


def _ext(step: s.Ext, asker: _Asker) -> Moves[Outcome]:
    if step.request:
        result = yield from asker.put(step.method, step.params, in_session=step.session)
        return "ok", _json(result)
    yield Tell(step.method, {"sessionId": asker.session, **step.params} if step.session else step.params)
    return "ok", ""


def _result_of(answer: Answer | None) -> s.Object:
    """A result as an object (one that is none stands under `result`); raises _NotAnswered for anything else."""
    if answer is None:
        raise _NotAnswered(("withdrawn", "withdrawn"))
    if isinstance(answer, RpcError):
        raise _NotAnswered(("error", str(answer)))
    result = msgspec.json.decode(answer)
    return result if isinstance(result, dict) else {"result": result}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
