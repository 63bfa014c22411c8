"""`_acp-broker/turn`: clients that asked for it are told when turns wait, begin and end, their own and others'."""

import pytest

from acp_broker.broker.terms import Terms
from tests.broker.test_keys import keyed
from tests.broker.test_revival import reopen
from tests.support.harness import house
from tests.support.numbered import NUMBERS, TURN, after, back, news, numbered, seq, told

pytestmark = pytest.mark.anyio

BRIDGE = Terms("bridge", turns_go_on=True)
SAYS = {"turns": [[{"do": "say", "text": "x"}]]}
HOLDS = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall", "ms": 1000}, {"do": "say", "text": "whole"}]]}
FAILS = {"turns": [[{"do": "fail", "message": "no"}]]}
DIES = {"turns": [[{"do": "die"}]]}


async def beside(home, **members):
    """A client that prompts, one that attends and is told, their session."""
    editor, other = await home.editor(**members), await home.editor(NUMBERS)
    session = await editor.new()
    await other.result("session/resume", **reopen(home.path, session))
    return editor, other, session


async def test_others_learn_that_a_turn_began_and_ended(tmp_path):
    """In its place: behind the prompt, around the words; by whom it was answered, and how it ended."""
    async with house(tmp_path, primary=DIES, spare=SAYS) as home:
        editor, other, session = await beside(home)
        await editor.prompt(session)

    assert ["echo hello", "started", "say x", "ended end_turn spare"] == [word for _, word in numbered(other.heard)]


async def test_it_names_the_session_the_turn_and_the_prompts_key(tmp_path):
    """A client has many of each."""
    async with house(tmp_path, primary=SAYS) as home:
        editor, other, session = await beside(home)
        turn = await editor.prompt(session, **keyed("k"))
        started, ended = other.of(TURN)

    whose = {"sessionId": session, "turn": turn.told["turn"]}
    assert {**whose, "state": "started", "idempotencyKey": "k", "_meta": {"acp-broker": {"seq": seq(started)}}} == (
        started["params"]
    )
    assert {
        **whose,
        "state": "ended",
        "stopReason": "end_turn",
        "backend": "primary",
        "_meta": {"acp-broker": {"seq": seq(ended)}},
    } == ended["params"]


async def test_it_says_which_error_a_turn_ended_with(tmp_path):
    """The answer itself is for who asked."""
    async with house(tmp_path, primary=FAILS, spare=FAILS) as home:
        editor, other, session = await beside(home)
        turn = await editor.prompt(session)
        ended = other.of(TURN)[-1]["params"]

    assert {"code": -33001, "message": turn.error} == ended["error"]


async def test_the_end_comes_before_the_answer(tmp_path):
    """Behind its answer nothing of a turn comes any more: what a client has seen then is all there is."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor(NUMBERS)
        turn = await editor.prompt(await editor.new())

    assert ("ended end_turn primary", "end_turn") == (told(turn.heard[-2]), turn.outcome)


async def test_whatever_an_agent_puts_beside_its_answer_the_turn_has_ended(tmp_path):
    """With notices off it may be anything."""
    end = {"do": "end", "meta": {"acp-broker": {"backend": 7}}}
    async with house(
        tmp_path, primary={"turns": [[{"do": "say", "text": "x"}, end]]}, policy={"notice": "off"}
    ) as home:
        editor, other, session = await beside(home)
        await editor.prompt(session)

    assert ["started", "ended end_turn"] == news(other.heard)


# --- the queue


async def test_prompts_that_wait_are_told_their_positions(tmp_path):
    """And each time that one moves up; the others too see who is before them."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor, other, session = await beside(home, capabilities=NUMBERS)
        for text in ("a", "b", "c"):
            await editor.prompt(session, text)
        await home.clock.advance(1)

    expected = ["started", "queued 1", "queued 2", "ended end_turn primary", "started", "queued 1"]
    assert (expected, expected) == (news(editor.heard), news(other.heard))


