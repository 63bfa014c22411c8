"""Cancel, in every state of a turn; and the queue of prompts behind it."""

import pytest

from acp_broker.core.turnrules import Limits
from tests.support.harness import house

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
STALLS = {"turns": [[{"do": "stall"}]]}
SPEAKS = {"turns": [[{"do": "say", "text": "x"}, {"do": "stall"}]]}
STUBBORN = {
    "turns": [[{"do": "ignoreCancel"}, {"do": "say", "text": "x"}, {"do": "stall"}], [{"do": "say", "text": "y"}]]
}
ECHO = {"turns": [[{"do": "echo", "chunks": 1}]]}


async def cancelled(home, *, after_s: float = 0):
    """A turn that is cancelled after so many seconds."""
    editor = await home.editor()
    session = await editor.new()
    turn = await editor.prompt(session)
    await home.clock.advance(after_s)
    editor.cancel(session)
    await home.clock.advance(0)
    return turn


async def test_before_the_first_word(tmp_path):
    """ACP v1, prompt-turn: `cancelled` MUST be returned; nobody else is started."""
    async with house(tmp_path, primary=STALLS, spare=SPARE) as home:
        turn = await cancelled(home)

    assert ("cancelled", []) == (turn.outcome, turn.words)


async def test_after_the_first_word(tmp_path):
    """The words stay."""
    async with house(tmp_path, primary=SPEAKS, spare=SPARE) as home:
        turn = await cancelled(home)

    assert ("cancelled", ["say x"]) == (turn.outcome, turn.words)


async def test_while_its_words_are_in_doubt(tmp_path):
    """What is held is shown: nobody else will say anything."""
    doubtful = {"turns": [[{"do": "say", "text": "API Error: 529"}, {"do": "stall"}]]}
    async with house(tmp_path, primary=doubtful, spare=SPARE) as home:
        turn = await cancelled(home)

    assert ("cancelled", ["say API Error: 529"]) == (turn.outcome, turn.words)


async def test_while_its_backend_is_being_opened(tmp_path):
    """The opening is left alone: the next prompt joins it."""
    slow = {"new": [{"do": "stall", "ms": 10_000}], **ECHO}
    async with house(tmp_path, primary=slow, spare=SPARE) as home:
        editor = await home.editor()
        request = editor.request("session/new", cwd="/", mcpServers=[])
        await home.clock.advance(3)
        session = editor.reply(request)["result"]["sessionId"]
        turn = await editor.prompt(session, "one")
        editor.cancel(session)
        again = await editor.prompt(session, "two")
        await home.clock.advance(7)

    assert ("cancelled", ["say two"], ["primary"]) == (turn.outcome, again.words, again.attempts)


async def test_an_agent_that_does_not_hear_it_is_ended(tmp_path):
    """The person sees `cancelled` after five seconds and a half at the latest."""
    async with house(tmp_path, primary=STUBBORN, spare=SPARE) as home:
        turn = await cancelled(home)
        before = turn.is_answered
        await home.clock.advance(5.5)

    assert (False, "cancelled") == (before, turn.outcome)


async def test_while_a_lost_attempt_is_being_stopped(tmp_path):
    """Nobody is started after a cancel."""
    stubborn = {"turns": [[{"do": "ignoreCancel"}, {"do": "stall"}]]}
    limits = Limits(first_output=10.0, stopping=2.0)
    async with house(tmp_path, limits=limits, primary=stubborn, spare=SPARE) as home:
        turn = await cancelled(home, after_s=11)
        await home.clock.advance(2)

    assert ("cancelled", []) == (turn.outcome, turn.words)


async def test_an_agent_that_fails_instead_of_ending_is_cancelled_all_the_same(tmp_path):
    """Never an error: the person asked for the end."""
    primary = {
        "turns": [[{"do": "say", "text": "x"}, {"do": "stall"}]],
        "cancel": [{"do": "fail", "message": "aborted"}],
    }
    async with house(tmp_path, primary=primary) as home:
        turn = await cancelled(home)

    assert "cancelled" == turn.outcome


async def test_an_agent_that_dies_of_it_is_cancelled_all_the_same(tmp_path):
    """As above."""
    primary = {"turns": [[{"do": "say", "text": "x"}, {"do": "stall"}]], "cancel": [{"do": "die"}]}
    async with house(tmp_path, primary=primary) as home:
        turn = await cancelled(home)

    assert "cancelled" == turn.outcome


async def test_an_agent_that_ends_well_after_it_is_cancelled_all_the_same(tmp_path):
    """ACP v1, prompt-turn, "Cancellation": whatever reason it gives."""
    primary = {"turns": [[{"do": "say", "text": "x"}, {"do": "waitCancel", "steps": [{"do": "end"}]}]]}
    async with house(tmp_path, primary=primary) as home:
        turn = await cancelled(home)

    assert "cancelled" == turn.outcome


async def test_the_last_words_of_a_cancelled_agent_are_shown(tmp_path):
    """ACP v1, prompt-turn: updates may still come before the answer."""
    steps = [{"do": "say", "text": "x"}, {"do": "waitCancel", "steps": [{"do": "say", "text": "stopped here"}]}]
    async with house(tmp_path, primary={"turns": [steps]}) as home:
        turn = await cancelled(home)

    assert ["say x", "say stopped here"] == turn.words


