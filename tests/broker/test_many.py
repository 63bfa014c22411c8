"""Many clients and many sessions: what one client may have, and what it costs the others."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from anyio import sleep_forever
from msgspec import Raw

from acp_broker.broker import asleep
from acp_broker.broker.asleep import DOZE_EVERY_S
from acp_broker.broker.runtime import REAP_AFTER_S
from acp_broker.broker.terms import Terms
from tests.broker.test_revival import MODES
from tests.broker.test_shared import Moded
from tests.support.harness import house

pytestmark = pytest.mark.anyio

ECHO = {"turns": [[{"do": "echo", "chunks": 1}]]}
BRIDGE = Terms("bridge", turns_go_on=True)
TWO = Terms("bridge", turns_go_on=True, most_sessions=2)
FULL = (-33003, "this client has 2 sessions open, all that limits.sessionsPerClient allows; close one first")


def error(answer):
    return answer["error"]["code"], answer["error"]["message"]


async def opening(editor):
    return await editor.call("session/new", cwd=str(editor.home.path), mcpServers=[])


async def test_a_client_has_no_more_sessions_than_it_may(tmp_path):
    """Each of them has an agent."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=TWO)
        await editor.new()
        await editor.new()
        answer = await opening(editor)

        assert (FULL, 2) == (error(answer), len(home.broker.sessions))


async def test_another_client_has_as_many(tmp_path):
    """The limit is for one connection."""
    async with house(tmp_path, primary=ECHO) as home:
        one, two = await home.editor(terms=TWO), await home.editor(terms=TWO)
        for editor in (one, two, one, two):
            await editor.new()

        assert 4 == len(home.broker.sessions)


@pytest.mark.parametrize("method", ["session/close", "session/delete"])
async def test_a_session_that_was_closed_makes_room(tmp_path, method):
    """Its agent is gone."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=TWO)
        first, _ = await editor.new(), await editor.new()
        await editor.result(method, sessionId=first)

        assert "result" in await opening(editor)


@pytest.mark.parametrize("method", ["session/load", "session/resume", "session/prompt"])
async def test_taking_up_a_session_counts_as_well(tmp_path, method):
    """Its agent is started, too: open and close by turns must not be a way around the limit."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=TWO)
        first, _ = await editor.new(), await editor.new()
        await editor.result("session/close", sessionId=first)
        await editor.new()
        members = {"prompt": [{"type": "text", "text": "x"}]} if method == "session/prompt" else {}
        answer = await editor.call(method, sessionId=first, cwd=str(tmp_path), mcpServers=[], **members)

    assert FULL == error(answer)


async def test_a_session_that_it_has_already_is_not_counted_twice(tmp_path):
    """A client may load what it has open, to see it again."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=TWO)
        first, _ = await editor.new(), await editor.new()

        assert "result" in await editor.call("session/load", sessionId=first, cwd=str(tmp_path), mcpServers=[])


# --- idle sessions


def open_logs(folder: Path) -> int:
    """How many session logs below this folder are open."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.readlink().is_relative_to(folder) and link.readlink().suffix == ".jsonl" for link in links)


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """How many bytes are allocated now."""

    def allocated() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        yield allocated
    finally:
        tracemalloc.stop()


async def talked(editor, count):
    """So many sessions, each with a turn; what the editor itself keeps of it is no cost of the broker's."""
    sessions = []
    for _ in range(count):
        sessions.append(await editor.new())
        await editor.prompt(sessions[-1])
        editor.heard.clear()
        editor.raw.clear()
    return sessions


async def test_an_idle_session_holds_no_descriptor(tmp_path):
    """Two thousand of them would be more than a process may open; who attends them is still there."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=BRIDGE)
        sessions = await talked(editor, 5)
        before = open_logs(tmp_path)
        await home.clock.advance(REAP_AFTER_S + DOZE_EVERY_S)
        later = open_logs(tmp_path)
        turn = await editor.prompt(sessions[0], "again")

    assert (5, 0, ["say again"]) == (before, later, turn.words)


async def test_an_idle_session_costs_little_memory(tmp_path):
    """Two thousand of them are one bridge."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=BRIDGE)
        await talked(editor, 1)
        with traced() as allocated:
            before = allocated()
            await talked(editor, 50)
            await home.clock.advance(REAP_AFTER_S + DOZE_EVERY_S)
            home.log.lines.clear()

            assert (allocated() - before) / 50 < 16 * 1024


async def test_an_idle_sessions_words_are_not_kept_in_memory(tmp_path):
    """Its agent is there yet, and may be for hours."""
    flood = {"turns": [[{"do": "flood", "count": 20, "text": "x" * 20_000}]], "capabilities": {}}
    async with house(tmp_path, primary=flood) as home:
        editor = await home.editor(terms=BRIDGE)
        await talked(editor, 1)
        with traced() as allocated:
            before = allocated()
            await talked(editor, 2)
            fresh = allocated() - before
            await home.clock.advance(DOZE_EVERY_S)
            left = allocated() - before

    assert (True, True) == (fresh > 800_000, left < 100_000)


# --- what a client that stays could pile up


async def test_only_sessions_with_a_prompt_are_looked_at_for_a_cancel(tmp_path):
    """A client may cancel requests thousands of times a second, and attend thousands of sessions."""
    slow = {"turns": [[{"do": "waitCancel", "steps": [{"do": "end"}]}]]}
    async with house(tmp_path, primary=slow) as home:
        editor = await home.editor()
        sessions = [await editor.new() for _ in range(3)]
        first, second = editor.start(sessions[0], "one"), editor.start(sessions[0], "two")
        other = await editor.prompt(sessions[1])
        busy = set(home.broker.busy)
        for turn in (second, first, other):
            editor.notify("$/cancel_request", requestId=turn.request)
        await home.clock.advance(0)

        assert (set(sessions[:2]), {}) == (busy, home.broker.busy)
    assert ["cancelled"] * 3 == [turn.outcome for turn in (first, second, other)]


