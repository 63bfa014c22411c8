"""What a whole broker does when backends fail: the chain, the commit point, and what the frontend is told."""

import pytest

from acp_broker.core.turnrules import Limits
from tests.support.harness import house

pytestmark = pytest.mark.anyio

DIES = {"turns": [[{"do": "die"}]]}
SILENT = {"turns": [[{"do": "stall"}]]}
SPEAKS_AND_DIES = {"turns": [[{"do": "say", "text": "I was"}, {"do": "die"}]]}
SPARE = {"turns": [[{"do": "say", "text": "spare here"}]]}
SUBMITTED = {"commit_point": "submitted"}


async def test_a_spare_answers_for_a_primary_that_dies(tmp_path):
    """The main job."""
    async with house(tmp_path, primary=DIES, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert (["say spare here"], "end_turn", ["primary crashed", "spare"]) == (turn.words, turn.outcome, turn.attempts)


async def test_words_said_before_a_failure_stay(tmp_path):
    """What a person has read cannot be taken back, and another answer behind it would be a riddle."""
    async with house(tmp_path, primary=SPEAKS_AND_DIES, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert (["say I was"], -33002, ["primary crashed"]) == (turn.words, turn.outcome, turn.attempts)


async def test_a_submitted_prompt_is_not_run_again(tmp_path):
    """Commit point `submitted`: the agent may have acted on it."""
    async with house(tmp_path, policy=SUBMITTED, primary=DIES, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert ([], -33002, ["primary crashed"]) == (turn.words, turn.outcome, turn.attempts)


async def test_a_submitted_prompt_that_fails_unheard_is_told_as_that(tmp_path):
    """Nothing was shown: a text that speaks of words sends people looking for them."""
    async with house(tmp_path, policy=SUBMITTED, primary=DIES, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert turn.error == (
        "primary failed after the prompt was submitted to it: killed by SIGKILL. "
        "Nobody else was tried: it may have acted on the prompt"
    )


async def test_an_agent_that_stays_silent_after_it_got_the_prompt_does_not_hang_the_turn(tmp_path):
    """Under `submitted` nobody else may answer: only the limit of its first word ends the turn."""
    async with house(tmp_path, policy=SUBMITTED, primary=SILENT, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())
        await home.clock.advance(119.9)
        before = turn.is_answered
        await home.clock.advance(0.2)

    assert (False, ["primary silent"]) == (before, turn.attempts)


async def test_a_silent_primary_is_given_up_at_its_limit(tmp_path):
    """Nobody waits for ever; the spare has its time within the chain's."""
    async with house(tmp_path, limits=Limits(first_output=30.0), primary=SILENT, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())
        await home.clock.advance(30.0)

    assert (["say spare here"], ["primary silent", "spare"]) == (turn.words, turn.attempts)


async def test_an_opening_that_hangs_is_ended_with_its_attempt(tmp_path):
    """Nothing of it acts while the spare works in the same folder."""
    hangs = {"new": [{"do": "stall"}]}
    async with house(tmp_path, limits=Limits(opening=10.0), primary=hangs, spare=SPARE) as home:
        editor = await home.editor()
        request = editor.request("session/new", cwd="/", mcpServers=[])
        await home.clock.advance(3)
        session = editor.reply(request)["result"]["sessionId"]
        turn = await editor.prompt(session)
        await home.clock.advance(11)
        failure = await home.session(session).open_standby("primary").opened()

    assert (["primary silent", "spare"], "the opening was given up") == (turn.attempts, failure.text)


@pytest.mark.parametrize("end", [{"do": "die"}, {"do": "garbage", "text": "Segmentation fault"}])
async def test_the_death_of_a_runtime_costs_the_turn_behind_it_nothing(tmp_path, end):
    """The next prompt waits already, and begins before anybody has noticed. It is nobody's fault."""
    play = {"do": "ifText", "contains": "end", "steps": [{"do": "say", "text": "I was"}, end], "else": [{"do": "echo"}]}
    async with house(tmp_path, primary={"turns": [[play]]}) as home:
        editor = await home.editor()
        session = await editor.new()
        first, second = editor.start(session, "end"), await editor.prompt(session, "go on")

    assert (-33002, "end_turn", ["primary"]) == (first.outcome, second.outcome, second.attempts)
