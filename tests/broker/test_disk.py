"""A disk that fails: the running turn finishes, the next is refused by name, and nobody has to restart anything."""

import pytest

from tests.support.disk import Disk
from tests.support.harness import house

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
SLOW = {"turns": [[{"do": "say", "text": "one"}, {"do": "stall", "ms": 1000}, {"do": "say", "text": "two"}]]}


@pytest.fixture
def disk(monkeypatch) -> Disk:
    return Disk(monkeypatch)


async def test_the_running_turn_finishes(tmp_path, disk):
    """A person waits for its answer."""
    async with house(tmp_path, is_whole=False, primary=SLOW) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())
        disk.room = 0
        await home.clock.advance(1)

    assert (["say one", "say two"], "end_turn") == (turn.words, turn.outcome)


async def test_its_reply_says_that_it_was_not_kept(tmp_path, disk):
    """Whoever looks for it tomorrow will not find it."""
    async with house(tmp_path, is_whole=False, primary=SLOW) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        disk.room = 0
        await home.clock.advance(1)
        path = home.session(session).log.path

    assert f"cannot write the session log {path}: No space left on device" == turn.told["unpersisted"]


async def test_the_log_says_that_it_was_not_kept(tmp_path, disk):
    """Whoever looks after a daemon reads no replies."""
    async with house(tmp_path, is_whole=False, primary=SLOW) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        disk.room = 0
        await home.clock.advance(1)
        (said,) = home.log.of("turn_not_kept")

    assert (session, True) == (said["session"], said["why"].endswith("No space left on device"))


async def test_the_next_prompt_is_refused_by_name(tmp_path, disk):
    """A local fault never walks the chain: every backend would have the same disk."""
    async with house(tmp_path, is_whole=False, primary=SLOW, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        disk.room = 0
        await home.clock.advance(1)
        turn = await editor.prompt(session)
        path = home.session(session).log.path

    assert (-33004, f"cannot write the session log {path}: No space left on device") == (turn.outcome, turn.error)


async def test_a_prompt_that_meets_a_full_disk_is_refused(tmp_path, disk):
    """It could not be kept: nothing is started for it."""
    async with house(tmp_path, is_whole=False, primary=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        disk.room = 10
        turn = await editor.prompt(session)

    assert (-33004, []) == (turn.outcome, turn.words)


async def test_once_there_is_room_prompts_are_answered_again(tmp_path, disk):
    """Nobody restarts the broker for it."""
    async with house(tmp_path, is_whole=False, primary=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        disk.room = 10
        await editor.prompt(session)
        disk.room = None
        turn = await editor.prompt(session)

    assert (["say spare"], False) == (turn.words, "unpersisted" in turn.told)


async def test_prompts_that_wait_are_refused_one_by_one(tmp_path, disk):
    """Each gets its answer."""
    async with house(tmp_path, is_whole=False, primary=SLOW) as home:
        editor = await home.editor()
        session = await editor.new()
        turns = [await editor.prompt(session) for _ in range(3)]
        disk.room = 0
        await home.clock.advance(1)

    assert ["end_turn", -33004, -33004] == [turn.outcome for turn in turns]


async def test_what_was_kept_is_replayed(tmp_path, disk):
    """The turns before and after the gap."""
    async with house(tmp_path, is_whole=False, primary={"turns": [[{"do": "echo", "chunks": 1}]]}) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "before")
        disk.room = 0
        await editor.prompt(session, "lost")
        disk.room = None
        await editor.prompt(session, "after")
        other = await home.editor()
        await other.result("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    assert ["echo before", "say before", "echo after", "say after"] == other.words


async def test_a_session_that_cannot_be_kept_is_not_opened(tmp_path, disk):
    """Named; and no agent is started for it."""
    async with house(tmp_path, primary=SPARE) as home:
        editor = await home.editor()
        disk.room = 0
        answer = await editor.call("session/new", cwd="/", mcpServers=[])
        disk.room = None

    error = answer["error"]
    assert (-33004, True) == (error["code"], error["message"].endswith("No space left on device"))


async def test_what_cannot_be_learnt_costs_nothing_but_a_wait(tmp_path, disk):
    """The small file is written in the background."""
    async with house(tmp_path, primary=SPARE) as home:
        editor = await home.connected()
        disk.room = 0
        await editor.initialize()
        disk.room = None
        turn = await editor.prompt(await editor.new())

    assert "end_turn" == turn.outcome


async def test_a_log_that_cannot_be_brought_to_the_disk_stops_nothing(tmp_path):
    """It is said in the broker's log; the broker still answers, and ends."""
    async with house(tmp_path, is_whole=False, primary=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        path = home.session(session).log.path
        path.rename(path.with_name("elsewhere"))
        path.symlink_to(path)
        turn = await editor.prompt(session)

    assert ("end_turn", True) == (turn.outcome, f"{path}: Too many" in home.log.of("not_synced")[-1]["why"])
