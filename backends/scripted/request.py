"""The stage of one request in the process form: what its play asks for becomes bytes, children and signals."""

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, assert_never

import msgspec
from msgspec import Raw

from acp_broker.wire.acp import Answer
from backends.scripted import steps as s
from backends.scripted.actions import Ask, Deed, Noise, Reply, Show, Tell
from backends.scripted.loop import Alarm
from backends.scripted.words import reply

if TYPE_CHECKING:
    from backends.scripted.agent import Agent, Question
    from backends.scripted.play import Play

ABSENT = Raw(b"")


class Request:
    """A request of the client: where its updates and its answer go."""

    play: "Play"

    def __init__(self, agent: "Agent", request_id: bytes, session_id: str) -> None:
        self.id = request_id
        self.session_id = session_id
        self._agent = agent
        named = msgspec.json.encode(session_id)
        self._update = b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":' + named + b',"update":'

    def end(self, ending: s.Ending) -> None:
        """Answer at once, whatever the play was about to do."""
        self.play.close()
        self.perform(reply(ending))

    def perform(self, deed: Deed) -> None:
        match deed:
            case Show():
                line = self._update + bytes(deed.update.params["update"]) + b"}}\n"
                self._agent.loop.write(line * deed.times)
            case Tell():
                self._agent.send({"jsonrpc": "2.0", "method": deed.method, "params": deed.params})
            case Reply():
                self._answer({"result": deed.result})
            case s.Fail():
                data = {} if deed.data is None else {"data": deed.data}
                self._answer({"error": {"code": deed.code, "message": deed.message, **data}})
            case Noise():
                self._agent.loop.write(deed.data)
            case s.CloseStdout():
                self._agent.loop.close_stdout()
            case s.Stderr():
                _complain(deed.text)
            case s.Spawn():
                _spawn(deed)
            case s.Exit():
                os._exit(deed.code)
            case s.Die():
                os.kill(os.getpid(), signal.Signals[f"SIG{deed.signal}"])
            case _:
                assert_never(deed)

    def ask(self, ask: Ask, answered: Callable[[Answer], None]) -> "Question":
        return self._agent.ask(ask, answered)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        return self._agent.loop.call_later(seconds, callback)

    def _answer(self, outcome: s.Object) -> None:
        self._agent.send({"jsonrpc": "2.0", "id": Raw(self.id), **outcome})
        self._agent.settled(self)


def _complain(text: str) -> None:
    os.write(2, f"{text}\n".encode())


def _spawn(step: s.Spawn) -> None:
    ready, not_ready = os.pipe()
    if os.fork() == 0:
        _sleep_forever(step, ready, not_ready)
    os.close(not_ready)
    # Until the child has closed its end, it could still be ended by what it is meant to survive.
    os.read(ready, 1)
    os.close(ready)


def _sleep_forever(step: s.Spawn, *pipe: int) -> NoReturn:
    """The life of a spawned child. It never returns into its parent's loop."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN if step.ignore_term else signal.SIG_DFL)
        if step.setsid:
            os.setsid()
        _complain(f"spawned {os.getpid()}")
        for fd in (0, 2, *pipe) if step.hold_stdout else (0, 1, 2, *pipe):
            os.close(fd)
        while True:
            signal.pause()
    finally:
        os._exit(1)
