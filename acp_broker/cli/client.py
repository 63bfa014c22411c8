"""A small ACP client in this process: one session, prompts in order, what comes back as plain values."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from anyio import Event, create_task_group
from anyio.abc import TaskGroup
from msgspec import UNSET, Raw, Struct, UnsetType

from acp_broker.broker.broker import Broker
from acp_broker.broker.terms import Terms
from acp_broker.edge.memory import MemoryChannel
from acp_broker.errors import METHOD_NOT_FOUND, RpcError, UsageError
from acp_broker.wire import jsonrpc


class Content(Struct):
    type: str = ""
    text: str = ""


class Shown(Struct):
    """One update, as far as a terminal shows it."""

    kind: str = msgspec.field(name="sessionUpdate")
    content: Content | list[Raw] | UnsetType = UNSET
    title: str | UnsetType = UNSET
    status: str | UnsetType | None = UNSET


class _Params(Struct):
    update: Shown


class _Opened(Struct):
    session: str = msgspec.field(name="sessionId")


class Client:
    """Use it with `async with`. `shown` is called with each update as it comes; permissions are declined."""

    def __init__(self, broker: Broker, environ: Mapping[str, str], shown: Callable[[Shown], None]) -> None:
        self._broker = broker
        self._environ = environ
        self._shown = shown
        self._channel = MemoryChannel(self._on_lines)
        self._answers: dict[int, tuple[Event, list[Raw | Exception]]] = {}
        self._last_id = 0
        self._session = ""
        self._tasks: TaskGroup

    async def __aenter__(self) -> Self:
        self._tasks = await create_task_group().__aenter__()
        self._tasks.start_soon(self._broker.serve, self._channel, Terms("terminal", self._environ))
        try:
            await self.ask("initialize", {"protocolVersion": 1, "clientInfo": {"name": "acp-broker", "version": "1"}})
            opened = await self.ask("session/new", {"cwd": _here(), "mcpServers": []})
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._session = msgspec.json.decode(opened, type=_Opened).session
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        # The caller's error is the caller's: a task group would wrap it.
        await self._tasks.__aexit__(None, None, None)

    async def prompt(self, text: str) -> dict[str, object]:
        """Run one turn; its result. Raises RpcError."""
        params = {"sessionId": self._session, "prompt": [{"type": "text", "text": text}]}
        return msgspec.json.decode(await self.ask("session/prompt", params), type=dict[str, object])

    def cancel(self) -> None:
        self._channel.say(jsonrpc.notification("session/cancel", {"sessionId": self._session}))

    async def ask(self, method: str, params: object) -> Raw:
        """One request; its result. Raises RpcError, and what `shown` raised meanwhile."""
        self._last_id += 1
        answered, outcome = self._answers[self._last_id] = Event(), []
        self._channel.say(jsonrpc.request(self._last_id, method, params))
        await answered.wait()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def _on_lines(self, lines: list[bytes]) -> None:
        for line in lines:
            match jsonrpc.read(line):
                case jsonrpc.Response(id, outcome) if id is not None:
                    answered, answer = self._answers.pop(int(bytes(id)))
                    answer.append(outcome)
                    answered.set()
                case jsonrpc.Notification("session/update", params) if params is not None:
                    self._show(msgspec.json.decode(params, type=_Params).update)
                case jsonrpc.Request(id, method, _):
                    self._channel.say(jsonrpc.answer(id, _declined(method)))

    def _show(self, update: Shown) -> None:
        """Where the words go may be full, or closed: then whoever waits is told, and the turn is not waited for."""
        try:
            self._shown(update)
        except OSError as error:
            for answered, answer in self._answers.values():
                answer.append(error)
                answered.set()


def _here() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError as error:
        raise UsageError("the current folder was deleted; cd to one that is there") from error


def _declined(method: str) -> Raw | RpcError:
    if method == "session/request_permission":
        return Raw(b'{"outcome":{"outcome":"cancelled"}}')
    return RpcError(METHOD_NOT_FOUND, f"{method}: not in a terminal")
