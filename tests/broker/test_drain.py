"""The broker is told to stop: nothing new begins, running turns may end, what does not is interrupted."""

from functools import partial

import anyio
import pytest

from acp_broker.core.turnrules import Limits
from tests.support.clock import settled
from tests.support.harness import house

pytestmark = pytest.mark.anyio

ECHO = {"turns": [[{"do": "echo", "chunks": 1}]]}
# Says a word, and the last one three seconds later.
SLOW = {"turns": [[{"do": "say", "text": "x"}, {"do": "stall", "ms": 3000}, {"do": "say", "text": "y"}]]}
STALLS = {"turns": [[{"do": "stall"}]]}
SPEAKS = {"turns": [[{"do": "say", "text": "x"}, {"do": "stall"}]]}
STUBBORN = {"turns": [[{"do": "ignoreCancel"}, {"do": "say", "text": "x"}, {"do": "stall"}]]}
SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
STOPPING = (-33003, "acp-broker is stopping; start again in a moment")


async def draining(home, limit_s=30.0, at_once=None):
    return await home.doing(partial(home.broker.drain, limit_s, at_once))


async def interrupted(home, *, text="hello"):
    """A turn whose broker was given no time to end it."""
    editor = await home.editor()
    session = await editor.new()
    turn = await editor.prompt(session, text)
    await draining(home, limit_s=0)
    await home.clock.advance(0)
    return turn


async def test_a_running_turn_ends_as_it_would_have(tmp_path):
    """The person waits for that answer; a few seconds are not too much for it."""
    async with house(tmp_path, primary=SLOW) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        drain = await draining(home)
        before = drain.is_done
        await home.clock.advance(3)

    assert (False, True, "end_turn", ["say x", "say y"]) == (before, drain.is_done, turn.outcome, turn.words)


async def test_with_no_turn_running_it_is_over_at_once(tmp_path):
    """A stop of an idle daemon must not take its whole limit."""
    async with house(tmp_path, primary=ECHO) as home:
        await (await home.editor()).new()
        drain = await draining(home)

    assert drain.is_done


async def test_a_new_session_is_refused(tmp_path):
    """It would be gone before its first prompt."""
    async with house(tmp_path, primary=SLOW) as home:
        editor = await home.editor()
        await draining(home)
        error = (await editor.call("session/new", cwd=str(tmp_path), mcpServers=[]))["error"]

    assert STOPPING == (error["code"], error["message"])


async def test_a_prompt_is_refused(tmp_path):
    """As above."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor()
        session = await editor.new()
        await draining(home)
        turn = await editor.prompt(session)

    assert STOPPING == (turn.outcome, turn.error)


async def test_a_prompt_that_waits_is_refused(tmp_path):
    """It has not begun: nothing is lost when it is sent again."""
    async with house(tmp_path, primary=SLOW) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        waiting = await editor.prompt(session, "two")
        await draining(home)

    assert STOPPING == (waiting.outcome, waiting.error)


@pytest.mark.parametrize("method", ["session/load", "session/resume"])
async def test_a_session_at_rest_is_not_taken_up(tmp_path, method):
    """Its agent would be opened to be closed."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor()
        session = await editor.new()
        await draining(home)
        error = (await editor.call(method, sessionId=session, cwd=str(tmp_path), mcpServers=[]))["error"]

    assert STOPPING == (error["code"], error["message"])


async def test_who_comes_back_for_the_end_of_a_turn_is_let_in(tmp_path):
    """A bridge that lost its connection wants the last words; nothing is opened for it."""
    async with house(tmp_path, primary=SLOW) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await draining(home)
        other = await home.editor()
        await other.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        await home.clock.advance(3)

    assert ["say y"] == other.words


async def test_a_permission_is_still_answered(tmp_path):
    """Running turns go on, and so do their questions."""
    asks = {"turns": [[{"do": "askPermission"}, {"do": "sayAnswer"}]]}
    async with house(tmp_path, primary=asks) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        await draining(home)
        (asked,) = editor.of("session/request_permission")
        editor.answer(asked, {"outcome": {"outcome": "selected", "optionId": "allow"}})
        await settled()

    assert "end_turn" == turn.outcome


