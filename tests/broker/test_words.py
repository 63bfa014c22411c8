"""Which of an agent's words are shown, and when: notes, doubts, retry notices, notices of ours, late words."""

import pytest

from acp_broker.core.turnrules import Limits
from tests.support.harness import house

pytestmark = pytest.mark.anyio

DIES = [{"do": "die"}]
SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
NOTES = [{"do": "note", "info": {"title": "T"}}, {"do": "usage", "used": 1, "size": 2}]
FAILURE = {"do": "say", "text": "API Error: 529 Overloaded"}
RETRY = {"do": "say", "text": "Retrying (attempt 1/3, waiting 2s)..."}
STALL = {"do": "stall"}
MESSAGE = {"notice": "message"}


def plays(*steps: dict) -> dict:
    return {"turns": [list(steps)]}


def late(*steps: dict) -> dict:
    return {"do": "lateUpdates", "steps": list(steps)}


async def prompted(home, text: str = "hello"):
    editor = await home.editor()
    return await editor.prompt(await editor.new(), text)


# --- notes


async def test_notes_are_held_until_the_first_word(tmp_path):
    """They may belong to a turn that another backend answers."""
    async with house(tmp_path, primary=plays(*NOTES, STALL, {"do": "say", "text": "x"}), spare=SPARE) as home:
        turn = await prompted(home)

        assert [] == turn.words


async def test_held_notes_come_before_the_first_word(tmp_path):
    """In the order in which they were said."""
    async with house(tmp_path, primary=plays(*NOTES, {"do": "say", "text": "x"}), spare=SPARE) as home:
        turn = await prompted(home)

    assert ["session_info_update", "usage_update", "say x"] == turn.words


async def test_notes_of_a_lost_attempt_are_never_shown(tmp_path):
    """A title of an answer that nobody got."""
    async with house(tmp_path, primary=plays(*NOTES, *DIES), spare=SPARE) as home:
        turn = await prompted(home)

    assert ["say spare"] == turn.words


EXTENSION = {"do": "ext", "method": "_x", "params": {"a": 1}}


async def test_an_extension_notification_of_a_lost_attempt_is_never_shown(tmp_path):
    """It is the dead backend's word like any other."""
    async with house(tmp_path, primary=plays(EXTENSION, *DIES), spare=SPARE) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())

    assert [] == editor.of("_x")


