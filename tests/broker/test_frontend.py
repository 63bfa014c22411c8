"""One frontend's connection: what is answered, with what, and what is passed over in silence."""

from collections.abc import Callable
from pathlib import Path

import pytest
from anyio.lowlevel import checkpoint
from msgspec import Raw

from acp_broker.broker import frontend
from acp_broker.broker.outbox import FULL_BYTES
from acp_broker.broker.terms import Terms
from acp_broker.edge.channel import LAST_WORDS_S, OnLines
from acp_broker.edge.memory import MemoryChannel
from acp_broker.store import records
from tests.support.clock import settled
from tests.support.harness import Editor, house

pytestmark = pytest.mark.anyio

SAYS = {"turns": [[{"do": "say", "text": "x"}]]}


async def said(home, line: bytes) -> list[dict]:
    """What the broker answers to one raw line."""
    editor = await home.editor()
    since = len(editor.heard)
    editor.channel.say(line)
    await home.clock.advance(0)
    return editor.heard[since:]


@pytest.mark.parametrize(
    ("line", "code", "id"),
    [
        (b"{", -32700, None),
        (b"[]", -32600, None),
        (b"7", -32600, None),
        (b'{"jsonrpc":"2.0","id":1}', -32600, 1),
        (b'{"jsonrpc":"2.0","id":"a","method":7}', -32600, "a"),
    ],
)
async def test_what_is_no_message_gets_the_right_error(tmp_path, line, code, id):  # noqa: A002 - JSON-RPC's own word
    """JSON-RPC 2.0, section 5.1; the connection lives on."""
    async with house(tmp_path, primary=SAYS) as home:
        answers = await said(home, line)

    assert [(id, code)] == [(answer["id"], answer["error"]["code"]) for answer in answers]


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","method":"session/cancel"}',
        b'{"jsonrpc":"2.0","method":"session/cancel","params":[]}',
        b'{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"nowhere"}}',
        b'{"jsonrpc":"2.0","method":"$/cancel_request","params":{}}',
        b'{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":99}}',
        b'{"jsonrpc":"2.0","method":"session/unheard_of"}',
        b'{"jsonrpc":"2.0","method":"_x","params":7}',
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        b'{"jsonrpc":"2.0","id":99,"result":{}}',
        b'{"jsonrpc":"2.0","id":"99","result":{}}',
        b'{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}',
    ],
)
async def test_what_needs_no_answer_gets_none(tmp_path, line):
    """JSON-RPC 2.0: a notification is never answered, whatever is wrong with it; nor is an answer."""
    async with house(tmp_path, primary=SAYS) as home:
        answers = await said(home, line)

    assert ([], []) == (answers, home.log.of("broker_fault"))


async def test_a_notification_that_is_wrong_is_in_the_log(tmp_path):
    """Somebody writes that client, and looks for his cancel."""
    async with house(tmp_path, primary=SAYS) as home:
        await said(home, b'{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"nowhere"}}')

    assert ["session/cancel"] == [line["method"] for line in home.log.of("bad_notification")]


async def test_a_notification_before_initialize_is_dropped(tmp_path):
    """There is no session yet that it could speak of."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.connected()
        editor.notify("session/cancel", sessionId="x")
        await home.clock.advance(0)

    assert [] == home.log.of("bad_notification")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("session/prompt", {}),
        ("session/prompt", {"sessionId": "x"}),
        ("session/prompt", {"sessionId": "x", "prompt": "text"}),
        ("session/prompt", {"sessionId": "x", "prompt": [{}]}),
        ("session/new", {}),
        ("session/new", {"cwd": 7}),
        ("session/set_mode", {"sessionId": "x"}),
        ("session/set_config_option", {"sessionId": "x", "configId": "y"}),
        ("session/close", {}),
        ("session/delete", {"sessionId": 7}),
        ("authenticate", {}),
        ("session/list", {"cwd": 7}),
    ],
)
async def test_params_of_another_shape_are_a_bad_request(tmp_path, method, params):
    """-32602, with the method's name and the place."""
    async with house(tmp_path, primary=SAYS) as home:
        answer = await (await home.editor()).call(method, **params)

    assert (-32602, True) == (answer["error"]["code"], answer["error"]["message"].startswith(f"{method}: "))


