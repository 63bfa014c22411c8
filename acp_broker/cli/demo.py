"""`acp-broker demo`: five turns through chains of scripted agents, watched as they happen, and checked.

Everything is real but the models: this process is the editor, `acp-broker stdio` is its child, each agent is a child of
that one, and the timeline is read from the session's log. No network, no key; the state folder is a temporary one.
"""

import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory

import anyio
import msgspec
from anyio.abc import Process
from msgspec import Raw, Struct
from rich.console import Console

from acp_broker.cli.scenes import PROMPT, SCENES, Outcome, Scene
from acp_broker.cli.timeline import Tail, Timeline
from acp_broker.errors import BrokerError, RpcError, UsageError
from acp_broker.wire import jsonrpc
from acp_broker.wire.framing import MAX_LINE_BYTES, Lines

# A scene takes about one second; on a machine that is busy, many.
SCENE_LIMIT_S = 30.0
# How often the log is looked at: too fast for the eye.
LOOK_EVERY_S = 0.02
# For a person to read how a turn ended before the next one begins.
READ_S = 1.0
# -P: the folder that the demo is started in is no source of modules.
_PYTHON = (sys.executable, "-P", "-m")

_INTRO = """\
Five turns, each through a chain of agents. The agents are scripted: no model,
no key, no network. The rest is real: processes, signals, pipes, the log."""


class _Tried(Struct, frozen=True):
    backend: str
    failure: str | None = None
    ms: int = 0


class _Story(Struct, frozen=True):
    """What our `_meta` of a result and our `data` of an error have in common."""

    attempts: tuple[_Tried, ...] = ()
    backend: str | None = None


class _Meta(Struct, frozen=True):
    ours: _Story = msgspec.field(name="acp-broker")


class _Result(Struct, frozen=True):
    meta: _Meta = msgspec.field(name="_meta")


class _Opened(Struct, frozen=True):
    session: str = msgspec.field(name="sessionId")


class _Chunk(Struct, frozen=True):
    text: str = ""


class _Update(Struct, frozen=True):
    kind: str = msgspec.field(name="sessionUpdate")
    content: _Chunk = _Chunk()


class _Shown(Struct, frozen=True):
    update: _Update


def run(environ: Mapping[str, str], scenes: Sequence[Scene] = SCENES) -> int:
    """Play every scene. 0 when all went as they must, else 1."""
    console = Console(emoji=False, highlight=False, markup=False)
    try:
        return anyio.run(_play_all, console, environ, scenes)
    except KeyboardInterrupt:
        return 130


async def _play_all(console: Console, environ: Mapping[str, str], scenes: Sequence[Scene]) -> int:
    timeline = Timeline(console)
    timeline.say(_INTRO, "dim")
    good = 0
    for number, scene in enumerate(scenes, 1):
        timeline.say(f"\n{number}  {scene.title}", "bold")
        timeline.head()
        with TemporaryDirectory(prefix="acp-broker-demo-") as folder:
            good += await _play(scene, timeline, Path(folder), environ)
        if console.is_terminal:
            await anyio.sleep(READ_S)
    all_good = good == len(scenes)
    timeline.say(f"\n{good} of {len(scenes)} turns went as they must.", "bold green" if all_good else "bold red")
    timeline.say("Next: `acp-broker init` finds your own agents and writes a config.json.")
    return 0 if all_good else 1


async def _play(scene: Scene, timeline: Timeline, folder: Path, environ: Mapping[str, str]) -> bool:
    """Run one scene and say how it ended; whether that is how it must end."""
    try:
        with anyio.fail_after(SCENE_LIMIT_S):
            async with _broker(scene, folder, environ) as process:
                found = await _turn(Editor(process), timeline, folder)
    except (BrokerError, TimeoutError) as error:
        timeline.say(f"        ✗ it did not come to an end: {error or f'{SCENE_LIMIT_S:g} s are over'}", "red")
        return False
    if process.returncode != 0:
        timeline.say(f"        ✗ acp-broker stdio ended with exit status {process.returncode}", "red")
        return False
    if found != scene.outcome:
        timeline.say(f"        ✗ expected {scene.outcome}\n          found    {found}", "red")
        return False
    timeline.say(f"        ✓ {scene.moral}", "green")
    return True


