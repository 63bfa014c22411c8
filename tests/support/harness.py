"""A whole broker within the test: time by hand, scripted backends, frontends that remember what they heard.

    async with house(tmp_path, primary={"turns": [[{"do": "die"}]]}, spare={}) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session, "hello")
        assert ["say hello"] == turn.words

A backend is a script (docs/scripted.md), or an async context manager of one's own that is given the Tools. Nothing
waits for real time: what has come to rest without an answer is a test that failed.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import msgspec
from anyio.abc import TaskGroup

from acp_broker.broker.broker import Broker
from acp_broker.broker.policy import Policy
from acp_broker.broker.runtime import Runtime
from acp_broker.broker.session import Session
from acp_broker.broker.terms import Terms
from acp_broker.contract import Backend, Child, Tools
from acp_broker.core.names import BackendId, Candidate, ProfileId, SessionId
from acp_broker.core.turnrules import Limits
from acp_broker.edge.memory import MemoryChannel
from acp_broker.store.files import StateFolder
from backends.scripted import kind as scripted
from tests.support.clock import FakeClock, settled
from tests.support.session_logs import check_logs

Open = Callable[[Tools], AbstractAsyncContextManager[Backend]]
Script = Mapping[str, object]
# What an editor with everything declares.
EVERYTHING = {
    "fs": {"readTextFile": True, "writeTextFile": True},
    "terminal": True,
    "elicitation": {"form": {}, "url": {}},
    "auth": {"terminal": True},
}


class Log:
    """Keeps the lines of the broker's log."""

    def __init__(self) -> None:
        self.lines: list[dict] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.lines.append({"event": event, **fields})

    def of(self, event: str) -> list[dict]:
        return [line for line in self.lines if line["event"] == event]


class Turn:
    """What one prompt brought. `heard` holds the messages since it was sent, its reply last once there is one."""

    def __init__(self, editor: "Editor", session: str, request: object, since: int) -> None:
        self._editor = editor
        self._session = session
        self._since = since
        self.request = request

    @property
    def heard(self) -> list[dict]:
        heard = self._editor.heard[self._since :]
        ends = [index for index, message in enumerate(heard) if self._is_reply(message)]
        return heard[: ends[0] + 1] if ends else heard

    @property
    def is_answered(self) -> bool:
        return any(map(self._is_reply, self._editor.heard[self._since :]))

    @property
    def reply(self) -> dict:
        assert self.is_answered, f"no reply; heard {self.heard}"
        return self.heard[-1]

    @property
    def outcome(self) -> object:
        """The stop reason, or the error's code."""
        return self.reply["result"]["stopReason"] if "result" in self.reply else self.reply["error"]["code"]

    @property
    def error(self) -> str:
        return self.reply["error"]["message"]

    @property
    def told(self) -> dict:
        """Our own part of the reply: `_meta["acp-broker"]`, or the error's `data`."""
        return self.reply["error"]["data"] if "error" in self.reply else self.reply["result"]["_meta"]["acp-broker"]

    @property
    def attempts(self) -> list[str]:
        """Who was tried: `primary crashed`, `spare`."""
        return [" ".join(filter(None, (one["backend"], one.get("failure")))) for one in self.told.get("attempts", ())]

    @property
    def words(self) -> list[str]:
        """What was shown in its session, one string each: `say hello`, `tool_call call-1 failed`."""
        updates = [message["params"] for message in self.heard if is_update(message)]
        return [shown(params["update"]) for params in updates if params["sessionId"] == self._session]

    def _is_reply(self, message: dict) -> bool:
        return "method" not in message and message.get("id") == self.request