async def test_a_held_extension_notification_keeps_its_place_among_the_notes(tmp_path):
    """Order is correctness, for extensions too."""
    steps = [NOTES[0], EXTENSION, NOTES[1], {"do": "say", "text": "x"}]
    async with house(tmp_path, primary=plays(*steps), spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    said = [one.get("method") for one in turn.heard if "method" in one]
    assert ["session/update", "_x", "session/update", "session/update"] == said


async def test_empty_words_commit_nothing(tmp_path):
    """qwen opens with an empty chunk."""
    async with house(tmp_path, primary=plays({"do": "say", "text": " "}, *DIES), spare=SPARE) as home:
        turn = await prompted(home)

    assert ["say spare"] == turn.words


async def test_an_update_that_nobody_knows_is_output(tmp_path):
    """What cannot be taken back commits."""
    unknown = {"do": "update", "update": {"sessionUpdate": "fireworks"}}
    async with house(tmp_path, primary=plays(unknown, *DIES), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["fireworks"], -33002) == (turn.words, turn.outcome)


async def test_late_notes_of_who_answered_reach_the_session(tmp_path):
    """Agents send the title when the turn is over."""
    async with house(tmp_path, primary=plays({"do": "say", "text": "x"}, late(*NOTES)), spare=SPARE) as home:
        turn = await prompted(home)
        words = turn._editor.words

    assert (["say x"], ["say x", "session_info_update", "usage_update"]) == (turn.words, words)


async def test_the_end_of_a_tool_call_may_come_late(tmp_path):
    """Or a client would show it running for ever."""
    call = {"do": "toolCall", "toolCallId": "c", "title": "T", "status": "in_progress"}
    done = {"do": "toolCallUpdate", "toolCallId": "c", "status": "completed"}
    async with house(tmp_path, primary=plays(call, late(done)), spare=SPARE) as home:
        turn = await prompted(home)
        words = turn._editor.words

    assert ["tool_call c in_progress", "tool_call_update c completed"] == words


async def test_late_words_are_not_shown(tmp_path):
    """The answer is over; what is said behind it would stand under no prompt."""
    async with house(tmp_path, primary=plays({"do": "say", "text": "x"}, late({"do": "say", "text": "y"}))) as home:
        turn = await prompted(home)

    assert ["say x"] == turn._editor.words


async def test_late_notes_of_a_lost_attempt_are_never_shown(tmp_path):
    """Its number fences it off."""
    primary = plays(late({"do": "stall", "ms": 10}, *NOTES), {"do": "fail", "message": "overloaded"})
    async with house(tmp_path, primary=primary, spare=SPARE) as home:
        turn = await prompted(home)
        await home.clock.advance(1)

    assert ["say spare"] == turn._editor.words


# --- doubt


async def test_a_failure_dressed_as_an_answer_is_taken_for_one(tmp_path):
    """An ordinary chunk, then a good end: every agent does it."""
    async with house(tmp_path, primary=plays(FAILURE), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary overloaded", "spare"]) == (turn.words, turn.attempts)


async def test_words_in_doubt_are_held_a_second(tmp_path):
    """An answer about errors is not kept from anybody for longer."""
    async with house(tmp_path, primary=plays(FAILURE, STALL), spare=SPARE) as home:
        turn = await prompted(home)
        await home.clock.advance(0.99)
        before = turn.words
        await home.clock.advance(0.02)

        assert ([], ["say API Error: 529 Overloaded"]) == (before, turn.words)


async def test_what_follows_a_doubtful_chunk_settles_it(tmp_path):
    """Nobody says more after their provider has failed."""
    async with house(
        tmp_path, primary=plays(FAILURE, {"do": "say", "text": " means: wait."}, STALL), spare=SPARE
    ) as home:
        turn = await prompted(home)

        assert ["say API Error: 529 Overloaded", "say  means: wait."] == turn.words


async def test_an_answer_with_usage_is_an_answer(tmp_path):
    """A model was asked, and spoke."""
    answer = {"do": "end", "usage": {"totalTokens": 3, "inputTokens": 2, "outputTokens": 1}}
    async with house(tmp_path, primary=plays(FAILURE, answer), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say API Error: 529 Overloaded"], ["primary"]) == (turn.words, turn.attempts)


async def test_the_last_candidates_words_are_shown_as_they_are(tmp_path):
    """Nobody could answer instead: the person should at least read what happened."""
    async with house(tmp_path, primary=plays(*DIES), spare=plays(FAILURE)) as home:
        turn = await prompted(home)

    assert (["say API Error: 529 Overloaded"], "end_turn") == (turn.words, turn.outcome)


async def test_a_doubt_that_ends_in_an_error_is_that_failure(tmp_path):
    """The same text as a notice, and then an error."""
    error = {"do": "fail", "message": "Internal error: API Error", "data": {"errorKind": "rate_limit"}}
    async with house(tmp_path, primary=plays(FAILURE, error), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary rate_limited", "spare"]) == (turn.words, turn.attempts)


async def test_a_refused_turn_tells_each_attempt_once(tmp_path):
    """An agent that ended its turn, wrongly, has not served it as well."""
    async with house(tmp_path, primary=plays({"do": "end"})) as home:
        turn = await prompted(home)

    assert ["primary empty_turn"] == turn.attempts


# --- an agent that retries by itself


async def test_a_retry_notice_shortens_the_wait(tmp_path):
    """Its provider has failed: two seconds, and the spare answers."""
    async with house(tmp_path, primary=plays(RETRY, STALL), spare=SPARE) as home:
        turn = await prompted(home)
        await home.clock.advance(1.9)
        before = turn.is_answered
        await home.clock.advance(0.2)

    assert (False, ["say spare"]) == (before, turn.words)


async def test_a_retry_notice_of_the_last_candidate_shortens_nothing(tmp_path):
    """Its own retries are the turn's last hope."""
    primary = plays(RETRY, {"do": "stall", "ms": 60_000}, {"do": "say", "text": "at last"})
    async with house(tmp_path, primary=primary) as home:
        turn = await prompted(home)
        await home.clock.advance(60)

    assert ["say Retrying (attempt 1/3, waiting 2s)...", "say at last"] == turn.words


# --- notices of ours


async def test_without_being_asked_for_nothing_is_said_of_a_failover(tmp_path):
    """Nobody but the log and `_meta` can tell."""
    async with house(tmp_path, primary=plays(*DIES), spare=SPARE) as home:
        turn = await prompted(home)

    assert ["say spare"] == turn.words


async def test_with_the_notice_off_a_good_answer_is_the_agents_own(tmp_path):
    """`acp.notice: off`: its `_meta` stays, and nothing of ours is in it."""
    meta = {"a": 1, "acp-broker": {"backend": "nobody"}}
    spare = {"turns": [[{"do": "say", "text": "x"}, {"do": "end", "meta": meta}]]}
    async with house(tmp_path, policy={"notice": "off"}, primary={"turns": [DIES]}, spare=spare) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert {"stopReason": "end_turn", "_meta": {"a": 1}} == turn.reply["result"]


async def test_with_the_notice_off_an_error_still_tells_its_story(tmp_path):
    """There is no other place to learn why."""
    async with house(tmp_path, policy={"notice": "off"}, primary={"turns": [DIES]}, spare={"turns": [DIES]}) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert ["primary crashed", "spare crashed"] == turn.attempts


async def test_a_notice_says_who_answers_and_why(tmp_path):
    """`acp.notice: message`."""
    async with house(tmp_path, policy=MESSAGE, primary=plays(*DIES), spare=SPARE) as home:
        turn = await prompted(home)

    assert ["say [acp-broker] spare answers (primary: killed by SIGKILL)", "say \n\n", "say spare"] == turn.words


async def test_a_notice_is_a_message_of_its_own(tmp_path):
    """Its words are not the agent's."""
    async with house(tmp_path, policy=MESSAGE, primary=plays(*DIES), spare=SPARE) as home:
        turn = await prompted(home)
        notice, blank, answer = [update["messageId"] for update in turn._editor.updates]

    assert (notice == blank, notice == answer) == (True, False)


async def test_a_notice_comes_once_per_transition_both_ways(tmp_path):
    """Not in every turn."""
    primary = {"turns": [[{"do": "fail", "message": "overloaded"}], [{"do": "say", "text": "back"}]]}
    async with house(tmp_path, policy=MESSAGE, primary=primary, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        for pause in (0, 30, 0, 0):
            await editor.prompt(session)
            await home.clock.advance(pause)

    expected = [
        "say [acp-broker] spare answers (primary: overloaded)",
        "say \n\n",
        "say spare",
        "say spare",
        "say [acp-broker] primary answers again, after spare",
        "say \n\n",
        "say back",
        "say back",
    ]
    assert expected == editor.words


async def test_a_turn_that_nobody_could_answer_is_no_transition(tmp_path):
    """The error says it."""
    async with house(tmp_path, policy=MESSAGE, primary=plays(*DIES), spare=plays(*DIES)) as home:
        turn = await prompted(home)

    assert ([], -33001) == (turn.words, turn.outcome)


# --- clocks


async def test_all_clocks_stop_while_a_person_decides(tmp_path):
    """A permission may stay open over lunch: neither the limit of a phase nor the chain's runs on."""
    steps = [{"do": "readFile", "path": "a"}, {"do": "stall", "ms": 1000}, {"do": "say", "text": "done"}]
    async with house(tmp_path, limits=Limits(first_output=5.0), primary=plays(*steps), spare=SPARE) as home:
        turn = await prompted(home)
        await home.clock.advance(3600)
        asked = turn._editor.of("fs/read_text_file")[0]
        turn._editor.answer(asked, {"content": "x"})
        await home.clock.advance(1)

    assert (["say done"], ["primary"]) == (turn.words, turn.attempts)


async def test_a_long_turn_does_not_count_as_idleness(tmp_path):
    """The idle limit of the agent began with the end of the turn before: it must not end this one."""
    hour = [{"do": "say", "text": "x"}, {"do": "stall", "ms": 3_600_000}, {"do": "say", "text": "y"}]
    async with house(tmp_path, primary=plays(*hour)) as home:
        editor = await home.editor()
        session = await editor.new()
        turns = []
        for _ in range(2):
            turns.append(await editor.prompt(session))
            await home.clock.advance(3600)

    assert ["end_turn"] * 2 == [turn.outcome for turn in turns]


async def test_an_idle_limit_ends_a_turn_that_has_begun(tmp_path):
    """Where config asks for one."""
    async with house(tmp_path, limits=Limits(idle=60.0), primary=plays({"do": "say", "text": "x"}, STALL)) as home:
        turn = await prompted(home)
        await home.clock.advance(60)

    assert (-33002, ["say x"]) == (turn.outcome, turn.words)
