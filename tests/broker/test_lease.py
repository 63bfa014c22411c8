"""What other processes do to a session between two turns of ours, and what becomes of it."""

import pytest

from acp_broker.store import owned
from acp_broker.wire.acp import message
from tests.broker.test_handoff import Recorder, said
from tests.broker.test_keys import accepted, keyed
from tests.broker.test_revival import NOTE, reopen
from tests.broker.test_shared import HOLDS, SAYS
from tests.support.clock import settled
from tests.support.disk import Disk
from tests.support.harness import House, house

pytestmark = pytest.mark.anyio

LATE = message("late", messageId="late")


def dies(home: House, session: str) -> None:
    """As after kill -9: it writes nothing more, and its lease is free."""
    log = home.session(session).log
    log.fault = "dead"
    owned.let_go(log._file._fd)


async def test_words_between_turns_hide_no_turn_of_another_process(tmp_path):
    """They are written behind it, by a process that has not read it yet: its agent must be told all the same."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, agent=a.open) as home, house(tmp_path, agent=b.open) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.prompt(session, "two")
        home.session(session).show([LATE], 0)
        await editor.prompt(session, "three")

    assert ["[user]", "two", "[answer of agent]", "b answers"] == said(a.prompts[1][0])


async def test_a_turn_that_ran_elsewhere_when_the_session_was_loaded_and_died_is_interrupted(tmp_path):
    """Nothing was written since it was loaded, and yet something has happened."""
    async with house(tmp_path, a=HOLDS, is_whole=False) as home, house(tmp_path, a=SAYS, is_whole=False) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session, "long")
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        dies(home, session)
        turn = await elsewhere.prompt(session, "next")
        kinds = [
            record["record"] for record in other.records(session) if record["record"] in ("accepted", "interrupted")
        ]

    assert ("end_turn", ["accepted", "interrupted", "accepted"]) == (turn.outcome, kinds)


async def test_that_another_process_died_in_its_turn_is_shown_when_the_session_goes_on(tmp_path):
    """Its words stop in the middle; whoever reads them should know that nobody goes on with them."""
    async with house(tmp_path, a=HOLDS, is_whole=False) as home, house(tmp_path, a=SAYS, is_whole=False) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        dies(home, session)
        turn = await elsewhere.prompt(session, "next")

    assert ["echo long", "say half", f"say {NOTE}", "say one"] == turn.words


async def test_a_log_that_could_not_be_read_is_read_again_for_the_next_prompt(tmp_path, monkeypatch):
    """A turn that begins without what was said elsewhere would begin with a stale history."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, agent=a.open) as home, house(tmp_path, agent=b.open) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.prompt(session, "two")
        path = home.session(session).log.path
        path.chmod(0)
        monkeypatch.setattr("acp_broker.broker.lease.past", _unreadable)
        refused = await editor.prompt(session, "three")
        monkeypatch.undo()
        path.chmod(0o600)
        await editor.prompt(session, "four")

    assert (-33004, ["[user]", "two", "[answer of agent]", "b answers"]) == (refused.outcome, said(a.prompts[1][0]))


async def test_what_waited_for_the_lease_is_shown_once_and_whole(tmp_path):
    """A frontend that came meanwhile gets what the other process wrote, and then what waited behind it."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        other.session(session).show([LATE], 0)
        third = await other.editor()
        await third.result("session/load", **reopen(tmp_path, session))
        await home.clock.advance(1)
        await other.clock.advance(1)
        await elsewhere.prompt(session, "next")

    assert ["echo long", "say half", "say whole", "say late", "echo next", "say one"] == third.words


async def test_what_waited_for_the_lease_is_shown_as_soon_as_it_is_free(tmp_path):
    """No prompt has to come for that, which may take days; a mode that the user has set would be lost meanwhile."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        other.session(session).show([LATE], 0)
        before = elsewhere.words
        await home.clock.advance(1)
        await other.clock.advance(1)
        turn = await editor.prompt(session, "the lease is free again")

    assert ([], ["echo long", "say half", "say whole", "say late"]) == (before, elsewhere.words[:4])
    assert "say half" in turn.words


