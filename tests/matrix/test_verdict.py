"""What the matrix makes of a turn: a verdict that cannot fail proves nothing."""

import json

import pytest
from msgspec import Raw

from matrix.faults import BROKEN_THOUGHTS, BROKEN_WORDS, GOOD, WHOLE_WORDS
from matrix.peer import Line
from matrix.turn import Turn
from matrix.verdict import outcome, problem

WORD = BROKEN_WORDS.split()[0] + " "
THOUGHT = BROKEN_THOUGHTS.split()[0] + " "
NOTICE = "API Error: 529 Overloaded"
WARNING = "Model metadata not found"


def say(text, kind="agent_message_chunk"):
    return {"sessionUpdate": kind, "content": {"type": "text", "text": text}}


def turn(*updates, error=None, reason="end_turn", **members):
    """A prompt, those updates, and an answer."""
    messages = [{"method": "session/update", "params": {"sessionId": "s", "update": update}} for update in updates]
    asked = Line(0.0, is_of_agent=False, text=b'{"id":2,"method":"session/prompt"}')
    lines = (asked, *(Line(0.1, is_of_agent=True, text=json.dumps(message).encode()) for message in messages))
    result = Raw(json.dumps({"stopReason": reason}).encode()) if error is None else Raw()
    failure = Raw(json.dumps({"code": error, "message": "failed"}).encode()) if error is not None else Raw()
    return Turn(lines, members.pop("took_s", 1.0), result, failure, **members)


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (turn(say(WORD)), "OK"),
        (turn(say(NOTICE)), "tOK"),
        (turn(say(WARNING), say(WORD)), "OK"),
        (turn(say(WARNING)), "OK0"),
        (turn(), "OK0"),
        (turn(say(" ")), "OK0"),
        (turn(say("Say something.", "user_message_chunk")), "OK0"),
        (turn({"sessionUpdate": "usage_update"}), "OK0"),
        (turn(reason="refusal"), "R"),
        (turn(say(NOTICE), reason="refusal"), "tR"),
        (turn(reason="cancelled"), "C"),
        (turn(error=-32603), "E"),
        (turn(error=401), "E401"),
        (turn(say(NOTICE), error=-32000), "tE-32000"),
        (turn(is_cut=True), "..."),
        (turn(is_cut=True, is_deaf=True), "hang"),
        (turn(stopped_at="session/new"), "stops at session/new"),
    ],
)
def test_the_outcome_of_an_agent_alone_is_told_in_a_word(seen, code):
    """As docs/matrix.md explains them."""
    assert code == outcome(seen, [WARNING])


@pytest.mark.parametrize(
    "seen",
    [
        turn(say(WHOLE_WORDS)),
        turn(*(say(word + " ") for word in WHOLE_WORDS.split())),
        turn({"sessionUpdate": "usage_update"}, say(WHOLE_WORDS), {"sessionUpdate": "session_info_update"}),
    ],
)
def test_the_fallbacks_whole_answer_alone_is_as_promised(seen):
    """In any number of pieces; notes show nothing."""
    assert problem(seen, "503", limit_s=5, fallback_was_asked=True) == ""


@pytest.mark.parametrize("first", [say(WORD), say(THOUGHT, "agent_thought_chunk")])
def test_words_that_stay_and_one_error_are_as_promised(first):
    """A thought that was shown is a word too."""
    assert problem(turn(first, error=-33002), "err-mid", limit_s=5, fallback_was_asked=False) == ""


@pytest.mark.parametrize(
    ("fault", "seen", "was_asked"),
    [
        ("503", turn(say(NOTICE), say(WHOLE_WORDS)), True),
        ("503", turn(say(WHOLE_WORDS[:-9])), True),
        ("503", turn(say(WHOLE_WORDS), say(WHOLE_WORDS)), True),
        ("503", turn(say("System Prompt: ...", "agent_thought_chunk"), say(WHOLE_WORDS)), True),
        ("503", turn(say(WHOLE_WORDS), {"sessionUpdate": "tool_call", "toolCallId": "c"}), True),
        ("503", turn(say(WHOLE_WORDS), took_s=9.0), True),
        ("503", turn(error=-33001), True),
        ("503", turn(), True),
        ("503", turn(is_cut=True), True),
        ("err-mid", turn(say(WORD)), False),
        ("err-mid", turn(say(WORD), say(NOTICE)), False),
        ("err-mid", turn(say(WORD), error=-33001), False),
        ("err-mid", turn(say(WORD), say(WHOLE_WORDS), error=-33002), False),
        ("err-mid", turn(say(WORD), error=-33002), True),
        (GOOD, turn(say(WHOLE_WORDS)), True),
        (GOOD, turn(say(BROKEN_WORDS), error=-33002), False),
        (GOOD, turn(say(BROKEN_WORDS)), True),
    ],
)
def test_anything_else_is_a_problem(fault, seen, was_asked):
    """A word of the failed agent, half an answer or two, an error, silence, or the fallback asked after words."""
    assert problem(seen, fault, limit_s=5, fallback_was_asked=was_asked) != ""


def test_a_healthy_answer_comes_from_the_agent_itself():
    """And is whole."""
    assert problem(turn(say(BROKEN_WORDS)), GOOD, limit_s=5, fallback_was_asked=False) == ""