async def test_of_many_closed_sessions_the_oldest_are_on_the_disk_alone(tmp_path, monkeypatch):
    """A bridge that opens and closes one for each chat must not fill the memory in a year."""
    monkeypatch.setattr(asleep, "MOST_CLOSED", 2)
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=BRIDGE)
        sessions = await talked(editor, 3)
        for session in sessions:
            await editor.result("session/close", sessionId=session)
        known = list(home.broker.sessions)
        await editor.result("session/load", sessionId=sessions[0], cwd=str(tmp_path), mcpServers=[])

        assert (sessions[1:], ["echo hello", "say hello"]) == (known, editor.words)


async def test_a_closed_session_that_was_taken_up_again_is_not_forgotten(tmp_path, monkeypatch):
    """It is open, though its client was lost just now."""
    monkeypatch.setattr(asleep, "MOST_CLOSED", 1)
    async with house(tmp_path, primary=ECHO) as home:
        editor, other = await home.editor(terms=BRIDGE), await home.editor(terms=BRIDGE)
        first, second = await talked(editor, 2)
        await editor.result("session/close", sessionId=first)
        await editor.prompt(first, "again")
        await editor.leave()
        await other.result("session/close", sessionId=second)

        assert [first, second] == list(home.broker.sessions)


async def test_an_agent_that_was_only_asked_what_it_can_leaves_nothing(tmp_path):
    """It is asked once for each kind of client, and a client may say that it is of any kind."""
    async with house(tmp_path, primary=ECHO) as home:
        for number in range(3):
            await home.editor({"_meta": {"number": number}})
            await home.clock.advance(0)

        assert () == home.broker.reception.standbys


async def test_a_prompt_that_waits_for_a_setting_can_be_cancelled(tmp_path):
    """No turn runs, and yet there is something to cancel."""
    modes = {"currentModeId": "ask", "availableModes": [{"id": one, "name": one} for one in ("ask", "code")]}
    slow = {**ECHO, "modes": modes, "calls": {"session/set_mode": [{"do": "stall", "ms": 1000}]}}
    async with house(tmp_path, primary=slow) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.request("session/set_mode", sessionId=session, modeId="code")
        turn = await editor.prompt(session)
        editor.notify("$/cancel_request", requestId=turn.request)

        assert ("cancelled", {}) == (turn.outcome, home.broker.busy)


@pytest.mark.parametrize("method", ["session/close", "session/delete"])
async def test_a_mode_that_is_set_while_its_session_goes_is_no_fault_of_ours(tmp_path, monkeypatch, method):
    """What was asked for is kept with the session, while there is one."""
    monkeypatch.setattr(asleep, "MOST_CLOSED", 0)
    async with house(tmp_path, agent=NeverAnswers("agent").open) as home:
        editor = await home.editor()
        session = await editor.new()
        log = home.session(session).log.path
        setting = editor.request("session/set_mode", sessionId=session, modeId="plan")
        editor.request(method, sessionId=session)
        await home.clock.advance(10)
        kept = "plan" in log.read_text() if log.exists() else None

    assert ([{}], [], {"session/close": True}.get(method)) == (
        [answer.get("result") for answer in editor.replies(setting)],
        home.log.of("broker_fault"),
        kept,
    )


class NeverAnswers(Moded):
    """It is asked for a mode, and has nothing to say to that."""

    async def call(self, method: str, params: dict[str, Raw]) -> Raw:
        await sleep_forever()
        return Raw(b"{}")


OPTION = {"id": "model", "name": "Model", "type": "select", "currentValue": "a", "options": [{"value": "b"}]}


@pytest.mark.parametrize(
    ("method", "params", "kind", "told"),
    [
        ("session/set_mode", {"modeId": "plan"}, "current_mode_update", {"currentModeId": "plan"}),
        (
            "session/set_config_option",
            {"configId": "model", "value": "b"},
            "config_option_update",
            {"configOptions": [{**OPTION, "currentValue": "b"}]},
        ),
    ],
)
async def test_what_one_client_sets_is_told_to_the_others(tmp_path, method, params, kind, told):
    """Who sees `ask` believes that he will be asked."""
    members = {"modes": MODES} if "modeId" in params else {"configOptions": [OPTION]}
    async with house(tmp_path, agent=Moded("agent", **members).open) as home:
        editor, other = await home.editor(), await home.editor()
        session = await editor.new()
        await other.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        await editor.result(method, sessionId=session, **params)

    assert [{"sessionUpdate": kind, **told}] == other.updates


async def test_what_a_client_alone_sets_is_told_to_nobody(tmp_path):
    """It has its answer."""
    async with house(tmp_path, agent=Moded("agent").open) as home:
        editor = await home.editor()
        await editor.result("session/set_mode", sessionId=await editor.new(), modeId="plan")

    assert [] == editor.updates


async def test_sessions_that_were_asked_for_in_vain_do_not_pile_up(tmp_path, monkeypatch):
    """A client that loads each session from a folder of its own is refused each time."""
    monkeypatch.setattr(asleep, "MOST_CLOSED", 2)
    async with house(tmp_path, primary=ECHO) as home:
        sessions = await talked(await home.editor(), 5)
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor()
        for session in sessions:
            assert -32602 == error(await editor.call("session/load", sessionId=session, cwd="/", mcpServers=[]))[0]
        await home.clock.advance(DOZE_EVERY_S)

        assert 2 == len(home.broker.sessions)
