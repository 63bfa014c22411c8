"""A message of megabytes is read beside the event loop: everybody else goes on, its own connection keeps its order."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint
from msgspec import Raw

from acp_broker.broker import asked, frontend
from acp_broker.broker.asked import LONG_BYTES, LongPrompt, unpacked
from acp_broker.broker.terms import Terms
from acp_broker.edge.memory import MemoryChannel
from acp_broker.wire import jsonrpc
from acp_broker.wire.jsonrpc import Request
from tests.support.clock import settled
from tests.support.harness import Editor, House, house

pytestmark = pytest.mark.anyio

LONG = "x" * LONG_BYTES
DEADLINE_S = 20.0
SAYS = {"turns": [[{"do": "say", "text": "got it"}]]}
HOLDS = {"turns": [[{"do": "say", "text": "got it"}, {"do": "stall", "ms": 1000}]]}


class Reading:
    """Long messages are read as far as `go` lets them: `begun` counts those that somebody reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self._go = threading.Event()
        monkeypatch.setattr(frontend, "unpacked", self._read)

    def _read(self, line: bytes) -> object:
        self.begun += 1
        assert self._go.wait(DEADLINE_S)
        return unpacked(line)

    def go(self) -> None:
        self._go.set()


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    reading = Reading(monkeypatch)
    yield reading
    reading.go()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait, while a thread waits for the test."""
    with fail_after(DEADLINE_S):
        while not is_so():
            await checkpoint()


async def test_others_go_on_while_a_long_message_is_read(tmp_path, reading):
    """One editor's picture is nobody else's pause."""
    async with house(tmp_path, primary=SAYS) as home:
        editor, other = await home.editor(), await home.editor()
        mine, theirs = await editor.new(), await other.new()
        long = editor.start(mine, LONG)
        await until(lambda: reading.begun == 1)
        short = other.start(theirs)
        await until(lambda: short.is_answered)
        before = long.is_answered
        reading.go()
        await settled()

    assert (False, "end_turn", "end_turn") == (before, long.outcome, short.outcome)


async def test_what_comes_behind_a_long_message_is_heard_behind_it(tmp_path, reading):
    """A cancel that overtook its prompt would be lost, and the prompt would run."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor = await home.editor()
        session = await editor.new()
        long = editor.start(session, LONG)
        await until(lambda: reading.begun == 1)
        editor.cancel(session)
        listed = editor.request("session/list")
        before = editor.replies(listed)
        reading.go()
        await settled()

    assert ([], "cancelled", 1) == (before, long.outcome, len(editor.replies(listed)))


async def test_one_read_is_heard_in_its_order(tmp_path):
    """What stands before a long message and behind it may come at once."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        said = [b'{"id":%d,"method":"x%b"}' % (n, LONG.encode() if n % 2 else b"") for n in range(5)]
        editor.channel._deliver([*said, b"{", b'{"id":5,"method":"x"}'])
        await settled()

    assert [0, 1, 2, 3, 4, None, 5] == [message["id"] for message in editor.heard[1:]]


async def test_a_client_that_leaves_behind_a_long_prompt_has_sent_it(tmp_path, reading):
    """The end of its stream stands behind the prompt; a bridge's turn runs on."""
    async with house(tmp_path, primary=SAYS) as home:
        bridge = await home.editor(terms=Terms("bridge", turns_go_on=True))
        session = await bridge.new()
        bridge.start(session, LONG)
        await until(lambda: reading.begun == 1)
        bridge.channel.close()
        reading.go()
        await settled()
        turns = [line["stop_reason"] for line in home.log.of("turn_over")]

    assert (["end_turn"], True) == (turns, bridge.has_left)


async def test_one_long_message_is_read_at_a_time(tmp_path, reading):
    """A crowd of them must not take all threads, nor the processor from the loop."""
    async with house(tmp_path, primary=SAYS) as home:
        editors = [await home.editor(), await home.editor()]
        turns = [editor.start(session, LONG) for editor, session in [(one, await one.new()) for one in editors]]
        await until(lambda: reading.begun > 0)
        for _ in range(100):
            await checkpoint()
        before = reading.begun
        reading.go()
        await settled()

    assert (1, ["end_turn", "end_turn"]) == (before, [turn.outcome for turn in turns])


class Pausing(MemoryChannel):
    """Remembers what it was told of reading."""

    def __init__(self, editor: Editor) -> None:
        super().__init__(editor.on_lines)
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


async def pausing(home: House) -> tuple[Editor, Pausing]:
    editor = Editor(home)
    editor.channel = channel = Pausing(editor)
    await home.connected(editor)
    await editor.initialize()
    return editor, channel


async def test_nothing_more_is_taken_from_the_client_meanwhile(tmp_path, reading):
    """Else it could fill our memory with what waits."""
    async with house(tmp_path, primary=SAYS) as home:
        editor, channel = await pausing(home)
        turn = editor.start(await editor.new(), LONG)
        await until(lambda: reading.begun == 1)
        before = list(channel.told)
        reading.go()
        await settled()

    assert (["pause"], ["pause", "resume"], "end_turn") == (before, channel.told, turn.outcome)


async def test_a_short_message_pauses_nothing(tmp_path):
    """A thread costs more than it frees."""
    async with house(tmp_path, primary=SAYS) as home:
        editor, channel = await pausing(home)
        await editor.prompt(await editor.new(), LONG[: LONG_BYTES - 1000])

    assert [] == channel.told


async def test_the_key_of_a_long_prompt_is_known(tmp_path):
    """It is sent again most of all: a connection that breaks breaks in the long ones."""
    keyed = {"_meta": {"acp-broker": {"idempotencyKey": "k"}}}
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        first = await editor.prompt(session, LONG, **keyed)
        again = await editor.prompt(session, LONG, **keyed)

    assert (first.reply["result"], ["say got it"], []) == (again.reply["result"], first.words, again.words)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"id":1,"method":"session/prompt","params":{"sessionId":"%b"}}', -32602),
        (b'{"id":1,"method":"session/prompt","params":"%b"}', -32602),
        (b'{"id":1,"method":"session/prompt","params":{"sessionId":"no","prompt":[{"type":"%b"}]}}', -32002),
        (b'{"id":1,"method":"%b"}', -32601),
    ],
)
async def test_what_is_wrong_with_a_long_message_is_said_as_of_a_short_one(tmp_path, line, code):
    """The same message, the same error."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        for text in (b"x", LONG.encode()):
            editor.channel.say(line % text)
            await settled()
    errors = [message["error"]["code"] for message in editor.heard[1:]]

    assert [code, code] == errors


def test_a_long_prompt_is_read_once(monkeypatch) -> None:
    """What a thread has read no handler reads again."""
    params = {"sessionId": "s", "prompt": [{"type": "text", "text": "x"}], "_meta": {"a": 1}}
    line = json.dumps({"id": 1, "method": "session/prompt", "params": params}).encode()
    short, long = jsonrpc.read(line), unpacked(line)
    assert isinstance(short, Request)
    assert isinstance(long, LongPrompt)
    known = asked.asked(short)
    monkeypatch.setattr(asked, "members", None)

    assert (known, Raw(b"1")) == (asked.asked(long), long.id)