async def test_what_waits_for_the_lease_waits_on_when_prompts_would_be_refused(tmp_path):
    """A turn may take hours: what cannot be sent again is written after it all the same."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        other.session(session).show([LATE], 0)
        refused = await elsewhere.prompt(session, "next")
        await other.clock.advance(61)
        await home.clock.advance(1)
        await other.clock.advance(1)

    assert (-33003, "say late") == (refused.outcome, elsewhere.words[-1])


async def test_a_prompt_sent_again_to_another_process_is_run_once(tmp_path):
    """Its first turn still runs there: whoever asks here waits for that one's answer, and so do those who joined."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, **keyed("k"))
        again = [await elsewhere.prompt(session, **keyed("k")) for _ in range(2)]
        before = [turn.is_answered for turn in again]
        await home.clock.advance(1)
        await other.clock.advance(1)
        count = accepted(other, session)

    assert (1, [False] * 2, ["end_turn"] * 2) == (count, before, [turn.outcome for turn in again])


async def test_another_prompt_under_a_key_that_was_used_elsewhere_is_an_error(tmp_path):
    """As within one process."""
    async with house(tmp_path, a=SAYS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "this", **keyed("k"))
        turn = await elsewhere.prompt(session, "that", **keyed("k"))

    assert -32602 == turn.outcome


def _unreadable(path):
    raise PermissionError(13, "Permission denied", str(path))


async def test_a_turn_that_another_process_ran_while_our_disk_was_full_is_told(tmp_path, monkeypatch):
    """What could not be written here is no reason to miss what was written there; nor for those who watch."""
    disk, a, b = Disk(monkeypatch), Recorder("a"), Recorder("b")
    async with house(tmp_path, agent=a.open) as home, house(tmp_path, agent=b.open) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        disk.room = 0
        home.session(session).show([LATE], 0)
        disk.room = None
        await elsewhere.prompt(session, "two")
        turn = await editor.prompt(session, "three")

    assert ["[user]", "two", "[answer of agent]", "b answers"] == said(a.prompts[1][0])
    assert ["echo two", "say b answers", "say a answers"] == turn.words


class SharedMarks:
    """Marks of two brokers that are in one process here: POSIX locks are between processes."""

    def __init__(self, others: "SharedMarks | None" = None) -> None:
        self._mine: set[str] = set()
        self._others = others
        if others is not None:
            others._others = self

    def add(self, session: str) -> None:
        self._mine.add(session)

    def remove(self, session: str) -> None:
        self._mine.discard(session)

    def is_elsewhere(self, session: str) -> bool:
        return self._others is not None and session in self._others._mine

    def close(self) -> None:
        self._mine.clear()


def prompts(home: House, session: str) -> list[str]:
    """In the order in which their turns began."""
    accepted = [record for record in home.records(session) if record["record"] == "accepted"]
    return [record["prompt"][0]["text"] for record in accepted]


async def both_queued(home: House, other: House, mine: int, theirs: int) -> list[str]:
    """Two brokers with so many prompts each: how their turns follow each other."""
    home.broker.folder.awaited = marks = SharedMarks()
    other.broker.folder.awaited = SharedMarks(marks)
    editor, elsewhere = await home.editor(), await other.editor()
    session = await editor.new()
    await elsewhere.result("session/resume", **reopen(home.path, session))
    turns = [await editor.prompt(session, f"a{number}") for number in range(mine)]
    turns += [await elsewhere.prompt(session, f"b{number}") for number in range(theirs)]
    for _ in range(200):
        await home.clock.advance(0.1)
        await other.clock.advance(0.1)
    assert {"end_turn"} == {turn.outcome for turn in turns}
    return prompts(home, session)


async def test_a_broker_with_a_queue_lets_the_other_have_its_turn(tmp_path):
    """Whoever sends much must not shut the others out until they are refused."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=HOLDS) as other:
        assert ["a0", "b0", "a1", "a2"] == await both_queued(home, other, 3, 1)


async def test_two_brokers_with_queues_take_turns(tmp_path):
    """One each."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=HOLDS) as other:
        assert ["a0", "b0", "a1", "b1", "a2", "b2"] == await both_queued(home, other, 3, 3)


async def test_a_queue_that_nobody_waits_behind_goes_on_at_once(tmp_path):
    """To give way takes a fifth of a second."""
    async with house(tmp_path, a=SAYS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        turns = [editor.start(session, text) for text in "abc"]
        await settled()

    assert ["end_turn"] * 3 == [turn.outcome for turn in turns]


async def test_who_waits_says_so_until_it_has_the_lease(tmp_path):
    """By that the other one sees that somebody is there to give way to."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        other.broker.folder.awaited = marks = SharedMarks()
        seen = SharedMarks(marks)
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session)
        told = [seen.is_elsewhere(session)]
        await elsewhere.prompt(session)
        told.append(seen.is_elsewhere(session))
        await home.clock.advance(1)
        await other.clock.advance(1)
        told.append(seen.is_elsewhere(session))

    assert [False, True, False] == told
