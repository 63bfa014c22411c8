"""The end of an agent, step by step: a child whose output, exit and answers the test decides."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import pytest

import backends.acp as kind
from acp_broker.core.failures import FailureKind
from acp_broker.errors import BackendFailure
from backends.acp import AcpConfig, local
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, setup, turn

pytestmark = pytest.mark.anyio

ANSWERS = {"initialize": {"protocolVersion": 1}, "session/new": {"sessionId": "theirs"}}
CONFIG = AcpConfig(command=("agent",))


class FakeChild:
    """Answers what `ANSWERS` knows; its output ends when `left` is set, the rest of it when it is stopped."""

    pid = 1

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.left = anyio.Event()
        self.heard: list[str] = []
        self.graces: list[tuple[float, float]] = []
        self._exited = anyio.Event()
        self._lines: list[bytes] = []
        self._spoke = anyio.Event()

    def write(self, data: bytes) -> None:
        message = json.loads(data)
        self.heard.append(message["method"])
        if message["method"] in ANSWERS:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": ANSWERS[message["method"]]}
            self._lines.append(json.dumps(answer).encode())
            self._spoke.set()

    async def run(self, on_lines: Callable[[list[bytes]], None]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._speak, on_lines)
            await self.left.wait()
            tasks.cancel_scope.cancel()

    async def _speak(self, on_lines: Callable[[list[bytes]], None]) -> None:
        while True:
            await self._spoke.wait()
            self._spoke = anyio.Event()
            lines, self._lines = self._lines, []
            on_lines(lines)

    def stderr_tail(self) -> str:
        return ""

    async def wait(self) -> int:
        await self._exited.wait()
        return self.returncode or 0

    def exit(self) -> None:
        self.returncode = 3
        self._exited.set()

    def kill(self) -> None:
        self.exit()
        self.left.set()

    async def stop(self, *, eof_grace_s: float, term_grace_s: float) -> None:
        self.graces.append((eof_grace_s, term_grace_s))
        self.kill()


@pytest.fixture
def child() -> FakeChild:
    return FakeChild()


@pytest.fixture
def tools(child: FakeChild, tmp_path: Path) -> FakeTools:
    tools = FakeTools(setup=setup(str(tmp_path)))

    async def spawn(*_: object, **__: Mapping[str, object]) -> FakeChild:
        return child

    tools.spawn = spawn
    return tools


async def test_an_agent_whose_output_has_ended_is_given_no_prompt(child, tools, monkeypatch) -> None:
    """It died between two turns: under the commit point `submitted` the next one may have a prompt nobody read."""
    monkeypatch.setattr(local, "EXIT_GRACE_S", DEADLINE_S)
    client = FakeClient()
    with anyio.fail_after(DEADLINE_S):
        async with kind.open(CONFIG, tools) as backend, anyio.create_task_group() as tasks:
            child.left.set()
            await anyio.wait_all_tasks_blocked()

            async def prompt() -> None:
                with pytest.raises(BackendFailure) as raised:
                    await backend.run(turn(), client)
                told.append((raised.value.failure.kind, raised.value.failure.seen_at))

            told: list[object] = []
            tasks.start_soon(prompt)
            await anyio.wait_all_tasks_blocked()
            child.exit()

    assert ([(FailureKind.CRASHED, "opening")], []) == (told, client.phases)


async def test_an_agent_that_is_gone_is_given_no_prompt(child, tools) -> None:
    """As above, a moment later."""
    client = FakeClient()
    async with kind.open(CONFIG, tools) as backend:
        child.kill()
        await backend.gone()
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)

    assert (FailureKind.CRASHED, "opening", []) == (
        raised.value.failure.kind,
        raised.value.failure.seen_at,
        client.phases,
    )


async def test_a_question_that_was_given_up_is_forgotten(tools) -> None:
    """An agent that never answers set_mode must not fill the memory of a session that lives for weeks."""
    async with kind.open(CONFIG, tools) as backend:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await backend.call("_never_answered", {})
        await anyio.lowlevel.checkpoint()
        left = backend._peer._questions

    assert {} == left


@pytest.mark.parametrize(
    ("leaves", "graces"),
    [
        ("eof", (local.EOF_GRACE_S, local.TERM_GRACE_S)),
        ("term", (0.0, local.TERM_GRACE_S)),
        ("kill", (0.0, 0.0)),
    ],
)
async def test_an_agent_that_served_may_leave_in_its_own_way(child, tools, leaves, graces) -> None:
    """Some write down what they know at the end of their input; some hear nothing less than SIGKILL."""
    async with kind.open(AcpConfig(command=("agent",), agent={"leaves": leaves}), tools):
        pass

    assert [graces] == child.graces


async def test_an_agent_that_does_not_open_is_killed_at_once(child, tools, monkeypatch) -> None:
    """It has nothing to write down, and the next in the chain waits."""
    monkeypatch.setitem(ANSWERS, "session/new", {})
    with pytest.raises(BackendFailure):
        async with kind.open(CONFIG, tools):
            pass

    assert [(0.0, 0.0)] == child.graces
