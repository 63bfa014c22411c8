"""The script in process: no child, no network, no key. What only a process can suffer becomes a `BackendFailure`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import assert_never

import anyio
import msgspec
from msgspec import Raw, Struct

from acp_broker.backend_config import BackendConfig
from acp_broker.contract import About, Asked, CancelAsked, Client, Finished, Tools, TurnRequest
from acp_broker.core.classify import from_rpc_error
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Phase, StopReason
from acp_broker.errors import BackendFailure, RpcError
from acp_broker.wire.acp import Answer, Update
from backends.scripted import steps as s
from backends.scripted.actions import Ask, Deed, Moves, Noise, Reply, Show, Tell
from backends.scripted.play import Play, Timer
from backends.scripted.runtime import Runtime
from backends.scripted.scene import Scene
from backends.scripted.script import Script, parse


class ScriptedConfig(BackendConfig, frozen=True, tag="scripted"):
    """A script in place, or the path of a file that holds one; neither: an echo."""

    script: Script | None = None
    script_file: str | None = None

    def __post_init__(self) -> None:
        if self.script is not None and self.script_file is not None:
            raise ValueError("write either `script` or `scriptFile`, not both")


config = ScriptedConfig


def check(config: ScriptedConfig, environment: Mapping[str, str]) -> str | None:  # noqa: ARG001 - the kind's shape
    """One sentence that says why the script cannot be played, or None."""
    try:
        _script_of(config)
    except BackendFailure as unreadable:
        return unreadable.failure.text
    return None


@asynccontextmanager
async def open(config: ScriptedConfig, tools: Tools) -> AsyncIterator["Scripted"]:  # noqa: A001 - the contract's name
    """A runtime with one session. Raises BackendFailure when the script fails `initialize` or `session/new`."""
    backend = Scripted(Runtime(_script_of(config)), tools)
    try:
        await backend.start()
        yield backend
    finally:
        backend.close()


class Scripted:
    """One opened runtime. It dies once, as a whole, when a step kills it."""

    about: About

    def __init__(self, runtime: Runtime, tools: Tools) -> None:
        self.tools = tools
        self._runtime = runtime
        self._parts: list[_Part] = []
        self._fallen: Failure | None = None
        self._gone = anyio.Event()
        self._session = Raw(b'""')

    async def start(self) -> None:
        """Play `initialize`, the login that worked before, and `session/new` where a session is wanted."""
        initialized = await self._open_with("initialize", {}, "starting")
        self.about = About(initialized)
        if self.tools.authenticated_by is not None:
            await self._play("authenticate", {"methodId": _raw(self.tools.authenticated_by)}, self.tools.between)
        if self.tools.setup is not None:
            opened = await self._open_with("session/new", {"cwd": _raw(self.tools.setup.cwd)}, "opening")
            self.about = About(initialized, opened)

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        self._raise_if_fallen()
        client.reached("submitted")
        params = {"sessionId": self._session, "prompt": turn.prompt}
        answer = await self._play("session/prompt", params, client, turn.cancel_asked)
        match answer:
            case s.Fail():
                raise BackendFailure(_failure(answer, "submitted"))
            case _:
                return _finished(answer)

    async def call(self, method: str, params: dict[str, Raw]) -> Raw:
        if "sessionId" in params:
            params = params | {"sessionId": self._session}
        answer = await self._play(method, params, self.tools.between)
        match answer:
            case s.Fail():
                raise RpcError(answer.code, answer.message, None if answer.data is None else _raw(answer.data))
            case _:
                return answer

    def tell(self, method: str, params: dict[str, Raw]) -> None:
        """A script has no steps for notifications."""

    async def gone(self) -> str:
        await self._gone.wait()
        return "" if self._fallen is None else self._fallen.text

    def fall(self, failure: Failure) -> None:
        """Die: nothing plays on, and whoever waits for an answer learns why there is none."""
        self._fallen = failure
        self.close()
        self._gone.set()

    def close(self) -> None:
        for part in self._parts:
            part.close()

    async def _open_with(self, method: str, params: dict[str, Raw], phase: Phase) -> Raw:
        self.tools.reached(phase)
        answer = await self._play(method, params, self.tools.between)
        match answer:
            case s.Fail():
                raise BackendFailure(_failure(answer, phase))
            case _:
                return answer

    async def _play(
        self, method: str, params: dict[str, Raw], client: Client, cancel_asked: CancelAsked | None = None
    ) -> Raw | s.Fail:
        self._raise_if_fallen()
        try:
            scene, moves = self._runtime.take(method, msgspec.json.encode(params))
        except msgspec.ValidationError as wrong:
            return s.Fail(-32602, str(wrong))
        if method == "session/new" and scene.session is not None:
            self._session = _raw(scene.session.id)
        part = _Part(self, client, scene, moves)
        self._parts = [each for each in self._parts if not each.play.is_over] + [part]
        try:
            part.play.start()
            if cancel_asked is not None:
                cancel_asked.then(part.play.cancel)
            await part.wait()
        finally:
            if part.answer is None:
                part.close()
        if part.answer is None:
            raise BackendFailure(self._fallen or Failure(FailureKind.CRASHED, "closed while it played"))
        return part.answer

    def _raise_if_fallen(self) -> None:
        if self._fallen is not None:
            raise BackendFailure(self._fallen)


class _Part:
    """The stage of one play; what is shown after its answer belongs to no attempt."""

    def __init__(self, backend: Scripted, client: Client, scene: Scene, moves: Moves[None]) -> None:
        self.answer: Raw | s.Fail | None = None
        self.play = Play(scene, moves, self)
        self._backend = backend
        self._client = client
        self._settled = anyio.Event()

    async def wait(self) -> None:
        """Wait for the answer, or for the runtime's death.

        Returns without a pause where there is nothing to wait for: what comes after the answer must not overtake it.
        """
        if not self._settled.is_set():
            await self._settled.wait()

    def close(self) -> None:
        self.play.close()
        self._settled.set()

    def perform(self, deed: Deed) -> None:
        match deed:
            case Show():
                self._client.show(_copies(deed.update, deed.times))
            case Tell():
                self._client.tell(deed.method, _members(deed.params))
            case Reply() | s.Fail():
                self._settle(deed.result if isinstance(deed, Reply) else deed)
            case s.Stderr():
                self._backend.tools.log("stderr", text=deed.text)
            case s.Spawn():
                pass  # There is no process to leave a child behind.
            case Noise():
                self._backend.fall(Failure(FailureKind.GARBLED, f"wrote what is no message: {deed.data[:80]!r}"))
            case s.CloseStdout():
                self._backend.fall(Failure(FailureKind.CRASHED, "closed its output"))
            case s.Exit():
                self._backend.fall(Failure(FailureKind.CRASHED, f"exited with status {deed.code}"))
            case s.Die():
                self._backend.fall(Failure(FailureKind.CRASHED, f"killed by SIG{deed.signal}"))
            case _:
                assert_never(deed)

    def ask(self, ask: Ask, answered: Callable[[Answer], None]) -> Asked:
        return self._client.ask(ask.method, _members(ask.params), answered)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        if seconds == 0:
            return asyncio.get_running_loop().call_soon(callback)
        clock = self._backend.tools.clock
        return clock.call_at(clock.now() + seconds, callback)

    def _settle(self, answer: Raw | s.Fail) -> None:
        # A second answer has no reader here.
        if self.answer is None:
            self.answer = answer
            self._client = self._backend.tools.between
            self._settled.set()


class _PromptAnswer(Struct, rename="camel"):
    stop_reason: StopReason


def _finished(answer: Raw) -> Finished:
    try:
        return Finished(msgspec.json.decode(answer, type=_PromptAnswer).stop_reason, answer)
    except msgspec.ValidationError as wrong:
        text = f"answered the prompt with what is no answer: {wrong}"
        raise BackendFailure(Failure(FailureKind.GARBLED, text, seen_at="submitted")) from wrong


def _failure(fail: s.Fail, phase: Phase) -> Failure:
    if fail.kind is not None:
        return Failure(fail.kind, fail.message, str(fail.code), seen_at=phase)
    data = None if fail.data is None else msgspec.json.encode(fail.data)
    return from_rpc_error(fail.code, fail.message, data, seen_at=phase)


def _script_of(config: ScriptedConfig) -> Script:
    if config.script_file is None:
        return config.script or Script()
    path = Path(config.script_file).expanduser()
    try:
        return parse(path.read_bytes())
    except (OSError, msgspec.DecodeError) as unreadable:
        text = f"the script {path} cannot be read: {unreadable}"
        raise BackendFailure(Failure(FailureKind.UNREACHABLE, text, seen_at="starting")) from unreadable


def _copies(update: Update, times: int) -> list[Update]:
    """As many updates of their own: whoever is shown one may change it."""
    return [Update(update.kind, dict(update.params), update.message_id, update.tool_call_id) for _ in range(times)]


def _members(params: s.Object) -> dict[str, Raw]:
    return {name: _raw(value) for name, value in params.items()}


def _raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))
