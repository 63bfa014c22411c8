"""Many brokers work in the same sessions, one turn at a time: nothing is lost, doubled or stale."""

from contextlib import AsyncExitStack
from random import Random

import pytest

from tests.broker.test_handoff import Recorder, said
from tests.broker.test_revival import reopen
from tests.support.harness import house

pytestmark = pytest.mark.anyio

SAYS = {"turns": [[{"do": "say", "text": "one"}]]}
HOLDS = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall", "ms": 1000}, {"do": "say", "text": "whole"}]]}


async def test_a_session_that_is_idle_in_one_broker_can_be_loaded_by_another(tmp_path):
    """Two windows, two processes, one chat."""
    async with house(tmp_path, a=SAYS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session, "hello")
        await elsewhere.result("session/load", **reopen(tmp_path, session))

    assert ["echo hello", "say one"] == elsewhere.words


async def test_brokers_take_turns_in_one_session(tmp_path):
    """Each is handed what the other's agent was told."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, agent=a.open) as home, house(tmp_path, agent=b.open) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.prompt(session, "two")
        await editor.prompt(session, "three")

    assert ["[user]", "two", "[answer of agent]", "b answers"] == said(a.prompts[1][0])


async def test_a_frontend_sees_what_was_said_in_another_broker(tmp_path):
    """At the latest when the session goes on here."""
    async with house(tmp_path, a=SAYS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.prompt(session, "there")
        turn = await editor.prompt(session, "here")

    assert (["say one", "say one"], "end_turn") == (turn.words, turn.outcome)


async def test_a_prompt_waits_for_the_turn_of_another_broker(tmp_path):
    """And runs as soon as that is over."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        turn = await elsewhere.prompt(session, "next")
        before = turn.is_answered
        await home.clock.advance(1)
        await other.clock.advance(1)

    assert (False, "end_turn") == (before, turn.outcome)


async def test_a_prompt_does_not_wait_for_ever(tmp_path):
    """It is refused by name, and may be sent again."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        turn = await elsewhere.prompt(session, "next")
        await other.clock.advance(61)

    assert (-33003, True) == (turn.outcome, "another process of acp-broker" in turn.error)


async def test_a_prompt_that_waits_for_another_broker_can_be_cancelled(tmp_path):
    """As one that waits behind a turn of this one."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        turn = await elsewhere.prompt(session, "next")
        elsewhere.cancel(session)
        await other.clock.advance(0)

    assert "cancelled" == turn.outcome


async def test_a_session_that_was_deleted_elsewhere_is_named(tmp_path):
    """Its words would go into a file without a name."""
    async with house(tmp_path, a=SAYS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/delete", sessionId=session)
        turn = await editor.prompt(session)

    assert (-33004, True) == (turn.outcome, "was deleted" in turn.error)


async def test_a_turn_that_runs_keeps_its_session_from_being_deleted_elsewhere(tmp_path):
    """What it says would be lost."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session)
        answer = await elsewhere.call("session/delete", sessionId=session)

    assert -33003 == answer["error"]["code"]


@pytest.mark.parametrize("seed", range(5))
async def test_many_brokers_share_ten_sessions(tmp_path, seed):
    """No turn is lost or run twice, and no agent is given a stale history: it knows of every turn before its own."""
    dice, count = Random(seed), 6
    agents = [Recorder(f"b{number}") for number in range(count)]
    known: dict[tuple[int, str], set[str]] = {}
    asked: dict[str, list[str]] = {}
    async with AsyncExitStack() as stack:
        homes = [await stack.enter_async_context(house(tmp_path, agent=agent.open)) for agent in agents]
        editors = [await home.editor() for home in homes]
        for _ in range(10):
            session = await editors[0].new()
            known[0, session], asked[session] = set(), []
        for number in range(60):
            who, session = dice.randrange(count), dice.choice(list(asked))
            if (who, session) not in known:
                known[who, session] = set()
                await editors[who].result("session/resume", **reopen(tmp_path, session))
            text = f"<{number}>"
            turn = await editors[who].prompt(session, text)
            given = "".join(agents[who].prompts[-1])
            known[who, session] |= {one for one in asked[session] if one in given}

            assert ("end_turn", set(asked[session])) == (turn.outcome, known[who, session])
            asked[session].append(text)
            known[who, session].add(text)
        logged = {
            session: [record["prompt"][0]["text"] for record in homes[0].records(session) if "prompt" in record]
            for session in asked
        }

    assert asked == logged
