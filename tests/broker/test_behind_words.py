"""A provider that fails in the middle of an answer: what was shown stays, and the end of the turn tells the truth."""

import re

import pytest

from acp_broker.broker.latest import PAUSE_S
from acp_broker.contract import Finished
from acp_broker.core.failures import FailureKind
from acp_broker.core.habits import Habits, Pattern
from acp_broker.wire.acp import message, update
from tests.support.harness import house
from tests.support.player import Player

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
USED = {"totalTokens": 3, "inputTokens": 2, "outputTokens": 1}
GOOSE = (
    "Ran into this error: Server error: Bad Gateway.\n\n"
    "Please retry if you think this is a transient or recoverable error."
)
KNOWN = Habits(notices=(Pattern(re.compile(r"stream error: "), FailureKind.SERVER_ERROR),))
OWN = "stream error: closed before completion"


def ended(**members: object) -> Finished:
    return Finished("end_turn", update("", **members).params["update"])


async def played(path, *words: str, habits: Habits | None = None, end: Finished | None = None):
    """The turn that a primary with such habits makes of these words."""
    primary = Player(habits or Habits())
    primary.plays, primary.end = [message(one) for one in words], end or ended()
    async with house(path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        return await editor.prompt(await editor.new())


@pytest.mark.parametrize(("notice", "habits"), [(GOOSE, None), (OWN, KNOWN)])
async def test_an_agents_exact_notice_behind_words_ends_the_turn_as_failed(tmp_path, notice, habits):
    """They say so as a message, and that the turn ended well."""
    turn = await played(tmp_path, "Half an ", "answer", notice, habits=habits)

    assert (-33002, ["primary server_error"]) == (turn.outcome, turn.attempts)
    assert ["say Half an ", "say answer", f"say {notice}"] == turn.words


@pytest.mark.parametrize(
    ("last", "habits"),
    [
        (OWN, None),
        ("Error: 503 Service Unavailable", KNOWN),
        ("Rate limit exceeded. Please try again later.", None),
        (f"`{OWN}` means that the server hung up. Do you want me to retry?", KNOWN),
        (f"{OWN} is the text that you should match on.", KNOWN),
    ],
)
async def test_what_an_answer_quotes_last_is_part_of_it(tmp_path, last, habits):
    """Words were shown: only an agent's exact wording tells that they are half an answer."""
    turn = await played(tmp_path, "The log says: ", last, habits=habits)

    assert "end_turn" == turn.outcome


async def test_a_notice_in_a_last_thought_is_thought_about(tmp_path):
    """What agents tell of their provider they tell as a message."""
    primary = Player(KNOWN)
    thought = update("agent_thought_chunk", content={"type": "text", "text": OWN})
    primary.plays, primary.end = [message("Fine. "), thought], ended()
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert "end_turn" == turn.outcome


async def test_usage_vouches_for_the_last_words(tmp_path):
    """A model has finished."""
    turn = await played(tmp_path, "It printed ", GOOSE, end=ended(usage=USED))

    assert "end_turn" == turn.outcome


async def test_usage_does_not_vouch_for_a_known_agents_whole_notice(tmp_path):
    """goose tells a failure with the usage of the turn before."""
    habits = Habits(notices=(Pattern(re.compile(r"stream error: .*"), FailureKind.SERVER_ERROR),))
    turn = await played(tmp_path, "Half an ", OWN, habits=habits, end=ended(usage=USED))

    assert -33002 == turn.outcome


@pytest.mark.parametrize(
    "counts", [{"usage": {"totalTokens": 0}}, {"_meta": {"quota": {"token_count": {"output_tokens": 0}}}}]
)
async def test_words_that_used_nothing_are_half_an_answer(tmp_path, counts):
    """Where the agent's whole answers count tokens: gemini, whose provider's stream just ends."""
    primary = Player()
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        primary.plays, primary.end = [message("Fine.")], ended(_meta={"quota": {"token_count": {"output_tokens": 6}}})
        outcomes = [(await editor.prompt(session)).outcome for _ in range(2)]
        primary.end = ended(**counts)
        outcomes += [(await editor.prompt(session)).outcome]

    assert ["end_turn", "end_turn", -33002] == outcomes


@pytest.mark.parametrize(
    ("last", "renews", "outcome"),
    [
        ({"usage": USED}, True, -33002),
        ({}, True, -33002),
        ({"usage": {**USED, "inputTokens": 3}}, True, "end_turn"),
        ({"usage": USED}, False, "end_turn"),
        ({}, False, "end_turn"),
    ],
)
async def test_an_old_usage_is_that_of_half_an_answer_where_it_is_known_to_be(tmp_path, last, renews, outcome):
    """goose, whose provider's stream just ends, tells the last usage that it knows; an agent without a memory may well
    use the same for another short prompt."""
    primary = Player(Habits(renews_usage=renews))
    primary.plays = [message("Fine.")]
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        for used in (1, 2):
            primary.end = ended(usage={**USED, "inputTokens": used})
            assert "end_turn" == (await editor.prompt(session)).outcome
        primary.end = ended(**last)
        turn = await editor.prompt(session)

    assert (outcome, ["say Fine."]) == (turn.outcome, turn.words)


@pytest.mark.parametrize("counts", [{}, {"usage": {"totalTokens": 0}}])
async def test_a_command_that_asks_no_model_uses_nothing(tmp_path, counts):
    """Its answer is whole."""
    primary = Player(Habits(renews_usage=True))
    primary.plays = [message("Compacted.")]
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        for used in (1, 2):
            primary.end = ended(usage={**USED, "inputTokens": used})
            await editor.prompt(session)
        primary.end = ended(**counts)
        turn = await editor.prompt(session, "/compact")

    assert "end_turn" == turn.outcome


async def test_a_turn_that_ran_out_of_tokens_tells_so_itself(tmp_path):
    """Its end is none that hides a failure."""
    primary = Player(Habits(renews_usage=True))
    primary.plays = [message("Fine.")]
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        for used in (1, 2):
            primary.end = ended(usage={**USED, "inputTokens": used})
            await editor.prompt(session)
        primary.end = Finished("max_tokens")
        turn = await editor.prompt(session)

    assert "max_tokens" == turn.outcome


async def test_usage_that_is_never_renewed_again_is_no_witness(tmp_path):
    """The user has turned to a model that reports none: goose repeats the last that it knows, for ever."""
    primary = Player(Habits(renews_usage=True))
    primary.plays = [message("Fine.")]
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        outcomes = []
        for used in (1, 2, 2, 2, 2):
            primary.end = ended(usage={**USED, "inputTokens": used})
            turn = await editor.prompt(session)
            outcomes += [turn.outcome]
            assert ["say Fine."] == turn.words
            await home.clock.advance(60)

    assert ["end_turn", "end_turn", -33002, "end_turn", "end_turn"] == outcomes


async def test_an_agent_that_always_counts_nothing_is_left_alone(tmp_path):
    """Its provider does not report what was used."""
    turn = await played(tmp_path, "Fine.", end=ended(usage={"totalTokens": 0}))

    assert "end_turn" == turn.outcome


# --- the same beginning, again and again


def beginning(number: int) -> list:
    return [message(word, messageId=f"message-{number}") for word in ("Amber ", "birds ")]


async def test_an_agent_that_begins_the_same_answer_for_ever_is_stopped(tmp_path):
    """opencode asks its provider again hundreds of times, and each time says what it gets."""
    primary = Player()
    primary.plays = [one for number in range(99) for one in beginning(number)]
    async with house(tmp_path, primary=primary.open, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert (-33002, ["say Amber ", "say birds "] * 4) == (turn.outcome, turn.words)
    assert "began the same answer again and again" in turn.error


async def test_what_is_said_again_between_tools_is_no_broken_answer(tmp_path):
    """An agent shows its plan each time, longer than what is compared."""
    plan = [say("The plan, in order: "), say("one step after another, " * 20)]
    steps = [
        step for _ in range(9) for step in (*plan, {"do": "toolCall", "toolCallId": "t", "title": "ls"}, pause(PAUSE_S))
    ]
    async with house(tmp_path, primary={"turns": [steps]}, spare=SPARE) as home:
        editor = await home.editor()
        turn = editor.start(await editor.new())
        await home.clock.advance(60)

    assert "end_turn" == turn.outcome


async def test_a_pause_parts_beginnings_that_share_a_message(tmp_path):
    """vibe gives all of them one id, most agents none."""
    steps = [step for _ in range(9) for step in (say("Amber "), say("birds "), pause(PAUSE_S))]
    async with house(tmp_path, primary={"turns": [steps]}, spare=SPARE) as home:
        editor = await home.editor()
        turn = editor.start(await editor.new())
        await home.clock.advance(60)

    assert (-33002, ["say Amber ", "say birds "] * 4) == (turn.outcome, turn.words)


async def test_an_agents_word_of_a_retry_parts_beginnings_too(tmp_path):
    """vibe tells it by a notification of its own, and breaks off behind a single word."""
    retry = {"do": "ext", "method": "_session/retrying"}
    steps = [step for _ in range(9) for step in (say("Amber "), retry)]
    async with house(tmp_path, primary={"turns": [steps]}, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert (-33002, ["say Amber "] * 5) == (turn.outcome, turn.words)


async def test_an_agent_that_says_the_same_without_a_pause_goes_on(tmp_path):
    """Somebody has asked for it."""
    turn = await played(tmp_path, *["All work ", "and no play "] * 50)

    assert ("end_turn", 100) == (turn.outcome, len(turn.words))


async def test_a_line_of_progress_may_be_said_for_ever(tmp_path):
    """It comes in one piece."""
    steps = [step for _ in range(20) for step in (say("Still running the tests...\n"), pause(5))]
    async with house(tmp_path, primary={"turns": [steps]}, spare=SPARE) as home:
        editor = await home.editor()
        turn = editor.start(await editor.new())
        await home.clock.advance(200)

    assert ("end_turn", 20) == (turn.outcome, len(turn.words))


def say(text: str) -> dict:
    return {"do": "say", "text": text}


def pause(seconds: float) -> dict:
    return {"do": "stall", "ms": round(seconds * 1000)}
