"""A scripted runtime, whichever form it takes: the sessions it holds and how it answers each method.

It has no I/O: `take` gives the scene of a request and the moves that play it; a shell performs them.
"""

from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from backends.scripted import steps as s
from backends.scripted.actions import Moves, Show
from backends.scripted.memory import Memory
from backends.scripted.scene import CANCELLED, Scene
from backends.scripted.script import Script
from backends.scripted.session import Session, Sessions
from backends.scripted.words import as_update

_BEHIND_LOGIN = frozenset({"session/new", "session/load", "session/resume", "session/prompt"})
_NO_SUCH_METHOD = s.Fail(-32601, "Method not found")
_LOGGED_OUT = s.Fail(-32000, "Authentication required")
_WITHDRAWN = s.Fail(-32800, "Request cancelled")
_NO_SESSION = s.Fail(-32002, "Session not found")


class Params(Struct, rename="camel"):
    """Every member of any request that is read here."""

    session_id: str = ""
    cwd: str = ""
    prompt: tuple[Raw, ...] = ()
    method_id: str = ""
    mode_id: str = ""
    config_id: str = ""
    value: s.Json = None


_Answering = Callable[[Scene, Params], s.Ending]
_Playing = Callable[[Scene, Params], Moves[s.Ending]]


class Runtime:
    """Everything that outlives a request. A method with neither steps nor a table entry is not there."""

    def __init__(self, script: Script, memory: Memory | None = None) -> None:
        self._script = script
        self._sessions = Sessions(script, memory)
        self._is_logged_in = not script.needs_auth
        self._hooks = {
            "initialize": script.initialize,
            "session/new": script.new,
            "session/load": script.load,
            "session/resume": script.resume,
        }
        self._answers = self._answer_table()
        self._plays = self._play_table()

    def take(self, method: str, params: bytes) -> tuple[Scene, Moves[None]]:
        """The scene and the moves of one request; raises msgspec.ValidationError for params of a wrong shape."""
        read = msgspec.json.decode(params, type=Params)
        scene = Scene(self._session_for(method, read), read.prompt)
        return scene, self._answered(scene, method, read)

    def hook(self, steps: s.Steps, ended: Callable[[s.Ending | None], None]) -> tuple[Scene, Moves[None]]:
        """The scene and the moves of steps that belong to no request; `ended` is told what ended them."""
        scene = Scene()
        return scene, self._hooked(scene, steps, ended)

    def _hooked(self, scene: Scene, steps: s.Steps, ended: Callable[[s.Ending | None], None]) -> Moves[None]:
        ended((yield from scene.play(steps)))

    def _answered(self, scene: Scene, method: str, params: Params) -> Moves[None]:
        ending = yield from scene.play(self._hooks.get(method, ()))
        if ending is None:
            ending = yield from self._act(scene, method, params)
        if ending is CANCELLED and method != "session/prompt":
            ending = _WITHDRAWN
        if method == "session/new" and isinstance(ending, s.Fail) and scene.session is not None:
            self._sessions.drop(scene.session.id)
        yield from scene.answer(ending)

    def _act(self, scene: Scene, method: str, params: Params) -> Moves[s.Ending]:
        if method in self._script.calls:
            return (yield from scene.play(self._script.calls[method])) or s.Answer({})
        if method in _BEHIND_LOGIN and not self._is_logged_in:
            return _LOGGED_OUT
        if method in self._answers:
            return self._answers[method](scene, params)
        if method in self._plays:
            return (yield from self._plays[method](scene, params))
        return _NO_SUCH_METHOD

    def _answer_table(self) -> dict[str, _Answering]:
        table: dict[str, _Answering] = {
            "initialize": self._introduce,
            "authenticate": self._log_in,
            "logout": self._log_out,
            "session/new": self._open,
        }
        if self._script.config_options:
            table["session/set_config_option"] = self._set_option
        if "resume" in self._session_capabilities():
            table["session/resume"] = self._resume
        if "close" in self._session_capabilities():
            table["session/close"] = self._close
        return table

    def _play_table(self) -> dict[str, _Playing]:
        table: dict[str, _Playing] = {"session/prompt": self._turn}
        if self._script.capabilities.get("loadSession"):
            table["session/load"] = self._load
        if self._script.modes is not None:
            table["session/set_mode"] = self._set_mode
        return table

    def _session_capabilities(self) -> s.Object:
        capabilities = self._script.capabilities.get("sessionCapabilities")
        return capabilities if isinstance(capabilities, dict) else {}

    def _session_for(self, method: str, params: Params) -> Session | None:
        match method:
            case "session/new":
                return self._sessions.begin(params.cwd)
            case "session/load" | "session/resume":
                return self._sessions.reopen(params.session_id, params.cwd)
            case _:
                return self._sessions.find(params.session_id)

    def _introduce(self, _scene: Scene, _params: Params) -> s.Ending:
        script = self._script
        claims: s.Object = {
            "agentInfo": script.agent_info,
            "agentCapabilities": script.capabilities,
            "authMethods": script.auth_methods,
        }
        # Some real agents answer with the version alone: an empty claim is left out.
        made = {name: claim for name, claim in claims.items() if claim}
        return s.Answer({"protocolVersion": script.protocol_version} | made)

    def _log_in(self, _scene: Scene, params: Params) -> s.Ending:
        if params.method_id not in [method.get("id") for method in self._script.auth_methods]:
            return s.Fail(-32602, f"no auth method is called {params.method_id!r}")
        self._is_logged_in = True
        return s.Answer({})

    def _log_out(self, _scene: Scene, _params: Params) -> s.Ending:
        self._is_logged_in = not self._script.needs_auth
        return s.Answer({})

    def _open(self, scene: Scene, _params: Params) -> s.Ending:
        return (
            _NO_SESSION if scene.session is None else s.Answer({"sessionId": scene.session.id} | scene.session.state())
        )

    def _close(self, _scene: Scene, params: Params) -> s.Ending:
        self._sessions.drop(params.session_id)
        return s.Answer({})

    def _set_option(self, scene: Scene, params: Params) -> s.Ending:
        if scene.session is None:
            return _NO_SESSION
        if not scene.session.set_option(params.config_id, params.value):
            return s.Fail(-32602, f"no config option is called {params.config_id!r}")
        return s.Answer({"configOptions": scene.session.options()})

    def _set_mode(self, scene: Scene, params: Params) -> Moves[s.Ending]:
        if scene.session is None:
            return _NO_SESSION
        if not scene.session.set_mode(params.mode_id):
            return s.Fail(-32602, f"no mode is called {params.mode_id!r}")
        yield scene.show({"sessionUpdate": "current_mode_update", "currentModeId": params.mode_id})
        return s.Answer({})

    def _load(self, scene: Scene, _params: Params) -> Moves[s.Ending]:
        if scene.session is None:
            return _NO_SESSION
        for update in tuple(scene.session.history):
            yield Show(as_update(update))
        return s.Answer(scene.session.state())

    def _resume(self, scene: Scene, _params: Params) -> s.Ending:
        return _NO_SESSION if scene.session is None else s.Answer(scene.session.state())

    def _turn(self, scene: Scene, params: Params) -> Moves[s.Ending]:
        if scene.session is None:
            return (yield from scene.play(self._script.unknown_session)) or _NO_SESSION
        scene.turn = scene.session.begin_turn()
        for block in params.prompt:
            scene.session.show(Raw(msgspec.json.encode({"sessionUpdate": "user_message_chunk", "content": block})))
        ending = yield from scene.play(self._script.prompt)
        if ending is None:
            ending = yield from scene.play(self._script.turns[min(scene.turn, len(self._script.turns) - 1)])
        if ending is CANCELLED:
            scene.heeds_cancel = False
            ending = (yield from scene.play(self._script.cancel)) or CANCELLED
        return ending or s.End()