async def test_a_position_has_no_number(tmp_path):
    """It holds for now: who comes back is told anew."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor, other, session = await beside(home)
        await editor.prompt(session)
        await editor.prompt(session, **keyed("k"))
        queued = other.of(TURN)[-1]["params"]

    assert ["idempotencyKey", "position", "sessionId", "state", "turn"] == sorted(queued)


async def test_a_prompt_that_is_cancelled_while_it_waits_has_ended(tmp_path):
    """It is in no log, and yet its position was told."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor, other, session = await beside(home)
        await editor.prompt(session)
        waiting = await editor.prompt(session)
        await editor.prompt(session)
        editor.notify("$/cancel_request", requestId=waiting.request)
        await home.clock.advance(0)

    assert ["started", "queued 1", "queued 2", "ended cancelled", "queued 1"] == news(other.heard)


async def test_a_prompt_that_is_refused_at_once_is_news_to_nobody(tmp_path):
    """The queue was full: it never stood in it."""
    async with house(tmp_path, primary=HOLDS, policy={"queued_prompts": 0}) as home:
        editor, other, session = await beside(home)
        await editor.prompt(session)
        await editor.prompt(session)

    assert ["started"] == news(other.heard)


async def test_a_prompt_that_was_run_elsewhere_meanwhile_waits_no_more(tmp_path):
    """Its key was used in another process: that one's answer is its answer."""
    async with house(tmp_path, primary=HOLDS) as home, house(tmp_path, primary=SAYS) as elsewhere:
        editor, other = await home.editor(), await elsewhere.editor(NUMBERS)
        session = await editor.new()
        await other.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, **keyed("k"))
        await other.prompt(session, **keyed("k"))
        await home.clock.advance(1)
        await elsewhere.clock.advance(1)

    ended = [message for message in other.of(TURN) if message["params"]["state"] == "ended"]
    assert [True, False] == [seq(message) is not None for message in ended]
    assert ["queued 1", "started", "ended end_turn primary", "ended end_turn primary"] == news(other.heard)


# --- who comes


async def test_who_resumes_is_told_what_runs_and_what_waits(tmp_path):
    """It would take a busy session for an idle one."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await editor.prompt(session)
        late = await home.editor(NUMBERS)
        await back(late, session, method="session/resume")
        kinds = [message.get("method", "answer") for message in late.heard[1:]]

    assert (["started", "queued 1"], ["answer", TURN, TURN]) == (news(late.heard), kinds)


@pytest.mark.parametrize(("method", "number"), [("session/load", None), ("session/load", 0), ("session/resume", 0)])
async def test_who_is_shown_the_past_hears_of_each_turn_once(tmp_path, method, number):
    """The past tells that it has begun."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await editor.prompt(session)
        late = await home.editor(NUMBERS)
        await back(late, session, number, method)

    assert ["started", "queued 1"] == news(late.heard)


async def test_who_comes_back_with_its_prompt_hears_of_each_turn_once(tmp_path):
    """One request: what it missed, and that it joined the turn that runs."""
    async with house(tmp_path, primary=HOLDS) as home:
        lost = await home.editor(NUMBERS, terms=BRIDGE)
        session = await lost.new()
        await lost.prompt(session, **keyed("k"))
        await lost.leave()
        late = await home.editor(NUMBERS, terms=BRIDGE)
        turn = await late.prompt(session, **after(0, idempotencyKey="k"))
        await home.clock.advance(1)

    expected = ["echo hello", "started", "say half", "say whole", "ended end_turn primary"]
    assert (expected, "end_turn") == ([word for _, word in numbered(turn.heard)], turn.outcome)


async def test_a_turn_that_a_drain_interrupts_ends_once(tmp_path):
    """The broker stops: the log says so, and then how the turn has ended."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor, other, session = await beside(home)
        await editor.prompt(session)
        await home.doing(lambda: home.broker.drain(0))
        await home.clock.advance(6)

    assert ["started", "ended -33005"] == news(other.heard)
