"""What is expensive for us is counted as much as what is expensive to send: one client holds up nobody else."""

from pathlib import Path

import pytest

from acp_broker.broker.frontend import HIDDEN_BYTES, REPLAY_BYTES
from acp_broker.broker.returning import READ_AS_ONE
from acp_broker.broker.revival import LISTED_BYTES
from acp_broker.edge.memory import MemoryChannel
from tests.broker.test_revival import reopen, said
from tests.support.clock import settled
from tests.support.harness import Editor, House, house
from tests.support.numbered import NUMBERS, after

pytestmark = pytest.mark.anyio

LONG = {"turns": [[{"do": "say", "text": "x" * 20 * REPLAY_BYTES, "chunks": 20}]]}


class Charging(MemoryChannel):
    """Keeps what it was charged; each charge has to be waited for as long as `wait_s` says."""

    def __init__(self, editor: Editor, wait_s: float) -> None:
        super().__init__(editor.on_lines)
        self.charges: list[int] = []
        self.wait_s = wait_s

    def charge(self, size: int) -> float:
        self.charges.append(size)
        return self.wait_s


async def charged(home: House, wait_s: float = 0.0, capabilities: object = None) -> tuple[Editor, Charging]:
    editor = Editor(home)
    editor.channel = channel = Charging(editor, wait_s)
    await home.connected(editor)
    await editor.initialize(capabilities or {})
    return editor, channel


async def test_a_load_costs_what_it_sends(tmp_path: Path) -> None:
    """A hundred bytes may ask for a hundred megabytes."""
    async with house(tmp_path, primary=LONG) as home:
        editor, channel = await charged(home)
        session = await editor.new()
        await editor.prompt(session)
        since = len(editor.raw)
        await editor.result("session/load", **reopen(tmp_path, session))
        sent = sum(len(line) for line in editor.raw[since:] if b'"session/update"' in line)

    # What shows nothing is read as well.
    assert sent < sum(channel.charges) < sent + 10 * HIDDEN_BYTES


async def test_a_short_load_costs_as_well(tmp_path: Path) -> None:
    """A thousand of them are long."""
    session = await said(tmp_path)
    async with house(tmp_path, primary=LONG) as home:
        editor, channel = await charged(home)
        await editor.result("session/resume", **reopen(tmp_path, session))
        before = len(channel.charges)
        await editor.result("session/load", **reopen(tmp_path, session))

    assert [True] == [one > 0 for one in channel.charges[before:]]


async def test_a_load_goes_on_in_the_pace_of_the_client(tmp_path: Path) -> None:
    """Else a client that asks for a thousand keeps us busy, and pays later."""
    async with house(tmp_path, primary=LONG) as home:
        editor, channel = await charged(home)
        session = await editor.new()
        await editor.prompt(session)
        channel.wait_s, channel.charges = 1.0, []
        loading = editor.request("session/load", **reopen(tmp_path, session))
        await settled()
        paid = [len(channel.charges)]
        for _ in range(3):
            await home.clock.advance(1.0)
            paid.append(len(channel.charges))
        before = editor.replies(loading)
        await home.clock.advance(60.0)

    assert ([1, 2, 3, 4], [], 1) == (paid, before, len(editor.replies(loading)))


async def test_a_session_that_is_read_from_the_disk_costs_its_log(tmp_path: Path) -> None:
    """All of it is read before anything is said."""
    session = await said(tmp_path, LONG)
    size = (tmp_path / "state" / "sessions" / f"{session}.jsonl").stat().st_size
    async with house(tmp_path, primary=LONG) as home:
        editor, channel = await charged(home)
        await editor.result("session/resume", **reopen(tmp_path, session))
        first = list(channel.charges)
        await editor.result("session/resume", **reopen(tmp_path, session))

    assert ([size // READ_AS_ONE], first) == (first, channel.charges)


async def test_a_resume_costs_what_it_goes_back(tmp_path: Path) -> None:
    """What was missed is read from the log, and sent."""
    async with house(tmp_path, primary=LONG) as home:
        one, other = await home.editor(), await charged(home, capabilities=NUMBERS)
        session = await one.new()
        await one.prompt(session)
        editor, channel = other
        await editor.result("session/resume", **reopen(tmp_path, session), **after(0))
        size = home.session(session).log.shown

    assert [size // READ_AS_ONE] == channel.charges


async def test_a_list_costs_what_it_looks_at(tmp_path: Path) -> None:
    """Ten thousand sessions are looked at for a page of a hundred."""
    async with house(tmp_path, primary=LONG) as home:
        editor, channel = await charged(home)
        for _ in range(3):
            await editor.new()
        await editor.result("session/list", cwd="/nowhere")

    assert [3 * LISTED_BYTES] == channel.charges


@pytest.mark.parametrize("method", ["session/list", "session/resume"])
async def test_expensive_requests_of_one_client_wait_for_each_other_and_for_nobody_else(tmp_path, method) -> None:
    """They are paid for one by one; another client's are its own."""
    sessions = [await said(tmp_path), await said(tmp_path)]
    async with house(tmp_path, primary=LONG) as home:
        (editor, channel), other = await charged(home, wait_s=1.0), await home.editor()
        asked = [editor.request(method, **reopen(tmp_path, session)) for session in sessions]
        await settled()
        begun = [len(channel.charges)]
        await other.result("session/list")
        await home.clock.advance(1.0)
        begun.append(len(channel.charges))
        await home.clock.advance(1.0)

    assert ([1, 2], [1, 1]) == (begun, [len(editor.replies(one)) for one in asked])