class Editor:
    """A frontend in memory. `heard` keeps every message; `answers` (by method) are given at the next free moment."""

    def __init__(self, home: "House", channel: MemoryChannel | None = None) -> None:
        self.home = home
        self.heard: list[dict] = []
        self.raw: list[bytes] = []
        self.answers: dict[str, object] = {}
        self.channel = channel or MemoryChannel(self.on_lines)
        self._next_id = 0
        self._left = anyio.Event()

    async def serve(self, terms: Terms) -> None:
        try:
            await self.home.broker.serve(self.channel, terms)
        finally:
            self._left.set()

    def on_lines(self, lines: list[bytes]) -> None:
        for line in [] if self.home.is_over else lines:
            message = json.loads(line)
            self.raw.append(line)
            self.heard.append(message)
            if "id" in message and message.get("method") in self.answers:
                self.home.soon(partial(self.answer, message, self.answers[message["method"]]))

    # --- speaking

    def write(self, message: Mapping[str, object]) -> None:
        self.channel.say(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def request(self, method: str, **params: object) -> int:
        self._next_id += 1
        self.write({"id": self._next_id, "method": method, "params": params})
        return self._next_id

    def notify(self, method: str, **params: object) -> None:
        self.write({"method": method, "params": params})

    def cancel(self, session: str) -> None:
        self.notify("session/cancel", sessionId=session)

    def answer(self, request: Mapping[str, object], result: object) -> None:
        """Answer an agent's request; `{"code": ...}` is an error."""
        key = "error" if isinstance(result, dict) and "code" in result else "result"
        self.write({"id": request["id"], key: result})

    def start(self, session: str, text: str = "hello", *, blocks: list[dict] | None = None, **members: object) -> Turn:
        """Send a prompt; nothing is waited for."""
        since = len(self.heard)
        prompt = [{"type": "text", "text": text}] if blocks is None else blocks
        request = self.request("session/prompt", sessionId=session, prompt=prompt, **members)
        return Turn(self, session, request, since)

    async def prompt(self, session: str, text: str = "hello", **members: object) -> Turn:
        """A prompt and all that happens without time passing."""
        turn = self.start(session, text, **members)
        await settled()
        return turn

    async def call(self, method: str, **params: object) -> dict:
        """The answer to a request that needs no time."""
        request = self.request(method, **params)
        await settled()
        return self.reply(request)

    async def result(self, method: str, **params: object) -> dict:
        answer = await self.call(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    async def initialize(self, capabilities: object = EVERYTHING, **members: object) -> dict:
        return await self.result("initialize", protocolVersion=1, clientCapabilities=capabilities, **members)

    async def opened(self, **members: object) -> dict:
        """The result of session/new."""
        return await self.result("session/new", **{"cwd": str(self.home.path), "mcpServers": [], **members})

    async def new(self, **members: object) -> str:
        return (await self.opened(**members))["sessionId"]

    async def leave(self) -> None:
        """Close the connection; what it still has to end may need time."""
        self.channel.close()
        await settled()

    @property
    def has_left(self) -> bool:
        return self._left.is_set()

    # --- listening

    def reply(self, request: object) -> dict:
        found = self.replies(request)
        assert found, f"no answer to {request}; heard {self.heard[-5:]}"
        return found[0]

    def replies(self, request: object) -> list[dict]:
        return [message for message in self.heard if "method" not in message and message.get("id") == request]

    def of(self, method: str) -> list[dict]:
        """The requests and notifications of this method, in order."""
        return [message for message in self.heard if message.get("method") == method]

    @property
    def words(self) -> list[str]:
        return [shown(message["params"]["update"]) for message in self.heard if is_update(message)]

    @property
    def updates(self) -> list[dict]:
        return [message["params"]["update"] for message in self.heard if is_update(message)]


class Doing:
    """What a test has begun: whether it has come to its end."""

    is_done = False


class House:
    """A running broker and its surroundings."""

    def __init__(self, path: Path, broker: Broker, clock: FakeClock, log: Log, tasks: TaskGroup) -> None:
        self.path = path
        # What the end of the broker brings is not what a test was about: nobody hears it.
        self.is_over = False
        self.broker = broker
        self.clock = clock
        self.log = log
        self._tasks = tasks

    async def editor(
        self, capabilities: object = EVERYTHING, *, terms: Terms | None = None, **members: object
    ) -> Editor:
        """A frontend that is connected and initialized."""
        editor = await self.connected(terms=terms)
        await editor.initialize(capabilities, **members)
        return editor

    async def connected(self, editor: Editor | None = None, *, terms: Terms | None = None) -> Editor:
        editor = editor or Editor(self)
        self._tasks.start_soon(editor.serve, terms or Terms("editor"))
        await settled()
        return editor

    async def adopt(
        self, *, policy: Mapping[str, object] | None = None, limits: Limits | None = None, **backends: object
    ) -> None:
        """The operator decides anew, as `house` was told first, and all that brings without time passing."""
        self.broker.adopt(decided(backends, policy, limits))
        await settled()

    def session(self, name: str) -> Session:
        return self.broker.sessions[SessionId(name)]

    async def doing(self, work: Callable[[], Awaitable[None]]) -> "Doing":
        """Something that the test does not wait for, as far as it goes without time passing."""
        doing = Doing()

        async def run() -> None:
            await work()
            doing.is_done = True

        self._tasks.start_soon(run)
        await settled()
        return doing

    def soon(self, callback: Callable[[], None]) -> None:
        async def run() -> None:
            callback()

        self._tasks.start_soon(run)

    def records(self, session: str) -> list[dict]:
        """The lines of a session's log file."""
        return [json.loads(line) for line in self.session(session).log.path.read_bytes().splitlines()]


def runtime(
    name: str, play: Script | Open, *, profile: str | None = None, limits: Limits | None = None, **members: object
) -> Runtime:
    """A configured backend that plays a script, or opens what `play` makes."""
    config = None if callable(play) else scripted.ScriptedConfig(script=msgspec.convert(play, scripted.Script))
    return Runtime(
        candidate=Candidate(BackendId(name), ProfileId(profile) if profile else None),
        kind="scripted",
        fingerprint=str(members.pop("fingerprint", name)),
        environment=lambda *_: {},
        open=play if config is None else partial(scripted.open, config),
        check=members.pop("check", lambda _: None),
        spawn=_no_child,
        limits=limits or Limits(),
        **members,
    )


def decided(
    backends: Mapping[str, object], policy: Mapping[str, object] | None = None, limits: Limits | None = None
) -> Policy:
    """The policy of these backends, the first of them the primary."""
    limits = limits or Limits()
    made = {
        BackendId(name): play if isinstance(play, Runtime) else runtime(name, play, limits=limits)
        for name, play in backends.items()
    }
    return Policy(order=tuple(made), runtimes=made, limits=limits, **(policy or {}))


@asynccontextmanager
async def house(
    path: Path,
    *,
    policy: Mapping[str, object] | None = None,
    limits: Limits | None = None,
    is_whole: bool = True,
    faulty_tasks: int = 0,
    **backends: object,
) -> AsyncIterator[House]:
    """A broker with these backends, the first of them the primary; its state folder is `path/state`.

    On the way out every session log is played again by the turn machine alone, unless it cannot be whole, and so many
    tasks have failed by a fault of ours.
    """
    clock, log = FakeClock(), Log()
    broker = Broker(decided(backends, policy, limits), StateFolder(path / "state"), clock, log)
    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            async with broker:
                home = House(path, broker, clock, log, tasks)
                yield home
                home.is_over = True
            tasks.cancel_scope.cancel()
        assert faulty_tasks == len(log.of("task_failed")), log.lines
    if is_whole:
        check_logs(path / "state")


# A test that takes this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 20.0


def is_update(message: Mapping[str, object]) -> bool:
    return message.get("method") == "session/update"


def shown(update: Mapping[str, object]) -> str:
    kind = str(update["sessionUpdate"])
    verb = {"agent_message_chunk": "say", "agent_thought_chunk": "think", "user_message_chunk": "echo"}.get(kind, kind)
    content = update.get("content")
    text = content.get("text") if isinstance(content, dict) else update.get("toolCallId")
    return " ".join(str(part) for part in (verb, text, update.get("status")) if part is not None)


async def _no_child(*_: object, **__: object) -> Child:
    raise AssertionError("no process in these tests")