async def test_ids_of_any_form_come_back_as_they_were(tmp_path):
    """JSON-RPC 2.0, section 4; to the byte."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        since = len(editor.raw)
        for id in (b'"a\\u0062"', b"1.50", b"-7"):  # noqa: A001 - JSON-RPC's own word
            editor.channel.say(b'{"jsonrpc":"2.0","id":%b,"method":"session/delete","params":{"sessionId":"x"}}' % id)

    assert [b'"a\\u0062"', b"1.50", b"-7"] == [
        line.split(b'"id":')[1].split(b',"result"')[0] for line in editor.raw[since:]
    ]


async def test_messages_are_answered_in_the_order_in_which_they_came(tmp_path):
    """Where nothing has to be waited for."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        requests = [editor.request("session/list") for _ in range(5)]
        await home.clock.advance(0)

    assert requests == [message["id"] for message in editor.heard[-5:]]


async def test_two_frontends_are_served_side_by_side(tmp_path):
    """Their ids and their words are their own."""
    async with house(tmp_path, primary=SAYS) as home:
        one, two = await home.editor(), await home.editor()
        turns = [await editor.prompt(await editor.new()) for editor in (one, two)]

    assert [["say x"], ["say x"]] == [turn.words for turn in turns] == [one.words, two.words]


async def test_both_frontends_of_a_session_see_what_it_shows(tmp_path):
    """The answer itself is for who asked, and the prompt for who did not."""
    async with house(tmp_path, primary=SAYS) as home:
        one, two = await home.editor(), await home.editor()
        session = await one.new()
        await two.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        since = len(two.heard)
        turn = await one.prompt(session, "hello")

    assert ["session/update", "session/update"] == [message.get("method") for message in two.heard[since:]]
    assert (["echo hello", "say x"], ["say x"]) == (two.words, turn.words)


async def test_what_was_asked_before_the_end_of_input_is_still_answered(tmp_path):
    """`printf ... | acp-broker stdio` closes its side at once."""
    async with house(tmp_path, primary={"new": [{"do": "stall", "ms": 1000}]}) as home:
        editor = await home.editor()
        request = editor.request("session/new", cwd="/", mcpServers=[])
        await editor.leave()
        await home.clock.advance(1)

        assert ("sessionId" in editor.reply(request)["result"], True) == (True, editor.has_left)


async def test_a_session_that_was_asked_for_before_the_end_of_input_is_answered_whatever_the_primary_does(tmp_path):
    """The wait of session/new is shorter than the wait for last answers."""
    async with house(tmp_path, primary={"new": [{"do": "stall"}]}) as home:
        editor = await home.editor()
        request = editor.request("session/new", cwd="/", mcpServers=[])
        await editor.leave()
        await home.clock.advance(3.1)

    assert "sessionId" in editor.reply(request)["result"]


async def test_at_the_end_of_input_nothing_is_waited_for_much_longer_than_a_session(tmp_path):
    """An agent that hangs: what it was asked is answered by us."""
    async with house(tmp_path, primary={"calls": {"_x": [{"do": "stall"}]}}) as home:
        editor = await home.editor()
        request = editor.request("_x", sessionId=await editor.new())
        await editor.leave()
        await home.clock.advance(3.9)
        before = editor.has_left
        await home.clock.advance(0.2)

        assert (False, True) == (before, editor.has_left)
    assert {"code": -32800, "message": "the client has left"} == editor.reply(request)["error"]


class Unread(MemoryChannel):
    """What is written waits until the editor reads it."""

    def __init__(self, on_lines: OnLines) -> None:
        super().__init__(on_lines)
        self._waiting: list[bytes] = []
        self._drained: list[Callable[[], None]] = []

    @property
    def pending(self) -> int:
        return sum(map(len, self._waiting))

    def write(self, data: bytes) -> None:
        self._waiting.append(data)

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._drained.append(callback)

    def read(self) -> None:
        """All that waits, once."""
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            super().write(data)
        for callback in self._drained:
            callback()


async def behind(home, terms: Terms | None = None) -> tuple[Editor, Unread, str]:
    """An editor that from now on reads when it is told to, its channel, and its session."""
    editor = Editor(home)
    editor.channel = channel = Unread(editor.on_lines)
    await home.connected(editor, terms=terms)
    editor.request("initialize", protocolVersion=1)
    opening = editor.request("session/new", cwd="/", mcpServers=[])
    await settled()
    channel.read()
    return editor, channel, editor.reply(opening)["result"]["sessionId"]


