"""The script as a real ACP v1 agent: one JSON-RPC message per line on stdin and stdout, sessions side by side."""

import os
import signal
from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from acp_broker.errors import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, RpcError
from acp_broker.wire.acp import Answer
from backends.scripted import steps as s
from backends.scripted.actions import Ask
from backends.scripted.loop import Loop
from backends.scripted.memory import Memory
from backends.scripted.play import Play
from backends.scripted.request import ABSENT, Request
from backends.scripted.runtime import Runtime
from backends.scripted.script import Script

_TURN_RUNNING = s.Fail(-32603, "A turn is already running")
_OVERTAKEN = s.Fail(-32603, "Internal error")


class _Error(Struct):
    code: int = -32603
    message: str = ""
    data: Raw = ABSENT


class _Message(Struct):
    method: str | None = None
    id: Raw = ABSENT
    params: Raw = Raw(b"{}")
    result: Raw = Raw(b"null")
    error: _Error | None = None


class _Target(Struct, rename="camel"):
    """Whom a cancel is meant for."""

    session_id: str = ""
    request_id: Raw = ABSENT


_message = msgspec.json.Decoder(_Message).decode
_target = msgspec.json.Decoder(_Target).decode


class Agent:
    """One process: what is played, and what the client still owes an answer to."""

    def __init__(self, script: Script, memory: Memory | None) -> None:
        self.loop = Loop(self._hear, self._leave)
        self._script = script
        self._runtime = Runtime(script, memory)
        self._requests: dict[bytes, Request] = {}
        # Per session the prompts in order; the first one is playing.
        self._turns: dict[str, list[Request]] = {}
        self._asked: dict[int | str, Callable[[Answer], None]] = {}
        self._next_id = 0

    def run(self) -> None:
        """Serve until the process ends; does not return."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._script.terminate is not None:
            self.loop.on_signal(signal.SIGTERM, self._terminate)
        self.loop.run_forever()

    def ask(self, ask: Ask, answered: Callable[[Answer], None]) -> "Question":
        # Most real agents count their own requests from 0.
        number, self._next_id = self._next_id, self._next_id + 1
        own_id = number if self._script.request_ids == "numbers" else f"request-{number}"
        self._asked[own_id] = answered
        self.send({"jsonrpc": "2.0", "id": own_id, "method": ask.method, "params": ask.params})
        return Question(self, own_id)

    def forget(self, own_id: int | str) -> None:
        self._asked.pop(own_id, None)
        self.send({"jsonrpc": "2.0", "method": "$/cancel_request", "params": {"requestId": own_id}})

    def send(self, message: s.Object) -> None:
        self.loop.write(msgspec.json.encode(message) + b"\n")

    def settled(self, request: Request) -> None:
        """That request has its answer: the next prompt of its session may play."""
        self._requests.pop(request.id, None)
        turns = self._turns.get(request.session_id, [])
        if request not in turns:
            return
        turns.remove(request)
        if turns:
            self.loop.call_later(0, turns[0].play.start)
        else:
            del self._turns[request.session_id]

    def _hear(self, line: bytes) -> None:
        try:
            message = _message(line)
        except msgspec.ValidationError as wrong:
            self._refuse(b"null", INVALID_REQUEST, str(wrong))
        except msgspec.DecodeError as wrong:
            self._refuse(b"null", PARSE_ERROR, str(wrong))
        else:
            self._take(message)

    def _take(self, message: _Message) -> None:
        if message.method is None:
            self._take_answer(message)
        elif message.id == ABSENT:
            self._take_notification(message.method, message.params)
        else:
            self._take_request(bytes(message.id), message.method, message.params)

    def _take_answer(self, message: _Message) -> None:
        # Clients exist that answer notifications, with the id null or none: nobody asked.
        own_id = None if message.id == ABSENT else msgspec.json.decode(message.id)
        answered = self._asked.pop(own_id, None) if isinstance(own_id, int | str) else None
        if answered is not None:
            answered(message.result if message.error is None else _refusal(message.error))

    def _take_notification(self, method: str, params: Raw) -> None:
        match method:
            case "session/cancel":
                for request in tuple(self._turns.get(_target(params).session_id, ())):
                    request.play.cancel()
            case "$/cancel_request":
                meant = self._requests.get(bytes(_target(params).request_id))
                if meant is not None:
                    meant.play.cancel()
            case _:
                pass

    def _take_request(self, request_id: bytes, method: str, params: Raw) -> None:
        try:
            scene, moves = self._runtime.take(method, bytes(params))
        except msgspec.DecodeError as wrong:
            self._refuse(request_id, INVALID_PARAMS, str(wrong))
            return
        session_id = _target(params).session_id if scene.session is None else scene.session.id
        request = self._requests[request_id] = Request(self, request_id, session_id)
        request.play = Play(scene, moves, request)
        if method == "session/prompt":
            self._take_prompt(request)
        else:
            request.play.start()

    def _take_prompt(self, request: Request) -> None:
        turns = self._turns.setdefault(request.session_id, [])
        match self._script.busy if turns else "free":
            case "free":
                turns.append(request)
                request.play.start()
            case "queue":
                turns.append(request)
            case "cancelFirst":
                turns.append(request)
                turns[0].play.cancel()
            case "failFirst":
                turns.append(request)
                turns[0].end(_OVERTAKEN)
            case "reject":
                request.end(_TURN_RUNNING)
            case "overlap":
                request.play.start()
            case "drop":
                pass

    def _refuse(self, request_id: bytes, code: int, message: str) -> None:
        error = {"code": code, "message": message}
        self.send({"jsonrpc": "2.0", "id": Raw(request_id), "error": error})

    def _leave(self) -> None:
        self._last_words(self._script.exit)

    def _terminate(self) -> None:
        self._last_words(self._script.terminate or ())

    def _last_words(self, steps: s.Steps) -> None:
        stage = Request(self, b"null", "")
        stage.play = Play(*self._runtime.hook(steps, self._exit), stage)
        stage.play.start()

    def _exit(self, ending: s.Ending | None) -> None:
        """The hook is over: end the running prompts as it says, and the process."""
        if ending is not None:
            for turns in tuple(self._turns.values()):
                turns[0].end(ending)
        os._exit(0)


def _refusal(error: _Error) -> RpcError:
    return RpcError(error.code, error.message, None if error.data == ABSENT else error.data)


class Question:
    """A request that the client has not answered."""

    def __init__(self, agent: Agent, own_id: int | str) -> None:
        self._agent = agent
        self._own_id = own_id

    def withdraw(self) -> None:
        self._agent.forget(self._own_id)