@asynccontextmanager
async def _broker(scene: Scene, folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Process]:
    """`acp-broker stdio` with the scene's agents; it has ended when this is left."""
    config = folder / "config.json"
    config.write_text(json.dumps(_config(scene)))
    config.chmod(0o600)
    command = [*_PYTHON, "acp_broker.cli.main", "--config", str(config), "stdio"]
    env = {**environ, "ACP_BROKER_HOME": str(folder / "state")}
    async with await anyio.open_process(command, stdin=PIPE, stdout=PIPE, stderr=None, env=env) as process:
        yield process
        assert process.stdin is not None
        await process.stdin.aclose()
        await process.wait()


def _config(scene: Scene) -> object:
    primary, *fallbacks = scene.agents
    backends = {
        name: {"kind": "acp", "command": [*_PYTHON, "backends.scripted", "--script", json.dumps(script)]}
        for name, script in scene.agents.items()
    }
    return {"acp": {"backend": primary, "fallbacks": fallbacks}, "backends": backends}


async def _turn(editor: "Editor", timeline: Timeline, folder: Path) -> Outcome:
    """One prompt, its rows told while they come; what the editor got."""
    await editor.ask("initialize", {"protocolVersion": 1, "clientInfo": {"name": "acp-broker demo", "version": "1"}})
    opened = await editor.ask("session/new", {"cwd": str(folder), "mcpServers": []})
    session = msgspec.json.decode(opened, type=_Opened).session
    tail = Tail(folder / "state" / "sessions" / f"{session}.jsonl")

    def look() -> None:
        for record in tail.fresh():
            timeline.tell(record)

    answer = await editor.prompt(session, look)
    look()
    return _outcome(editor.words, answer, timeline)


def _outcome(words: str, answer: Raw | RpcError, timeline: Timeline) -> Outcome:
    if isinstance(answer, RpcError):
        story, code = msgspec.json.decode(answer.data or b"{}", type=_Story), answer.code
        timeline.say(f"        {answer.message}", "red")
    else:
        story, code = msgspec.json.decode(answer, type=_Result).meta.ours, None
        tried = " | ".join(f"{one.backend}: {one.failure or 'answered'}, {one.ms} ms" for one in story.attempts)
        timeline.say(f'        _meta["acp-broker"]: {tried}', "dim")
    return Outcome(words, story.backend, tuple(one.backend for one in story.attempts), code)


class Editor:
    """The frontend: speaks ACP over the pipes of `acp-broker stdio`, one request at a time."""

    def __init__(self, process: Process) -> None:
        self.words = ""
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._lines = Lines(MAX_LINE_BYTES)
        self._last_id = 0

    async def prompt(self, session: str, look: Callable[[], None]) -> Raw | RpcError:
        """The answer to the prompt; the words before it are in `words`. `look` is called again and again meanwhile.

        Raises UsageError when the broker ends.
        """
        params = {"sessionId": session, "prompt": [{"type": "text", "text": PROMPT}]}
        return await self._answer("session/prompt", params, look)

    async def ask(self, method: str, params: object) -> Raw:
        """One request; its result. Raises RpcError, and UsageError when the broker ends."""
        outcome = await self._answer(method, params)
        if isinstance(outcome, RpcError):
            raise outcome
        return outcome

    async def _answer(self, method: str, params: object, look: Callable[[], None] | None = None) -> Raw | RpcError:
        self._last_id += 1
        outcome: Raw | RpcError | None = None
        try:
            await self._stdin.send(jsonrpc.request(self._last_id, method, params))
            while outcome is None:
                if look is not None:
                    look()
                with anyio.move_on_after(LOOK_EVERY_S):
                    for line in self._lines.feed(await self._stdout.receive()):
                        outcome = self._heard(line) or outcome
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise UsageError(f"acp-broker stdio ended before it answered {method}") from error
        return outcome

    def _heard(self, line: bytes) -> Raw | RpcError | None:
        match jsonrpc.read(line):
            case jsonrpc.Response(_, outcome):
                return outcome
            case jsonrpc.Notification("session/update", params) if params is not None:
                update = msgspec.json.decode(params, type=_Shown).update
                if update.kind == "agent_message_chunk":
                    self.words += update.content.text
        return None
