"""Failures in disguise, through a whole broker: empty ends, retries, warnings, missing usage, side requests."""

import json
import re

import pytest

from acp_broker.broker.runtime import Leased
from acp_broker.contract import Finished
from acp_broker.core.habits import Habits
from acp_broker.core.turnrules import Limits
from acp_broker.wire.acp import message, update
from tests.support.harness import house, runtime
from tests.support.player import Player

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
STALL = {"do": "stall"}
USED = {"totalTokens": 3, "inputTokens": 2, "outputTokens": 1}
WARNING = "Warning: that deletes the branch."


def plays(*steps: dict) -> dict:
    return {"turns": [list(steps)]}


def say(text: str) -> dict:
    return {"do": "say", "text": text}


async def prompted(home):
    editor = await home.editor()
    return await editor.prompt(await editor.new())


# --- turns in which nothing is said


@pytest.mark.parametrize("said", [[], [say("")], [say(" \n")], [{"do": "think", "text": "\t"}]])
async def test_an_end_without_words_is_a_failure(tmp_path, said):
    """Providers fail so behind eight of twenty agents; blanks are no words."""
    async with house(tmp_path, primary=plays(*said, {"do": "end"}), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary empty_turn", "spare"]) == (turn.words, turn.attempts)


async def test_two_empty_turns_in_a_row_rest_the_backend(tmp_path):
    """One may be the prompt's."""
    async with house(tmp_path, primary=plays({"do": "end"}), spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        attempts = [(await editor.prompt(session)).attempts for _ in range(3)]

    assert [["primary empty_turn", "spare"]] * 2 + [["spare"]] == attempts


@pytest.mark.parametrize("reason", ["refusal", "max_tokens", "max_turn_requests"])
async def test_another_end_without_words_or_usage_is_a_failure(tmp_path, reason):
    """Two of twenty agents answer `refusal` to a session that they have lost."""
    async with house(tmp_path, primary=plays({"do": "end", "stopReason": reason}), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary empty_turn", "spare"]) == (turn.words, turn.attempts)


@pytest.mark.parametrize("reason", ["refusal", "max_tokens", "max_turn_requests"])
async def test_a_model_that_was_asked_may_end_without_words(tmp_path, reason):
    """It refused, or its tokens ran out in thoughts that nobody sees: `usage` says so."""
    end = {"do": "end", "stopReason": reason, "usage": USED}
    async with house(tmp_path, primary=plays(end), spare=SPARE) as home:
        turn = await prompted(home)

    assert ([], reason, ["primary"]) == (turn.words, turn.outcome, turn.attempts)


async def test_a_refusal_with_a_failures_text_is_a_failure(tmp_path):
    """One of twenty agents ends so."""
    steps = [say("Error: rate limit exceeded"), {"do": "end", "stopReason": "refusal"}]
    async with house(tmp_path, primary=plays(*steps), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary rate_limited", "spare"]) == (turn.words, turn.attempts)


async def test_a_refusal_in_words_is_an_answer(tmp_path):
    """A model may decline."""
    steps = [say("I can't help with that."), {"do": "end", "stopReason": "refusal"}]
    async with house(tmp_path, primary=plays(*steps), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say I can't help with that."], "refusal") == (turn.words, turn.outcome)


async def test_a_cancel_that_nobody_asked_for_is_a_failure(tmp_path):
    """claude answers so when it gets SIGTERM."""
    async with house(tmp_path, primary=plays({"do": "end", "stopReason": "cancelled"}), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary crashed", "spare"]) == (turn.words, turn.attempts)


# --- doubt, piece by piece


async def test_a_failure_in_two_pieces_is_one(tmp_path):
    """The second does not settle it."""
    async with house(tmp_path, primary=plays(say("API Error: 529 "), say("Overloaded")), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary overloaded", "spare"]) == (turn.words, turn.attempts)


async def test_pieces_are_held_no_longer_than_one(tmp_path):
    """A second from the first."""
    pause = {"do": "stall", "ms": 800}
    steps = [say("API Error: 529 "), pause, say("Overloaded"), STALL]
    async with house(tmp_path, primary=plays(*steps), spare=SPARE) as home:
        turn = await prompted(home)
        await home.clock.advance(0.99)
        before = turn.words
        await home.clock.advance(0.02)

        assert ([], ["say API Error: 529 ", "say Overloaded"]) == (before, turn.words)


# --- usage as a witness


async def reports(home, editor, session, primary: Player, *usages: object) -> None:
    """Good turns beyond doubt, with such usages."""
    for usage in usages:
        primary.plays = [message("Fine.")]
        primary.end = Finished("end_turn", update("", usage=usage).params["update"])
        await editor.prompt(session)


async def doubted(editor, session, primary: Player) -> list[str]:
    """Who is tried where a chunk begins like a failure, says little, and has no usage behind it."""
    primary.plays, primary.end = [message("Rate limit hit for this key")], Finished("end_turn")
    return (await editor.prompt(session)).attempts


@pytest.mark.parametrize(
    ("usages", "attempts"),
    [
        ([USED, USED], ["primary rate_limited", "spare"]),
        ([USED], ["primary"]),
        ([None, None], ["primary"]),
        ([USED, USED, None], ["primary"]),
    ],
)
async def test_usage_that_is_the_habit_and_is_missing_is_evidence(tmp_path, usages, attempts):
    """Learnt from good turns, and unlearnt by one without."""
    primary = Player()
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await reports(home, editor, session, primary, *usages)

        assert attempts == await doubted(editor, session, primary)


async def test_a_habit_outlives_its_broker(tmp_path):
    """A client that starts a broker for each prompt learns nothing otherwise."""
    primary = Player()
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        await reports(home, editor, await editor.new(), primary, USED, USED)
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()

        assert ["primary rate_limited", "spare"] == await doubted(editor, await editor.new(), primary)


async def test_a_habit_is_written_once(tmp_path):
    """A healthy turn pays for a look-up."""
    primary = Player()
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await reports(home, editor, session, primary, USED, USED)
        file = tmp_path / "state" / "learnt.json"
        before = file.stat().st_mtime_ns, json.loads(file.read_bytes())["usage"]
        await reports(home, editor, session, primary, USED, USED, USED)

        assert before == (file.stat().st_mtime_ns, {"primary:primary": 2})


async def test_words_that_were_doubted_teach_nothing(tmp_path):
    """They were believed because time was up: they may have been a failure."""
    primary = Player()
    async with house(tmp_path, primary=primary.open) as home:
        editor = await home.editor()
        session = await editor.new()
        primary.plays = [message("Error: rate limit exceeded")]
        await editor.prompt(session)
        learnt = home.broker.learnt._all().usage

    assert {} == learnt


TOOL = {"do": "toolCall", "toolCallId": "t", "title": "ls"}


async def test_doubted_words_that_went_on_teach_nothing(tmp_path):
    """How they began may have been a failure."""
    primary = Player()
    primary.plays = [message("Error: rate limit exceeded"), message(" means that you ask too often.")]
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        turn = await prompted(home)
        learnt = home.broker.learnt._all().usage

    assert (["primary"], {}) == (turn.attempts, learnt)


async def test_a_turn_that_begins_with_a_tool_is_beyond_doubt(tmp_path):
    """Nobody but a model calls one."""
    async with house(tmp_path, primary=plays(TOOL, say("Fine.")), spare=SPARE) as home:
        await prompted(home)
        learnt = home.broker.learnt._all().usage

    assert {"primary:primary": 0} == learnt


async def test_a_failure_dressed_as_an_answer_tells_no_credential(tmp_path):
    """Providers quote the key that they refuse."""

    async def lease(environ, credential):
        return Leased(secret="blue-horse-4711")

    primary = Player()
    primary.plays = [message("Error: 401 Unauthorized, nobody knows blue-horse-4711")]
    async with house(tmp_path, primary=runtime("primary", primary.open, lease=lease), spare=SPARE) as home:
        turn = await prompted(home)

    assert (2, False) == (len(turn.told["attempts"]), "blue-horse-4711" in str(turn.told))


# --- an agent that retries by itself


RETRIES = [
    {"do": "think", "text": "Retrying (attempt 1/3, waiting 2s)..."},
    {"do": "ext", "method": "_session/retrying", "params": {"attempt": 1}},
    {"do": "note", "info": {"_meta": {"codex": {"error": {"message": "Reconnecting... 1/5", "willRetry": True}}}}},
]


@pytest.mark.parametrize("retry", RETRIES)
async def test_a_retry_in_any_form_shortens_the_wait(tmp_path, retry):
    """Its provider has failed: two seconds, and the spare answers. None of it is shown."""
    async with house(tmp_path, primary=plays(retry, STALL), spare=SPARE) as home:
        turn = await prompted(home)
        await home.clock.advance(1.9)
        before = turn.is_answered
        await home.clock.advance(0.2)

    assert (False, ["say spare"]) == (before, turn.words)


@pytest.mark.parametrize("retry", RETRIES)
async def test_a_retry_that_helped_is_no_failure(tmp_path, retry):
    """The agent speaks within its two seconds."""
    steps = [retry, {"do": "stall", "ms": 1500}, say("at last")]
    async with house(tmp_path, primary=plays(*steps), spare=SPARE) as home:
        turn = await prompted(home)
        await home.clock.advance(2)

    assert ("say at last", ["primary"]) == (turn.words[-1], turn.attempts)


# --- banners and warnings


async def test_a_warning_does_not_commit(tmp_path):
    """codex warns of a model's name, and then its provider fails."""
    steps = [
        say("⚠️ Model metadata for `x` not found.\n"),
        {"do": "stall", "ms": 5000},
        say("API Error: 529 Overloaded"),
    ]
    async with house(tmp_path, primary=plays(*steps), spare=SPARE) as home:
        turn = await prompted(home)
        await home.clock.advance(5)

    assert (["say spare"], ["primary overloaded", "spare"]) == (turn.words, turn.attempts)


async def test_a_warning_that_is_all_of_an_answer_arrives(tmp_path):
    """It was no adapter's."""
    async with house(tmp_path, primary=plays(say(WARNING)), spare=SPARE) as home:
        turn = await prompted(home)

    assert ([f"say {WARNING}"], ["primary"], "end_turn") == (turn.words, turn.attempts, turn.outcome)


@pytest.mark.parametrize("words", ["Failed to fetch the index, retrying in 5 s.", "Retrying..."])
async def test_words_of_a_retry_that_a_model_has_said_arrive(tmp_path, words):
    """Usage tells that one has spoken, and nothing followed that they could be about."""
    primary = Player()
    primary.plays, primary.end = [message(words)], Finished("end_turn", update("", usage=USED).params["update"])
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        turn = await prompted(home)

    assert ([f"say {words}"], ["primary"], "end_turn") == (turn.words, turn.attempts, turn.outcome)


async def test_an_old_usage_vouches_for_no_words_of_a_retry(tmp_path):
    """goose repeats the last that it knows."""
    primary = Player(Habits(renews_usage=True))
    primary.plays, primary.end = [message("Retrying...")], Finished("end_turn", update("", usage=USED).params["update"])
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        turn = await prompted(home)

    assert ["primary empty_turn", "spare"] == turn.attempts


async def test_words_of_a_retry_without_usage_are_no_answer(tmp_path):
    """The agent has given up."""
    async with house(tmp_path, primary=plays(say("Retrying...")), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary empty_turn", "spare"]) == (turn.words, turn.attempts)


async def test_a_warning_stands_before_the_answer(tmp_path):
    """Nothing that was said in a turn that is answered is lost."""
    async with house(tmp_path, primary=plays(say(WARNING), say("Shall I?")), spare=SPARE) as home:
        turn = await prompted(home)

    assert [f"say {WARNING}", "say Shall I?"] == turn.words


async def test_an_agent_that_warns_and_says_nothing_more_is_silent(tmp_path):
    """The wait for its first word goes on."""
    limits = Limits(first_output=30.0)
    async with house(tmp_path, limits=limits, primary=plays(say(WARNING), STALL), spare=SPARE) as home:
        turn = await prompted(home)
        await home.clock.advance(30)

    assert (["say spare"], ["primary silent", "spare"]) == (turn.words, turn.attempts)


async def test_a_warning_is_not_lost_to_a_cancel(tmp_path):
    """What was said is shown."""
    async with house(tmp_path, primary=plays(say(WARNING), STALL), spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        editor.cancel(session)
        await home.clock.advance(1)

    assert ([f"say {WARNING}"], "cancelled") == (turn.words, turn.outcome)


async def test_a_banner_that_its_row_knows_is_no_answer(tmp_path):
    """With nothing behind it the turn is empty."""
    primary = Player(Habits(asides=(re.compile("pi v"),)))
    primary.plays = [message("pi v0.87.1\n---\n")]
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary empty_turn", "spare"]) == (turn.words, turn.attempts)


# --- echoes


async def test_an_echo_of_the_prompt_commits_nothing(tmp_path):
    """vibe sends it before its provider is asked."""
    steps = [{"do": "echo", "voice": "user"}, {"do": "die"}]
    async with house(tmp_path, primary=plays(*steps), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], ["primary crashed", "spare"]) == (turn.words, turn.attempts)


async def test_the_prompt_in_an_agents_own_voice_is_an_answer(tmp_path):
    """Echo agents exist, and "say hello" has an answer."""
    async with house(tmp_path, primary={"turns": [[{"do": "echo", "chunks": 1}, {"do": "die"}]]}, spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say hello"], -33002) == (turn.words, turn.outcome)


# --- side requests


async def test_a_request_that_acp_does_not_know_is_refused_at_once_and_commits_nothing(tmp_path):
    """qwen asks `craft/drainMidTurnQueue` and waits for its answer."""
    ask = {"do": "ext", "method": "craft/drainMidTurnQueue", "request": True}
    async with house(tmp_path, primary=plays(ask, {"do": "die"}), spare=SPARE) as home:
        turn = await prompted(home)

    assert (["say spare"], []) == (turn.words, turn._editor.of("craft/drainMidTurnQueue"))


async def test_an_extension_request_commits(tmp_path):
    """It is put to the client, and nobody can know what it does there."""
    ask = {"do": "ext", "method": "_vendor/open", "request": True}
    async with house(tmp_path, primary=plays(ask, {"do": "die"}), spare=SPARE) as home:
        editor = await home.editor()
        editor.answers["_vendor/open"] = {"done": True}
        turn = await editor.prompt(await editor.new())

    assert (1, -33002) == (len(editor.of("_vendor/open")), turn.outcome)