async def test_when_nothing_runs_it_changes_nothing(tmp_path):
    """It may cross the answer on the wire."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.cancel(session)
        turn = await editor.prompt(session, "hello")

    assert ["say hello"] == turn.words


async def test_twice_is_once(tmp_path):
    """An impatient person presses Escape again."""
    async with house(tmp_path, primary=SPEAKS) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        editor.cancel(session)
        editor.cancel(session)
        await home.clock.advance(0)

    assert (1, "cancelled") == (len(editor.replies(turn.request)), turn.outcome)


async def test_a_request_for_one_prompt_cancels_that_prompt(tmp_path):
    """`$/cancel_request`."""
    async with house(tmp_path, primary=SPEAKS) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())
        editor.notify("$/cancel_request", requestId=turn.request)
        await home.clock.advance(0)

    assert "cancelled" == turn.outcome


async def test_a_request_for_a_prompt_that_waits_takes_it_out_of_the_queue(tmp_path):
    """The running one runs on."""
    async with house(tmp_path, primary=SPEAKS) as home:
        editor = await home.editor()
        session = await editor.new()
        running = await editor.prompt(session)
        waiting = await editor.prompt(session)
        editor.notify("$/cancel_request", requestId=waiting.request)
        await home.clock.advance(0)

        assert ("cancelled", False) == (waiting.outcome, running.is_answered)


async def test_another_frontend_cannot_cancel_a_request_by_its_number(tmp_path):
    """Ids are each connection's own."""
    async with house(tmp_path, primary=SPEAKS) as home:
        editor, other = await home.editor(), await home.editor()
        turn = await editor.prompt(await editor.new())
        other.notify("$/cancel_request", requestId=turn.request)
        await home.clock.advance(0)

        assert not turn.is_answered


async def test_the_next_turn_after_a_cancel_is_an_ordinary_one(tmp_path):
    """The agent lives on."""
    primary = {"turns": [[{"do": "say", "text": "x"}, {"do": "stall"}], [{"do": "say", "text": "y"}]]}
    async with house(tmp_path, primary=primary, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        editor.cancel(session)
        turn = await editor.prompt(session)

    assert (["say y"], ["primary"]) == (turn.words, turn.attempts)


async def test_a_cancel_rests_nobody(tmp_path):
    """A user's own cancel never counts against the backend."""
    async with house(tmp_path, primary=STALLS, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        for _ in range(2):
            turn = await editor.prompt(session)
            editor.cancel(session)
            await home.clock.advance(0)

    assert ["primary"] == turn.attempts


# --- the queue


async def test_a_second_prompt_waits_for_the_first(tmp_path):
    """A second prompt never enters a busy agent session."""
    primary = {"turns": [[{"do": "stall", "ms": 1000}, {"do": "echo", "chunks": 1}]]}
    async with house(tmp_path, primary=primary) as home:
        editor = await home.editor()
        session = await editor.new()
        turns = [editor.start(session, text) for text in ("one", "two", "three")]
        await home.clock.advance(3)

    order = [message["id"] for message in editor.heard if message.get("id") in [turn.request for turn in turns]]
    assert ["say one", "say two", "say three"] == editor.words
    assert [turn.request for turn in turns] == order


async def test_a_queue_that_is_full_refuses_by_name(tmp_path):
    """-33003, and what to do."""
    async with house(tmp_path, policy={"queued_prompts": 2}, primary=SPEAKS) as home:
        editor = await home.editor()
        session = await editor.new()
        turns = [await editor.prompt(session) for _ in range(4)]

        text = "2 prompts wait in this session already; wait for one, or cancel"
        assert (-33003, text) == (turns[3].outcome, turns[3].error)


async def test_a_long_queue_of_prompts_that_nobody_can_take_is_answered_one_by_one(tmp_path):
    """Each is over as soon as it begins, and none begins inside the one before it."""
    blind = {"turns": [[{"do": "stall", "ms": 1000}]]}
    image = [{"type": "image", "mimeType": "image/png", "data": ""}]
    async with house(tmp_path, policy={"queued_prompts": 1000}, primary=blind) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        turns = [editor.start(session, blocks=image) for _ in range(400)]
        await home.clock.advance(1)

    assert ({"no_candidate"}, []) == ({turn.told["code"] for turn in turns}, home.log.of("broker_fault"))


async def test_a_cancel_ends_all_that_wait(tmp_path):
    """ACP v1: the session's work is cancelled."""
    async with house(tmp_path, primary=SPEAKS) as home:
        editor = await home.editor()
        session = await editor.new()
        turns = [await editor.prompt(session) for _ in range(3)]
        editor.cancel(session)
        await home.clock.advance(0)

    assert ["cancelled"] * 3 == [turn.outcome for turn in turns]


async def test_sessions_do_not_wait_for_one_another(tmp_path):
    """Each has its own agent."""
    primary = {
        "turns": [[{"do": "ifText", "contains": "wait", "steps": [{"do": "stall"}]}, {"do": "say", "text": "x"}]]
    }
    async with house(tmp_path, primary=primary) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new(), "wait")
        turn = await editor.prompt(await editor.new(), "now")

    assert "end_turn" == turn.outcome


async def test_a_frontend_that_leaves_cancels_its_turns(tmp_path):
    """stdin at its end: cancel with grace, then exit."""
    async with house(tmp_path, primary=SPEAKS) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())
        await editor.leave()
        has_left = editor.has_left

    assert has_left


async def test_a_frontend_that_leaves_waits_for_no_stubborn_agent_for_long(tmp_path):
    """An agent that ignores its cancel is ended as in any turn."""
    async with house(tmp_path, primary=STUBBORN) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())
        await editor.leave()
        before = editor.has_left
        await home.clock.advance(5.5)

        assert (False, True) == (before, editor.has_left)
