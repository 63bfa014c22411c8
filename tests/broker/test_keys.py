"""A prompt that is sent again with its key runs once and is answered as often as it is asked."""

import pytest

from acp_broker.broker import keys
from acp_broker.broker.terms import Terms
from tests.broker.test_revival import forget, reopen
from tests.support.harness import EVERYTHING, House, house

pytestmark = pytest.mark.anyio

SAYS = {"turns": [[{"do": "say", "text": "one"}], [{"do": "say", "text": "two"}]]}
HOLDS = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall", "ms": 1000}, {"do": "say", "text": "whole"}]]}
DOWN = {"turns": [[{"do": "fail"}]]}


def keyed(key: object) -> dict:
    return {"_meta": {"acp-broker": {"idempotencyKey": key}}}


def accepted(home: House, session: str) -> int:
    """How many prompts were run."""
    return len([record for record in home.records(session) if record["record"] == "accepted"])


async def test_a_prompt_sent_again_gets_the_recorded_answer(tmp_path):
    """It arrived, and its answer was lost on the way back."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        first = await editor.prompt(session, **keyed("k"))
        again = await editor.prompt(session, **keyed("k"))
        runs = accepted(home, session)

    assert (first.reply["result"], [], 1) == (again.reply["result"], again.words, runs)


async def test_a_prompt_sent_again_while_it_runs_joins_the_turn(tmp_path):
    """On another connection: the words and the answer come there."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor, other = await home.editor(), await home.editor()
        session = await editor.new()
        first = await editor.prompt(session, **keyed("k"))
        again = await other.prompt(session, **keyed("k"))
        await home.clock.advance(1)
        runs = accepted(home, session)

    assert (first.reply["result"], "say whole", 1) == (again.reply["result"], other.words[-1], runs)


async def test_a_prompt_sent_again_while_it_waits_is_queued_once(tmp_path):
    """It will be answered when its turn comes, to both who asked."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        first, again = [await editor.prompt(session, "next", **keyed("k")) for _ in range(2)]
        await home.clock.advance(1)
        await home.clock.advance(1)
        runs = accepted(home, session)

    assert (2, "end_turn", "end_turn") == (runs, first.outcome, again.outcome)


async def test_who_asks_again_without_end_is_refused(tmp_path, monkeypatch):
    """Each of them waits in memory until the turn is over."""
    monkeypatch.setattr(keys, "MOST_JOINED", 2)
    async with house(tmp_path, primary=HOLDS) as home:
        editor = await home.editor()
        session = await editor.new()
        turns = [await editor.prompt(session, "x", **keyed("k")) for _ in range(4)]
        refused = turns.pop()
        code = refused.outcome
        await home.clock.advance(1)

    assert (-33003, ["end_turn"] * 3) == (code, [turn.outcome for turn in turns])


async def test_another_prompt_under_the_same_key_is_an_error(tmp_path):
    """One of the two would be lost without a word."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one", **keyed("k"))
        turn = await editor.prompt(session, "another", **keyed("k"))

    assert (-32602, True) == (turn.outcome, "another prompt was sent under the idempotency key 'k'" in turn.error)


async def test_the_same_blocks_written_otherwise_are_the_same_prompt(tmp_path):
    """A client may write its members in another order the next time."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, blocks=[{"type": "text", "text": "x"}], **keyed("k"))
        again = await editor.prompt(session, blocks=[{"text": "x", "type": "text"}], **keyed("k"))

    assert "end_turn" == again.outcome


async def test_two_keys_are_two_turns(tmp_path):
    """The same words may be meant twice."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        words = [(await editor.prompt(session, "x", **keyed(key))).words for key in ("k", "l")]

    assert [["say one"], ["say two"]] == words