FLOOD = {"turns": [[{"do": "flood", "count": 20, "text": "x" * (FULL_BYTES // 4)}]]}


async def test_an_editor_that_has_left_is_sent_everything_while_it_reads(tmp_path):
    """However long that takes."""
    async with house(tmp_path, primary=FLOOD) as home:
        editor, channel, session = await behind(home)
        turn = await editor.prompt(session)
        await editor.leave()
        while not editor.has_left:
            await home.clock.advance(LAST_WORDS_S - 0.1)
            channel.read()
            await settled()
        channel.read()

    assert (20, "end_turn") == (len(turn.words), turn.outcome)


async def test_an_editor_that_has_left_and_reads_nothing_is_not_waited_for(tmp_path):
    """Its process may be stopped for good."""
    async with house(tmp_path, primary=FLOOD) as home:
        editor, _, session = await behind(home)
        await editor.prompt(session)
        await editor.leave()
        before = editor.has_left
        await home.clock.advance(LAST_WORDS_S)

        assert (False, True) == (before, editor.has_left)


async def test_a_close_that_nobody_reads_loses_nothing(tmp_path):
    """An editor that is held in a debugger reads on some day."""
    async with house(tmp_path, primary=FLOOD) as home:
        editor, channel, session = await behind(home)
        turn = await editor.prompt(session)
        editor.request("session/close", sessionId=session)
        await home.clock.advance(60)
        while channel.pending:
            channel.read()

    assert (20, "end_turn") == (len(turn.words), turn.outcome)


async def test_one_client_has_no_more_requests_open_than_it_may(tmp_path, monkeypatch):
    """Each costs a task and its answer: whoever asks faster than it can be answered must not fill the memory."""
    monkeypatch.setattr(frontend, "MOST_OPEN", 2)
    async with house(tmp_path, primary={"calls": {"_wait": [{"do": "stall", "ms": 1000}]}}) as home:
        editor = await home.editor()
        waiting = [editor.request("_wait") for _ in range(2)]
        refused = await editor.call("session/list")
        await home.clock.advance(1)
        answered = [editor.reply(one) for one in waiting]
        after = await editor.call("session/list")

    assert -33003 == refused["error"]["code"]
    assert [] == [one for one in (*answered, after) if "result" not in one]


async def test_a_client_that_sends_nothing_but_nonsense_does_not_fill_the_log(tmp_path):
    """The disk is everybody's; how much more there was is said when it has left."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        for _ in range(frontend.MOST_COMPLAINTS + 5):
            editor.channel.say(b"{")
        await editor.leave()

        assert frontend.MOST_COMPLAINTS == len(home.log.of("bad_message"))
        assert [("bad_message", 5)] == [(line["what"], line["count"]) for line in home.log.of("more_of_it")]


async def test_nothing_is_asked_of_a_client_that_has_left(tmp_path):
    """It is still being sent its last words, and would never answer."""
    flood = {"do": "flood", "count": 20, "text": "x" * (FULL_BYTES // 4)}
    asks = {"turns": [[flood, flood, {"do": "stall", "ms": 1000}, {"do": "askPermission"}, {"do": "sayAnswer"}]]}
    async with house(tmp_path, primary=asks) as home:
        editor, _, session = await behind(home, Terms("bridge", turns_go_on=True))
        await editor.prompt(session)
        other = await home.editor()
        await other.result("session/resume", sessionId=session, cwd="/", mcpServers=[])
        await editor.leave()
        await home.clock.advance(1)

        assert (False, 1) == (editor.has_left, len(other.of("session/request_permission")))


async def test_a_client_that_reads_nothing_has_one_file_open_however_much_it_loads(tmp_path):
    """Each load reads its session's log; the broker's descriptors are everybody's."""
    async with house(tmp_path, primary=FLOOD) as home:
        editor, channel, session = await behind(home)
        await editor.prompt(session)
        channel.read()
        before = open_files(tmp_path)
        for _ in range(5):
            editor.request("session/load", sessionId=session, cwd="/", mcpServers=[])
        await settled()

        assert 1 == open_files(tmp_path) - before


def open_files(folder: Path) -> int:
    """How many files below this folder are open."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.readlink().is_relative_to(folder) for link in links)


async def test_a_client_that_leaves_in_the_middle_of_a_turn_is_in_the_log(tmp_path):
    """Whoever wonders why a turn was cancelled, or why one runs that nobody hears, finds it there."""
    async with house(tmp_path, primary={"turns": [[{"do": "say", "text": "x"}, {"do": "waitCancel"}]]}) as home:
        idle, editor = await home.editor(), await home.editor()
        await idle.new()
        session = await editor.new()
        await editor.prompt(session)
        await idle.leave()
        await editor.leave()

        assert [[session]] == [line["sessions"] for line in home.log.of("frontend_left")]


async def test_what_shows_nothing_is_not_replayed_in_one_go(tmp_path):
    """Megabytes of files that an agent has written stand between two words: others have their turn meanwhile."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        log = home.session(session).log
        for _ in range(1000):
            log.append(records.line("sent", to=1, frame=Raw(b"{}")))
        await editor.prompt(session)
        load = editor.request("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        for _ in range(20):
            await checkpoint()
        replayed = editor.replies(load)
        await settled()

    assert ([], 1) == (replayed, len(editor.replies(load)))