async def test_after_the_limit_a_turn_is_interrupted_and_its_words_stay(tmp_path):
    """Neither an answer nor the user's cancel: whoever asked must know that it was cut off."""
    async with house(tmp_path, primary=SPEAKS, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        drain = await draining(home, limit_s=10)
        before = turn.is_answered
        await home.clock.advance(10)

    text = "acp-broker was stopped before primary had finished: its words stay, and nothing else was tried"
    assert (False, True) == (before, drain.is_done)
    assert (-33005, text, ["say x"], ["primary"]) == (turn.outcome, turn.error, turn.words, turn.attempts)


async def test_a_turn_without_a_word_says_that_nothing_was_shown(tmp_path):
    """Then it can be asked again without a doubt."""
    async with house(tmp_path, primary=STALLS, spare=SPARE) as home:
        turn = await interrupted(home)

    text = "acp-broker was stopped before primary had finished: nothing was shown, and nothing else was tried"
    assert (-33005, text, []) == (turn.outcome, turn.error, turn.words)


async def test_words_in_doubt_are_shown_and_said_to_stay(tmp_path):
    """A cancel shows what is held; the error must not deny it."""
    doubtful = {"turns": [[{"do": "say", "text": "API Error: 529"}, {"do": "stall"}]]}
    async with house(tmp_path, primary=doubtful, spare=SPARE) as home:
        turn = await interrupted(home)

    assert (["say API Error: 529"], True) == (turn.words, "its words stay" in turn.error)


async def test_words_that_were_dropped_are_not_said_to_stay(tmp_path):
    """They were held in doubt, and their backend has failed: nobody saw them."""
    doubtful = {"turns": [[{"do": "say", "text": "API Error: 529"}, {"do": "end"}]]}
    async with house(tmp_path, primary=doubtful, spare=STALLS) as home:
        turn = await interrupted(home)

    text = "acp-broker was stopped before spare had finished: nothing was shown, and nothing else was tried"
    assert (text, []) == (turn.error, turn.words)


async def test_between_two_attempts_nobody_is_named(tmp_path):
    """The first has failed and is being stopped, the second has not begun."""
    stubborn = {"turns": [[{"do": "ignoreCancel"}, {"do": "stall"}]]}
    limits = Limits(first_output=10.0, stopping=2.0)
    async with house(tmp_path, limits=limits, primary=stubborn, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        await home.clock.advance(11)
        await draining(home, limit_s=0)
        await home.clock.advance(2)

    text = "acp-broker was stopped before anybody had finished: nothing was shown, and nothing else was tried"
    assert (-33005, text, ["primary silent"]) == (turn.outcome, turn.error, turn.attempts)


async def test_an_agent_that_does_not_hear_it_is_ended(tmp_path):
    """The stop of the broker ends, whatever an agent does."""
    async with house(tmp_path, primary=STUBBORN) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        drain = await draining(home, limit_s=0)
        await home.clock.advance(4.9)
        before = turn.is_answered
        await home.clock.advance(0.1)

    assert (False, -33005, True) == (before, turn.outcome, drain.is_done)


async def test_the_agent_is_asked_politely_first(tmp_path):
    """It may keep its own record of the conversation whole; its last words are shown."""
    polite = {"turns": [[{"do": "waitCancel", "steps": [{"do": "say", "text": "bye"}]}]]}
    async with house(tmp_path, primary=polite) as home:
        turn = await interrupted(home)

    assert (-33005, ["say bye"], True) == (turn.outcome, turn.words, "its words stay" in turn.error)


async def test_a_persons_cancel_that_came_before_keeps_its_answer(tmp_path):
    """ACP v1, prompt-turn: `cancelled` MUST be returned."""
    async with house(tmp_path, primary=STUBBORN) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        editor.cancel(session)
        await draining(home, limit_s=0)
        await home.clock.advance(5.5)

    assert "cancelled" == turn.outcome


async def test_a_failure_that_came_before_keeps_its_answer(tmp_path):
    """What the backend did is the better answer than what was done to it."""
    fails = {"turns": [[{"do": "ignoreCancel"}, {"do": "say", "text": "x"}, {"do": "stall"}]]}
    limits = Limits(idle=10.0, stopping=2.0)
    async with house(tmp_path, limits=limits, primary=fails) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        await home.clock.advance(11)
        await draining(home, limit_s=0)
        await home.clock.advance(2)

    assert -33002 == turn.outcome


async def test_a_second_signal_interrupts_at_once(tmp_path):
    """Whoever asks twice does not want to wait."""
    at_once = anyio.Event()
    async with house(tmp_path, primary=SPEAKS) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        drain = await draining(home, at_once=at_once)
        at_once.set()
        await settled()

    assert (-33005, True) == (turn.outcome, drain.is_done)


async def test_the_sessions_log_says_why_it_ended(tmp_path):
    """Steps alone would look like a cancel."""
    async with house(tmp_path, primary=SPEAKS) as home:
        turn = await interrupted(home)
        session = next(iter(home.broker.sessions))
        kinds = [(one["record"], one.get("turn")) for one in home.records(session) if one["record"] == "interrupted"]

    assert [("interrupted", turn.told["turn"])] == kinds


async def test_an_interrupted_backend_is_not_said_to_have_failed(tmp_path):
    """It did nothing wrong: nobody rests for it, and the log names what happened."""
    async with house(tmp_path, primary=SPEAKS) as home:
        await interrupted(home)
        (over,) = home.log.of("turn_over")

    assert ("interrupted", []) == (over["stop_reason"], home.log.of("attempt_failed"))