async def test_a_key_is_its_sessions_own(tmp_path):
    """Two chats count from one, each by itself."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        words = [(await editor.prompt(await editor.new(), "x", **keyed("1"))).words for _ in range(2)]

    assert [["say one"], ["say one"]] == words


async def test_an_error_is_an_answer_too(tmp_path):
    """Whoever wants it run again says so, with another key."""
    async with house(tmp_path, primary=DOWN) as home:
        editor = await home.editor()
        session = await editor.new()
        turns = [await editor.prompt(session, "x", **keyed("k")) for _ in range(2)]
        runs = accepted(home, session)

    assert (1, turns[0].reply["error"]) == (runs, turns[1].reply["error"])


async def test_a_cancelled_prompt_is_cancelled_for_all_who_asked(tmp_path):
    """Whether it ran or waited."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor = await home.editor()
        session = await editor.new()
        running = [await editor.prompt(session, "x", **keyed("k")) for _ in range(2)]
        waiting = [await editor.prompt(session, "y", **keyed("l")) for _ in range(2)]
        editor.cancel(session)
        await home.clock.advance(1)

    assert ["cancelled"] * 4 == [turn.outcome for turn in (*running, *waiting)]


async def test_a_prompt_that_was_never_begun_may_be_sent_again(tmp_path):
    """The queue was full: nothing of it is known."""
    async with house(tmp_path, primary=HOLDS, policy={"queued_prompts": 0}) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        refused = await editor.prompt(session, "x", **keyed("k"))
        await home.clock.advance(1)
        again = await editor.prompt(session, "x", **keyed("k"))
        await home.clock.advance(1)

    assert (-33003, "end_turn") == (refused.outcome, again.outcome)


async def test_the_next_broker_knows_the_answer(tmp_path):
    """A bridge may need longer to come back than the daemon to be started again."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        first = await editor.prompt(session, "x", **keyed("k"))
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        await editor.result("session/resume", **reopen(tmp_path, session))
        again = await editor.prompt(session, "x", **keyed("k"))
        runs = accepted(home, session)

    assert (first.reply["result"], 1) == (again.reply["result"], runs)


async def test_a_prompt_that_was_interrupted_is_not_run_by_its_resend(tmp_path):
    """What was done may be half done: somebody has to look first."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "x", **keyed("k"))
    forget(tmp_path, session, "accepted")
    async with house(tmp_path, primary=SAYS, is_whole=False) as home:
        editor = await home.editor()
        await editor.result("session/resume", **reopen(tmp_path, session))
        again = await editor.prompt(session, "x", **keyed("k"))

    assert (-33005, []) == (again.outcome, again.words)


async def test_an_answer_is_kept_for_the_last_prompts_only(tmp_path):
    """A chat that lives for years must not grow by every key."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor(EVERYTHING)
        session = await editor.new()
        for number in range(258):
            await editor.prompt(session, "x", **keyed(f"k{number}"))
        runs = accepted(home, session)
        for number in (0, 257):
            await editor.prompt(session, "x", **keyed(f"k{number}"))
        more = accepted(home, session) - runs

    assert (258, 1) == (runs, more)


@pytest.mark.parametrize("key", ["", 7, "x" * 257])
async def test_a_key_of_another_form_is_a_bad_request(tmp_path, key):
    """Ignored, it would promise what it does not keep."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new(), **keyed(key))

    assert -32602 == turn.outcome


async def test_a_bridge_that_lost_its_connection_gets_the_answer_on_the_next(tmp_path):
    """The turn went on without it; the answer that was addressed to the lost connection went nowhere."""
    bridge = Terms("bridge", turns_go_on=True)
    async with house(tmp_path, primary=HOLDS) as home:
        lost = await home.editor(terms=bridge)
        session = await lost.new()
        await lost.prompt(session, "x", **keyed("k"))
        await lost.leave()
        await home.clock.advance(1)
        back = await home.editor(terms=bridge)
        again = await back.prompt(session, "x", **keyed("k"))
        runs = accepted(home, session)

    assert ("end_turn", 1) == (again.outcome, runs)
