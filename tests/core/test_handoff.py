"""What a backend is told of the turns that it has not seen: newest whole turns first, nothing that was refused."""

from acp_broker.core.handoff import Missed, Said, Tool, compose
from acp_broker.core.names import BackendId, TurnId

CODEX = BackendId("codex")


def said(prompt: str, answer: str = "done", **members: object) -> Said:
    return Said(TurnId(prompt), prompt, answer, by=CODEX, **members)


def told(*turns: Said, limit: int = 32 * 1024) -> str:
    handoff = compose([Missed(one) for one in turns], limit)
    assert handoff is not None
    return handoff.text


def test_a_turn_is_told_by_its_prompt_and_its_answer():
    """With who gave it."""
    assert "\n[user]\nwhat is it?\n\n[answer of codex]\na duck\n" in told(said("what is it?", "a duck"))


def test_turns_are_told_in_the_order_in_which_they_were():
    """Oldest first: it is read as a conversation."""
    text = told(said("one"), said("two"), said("three"))

    assert sorted(("one", "two", "three"), key=text.index) == ["one", "two", "three"]


def test_tools_are_told_by_title_status_and_files():
    """What was done to the workspace matters more than how."""
    edit = Tool("Edit", "completed", ("/a.py", "/b.py"))

    assert "[tool: Edit (/a.py, /b.py): completed]\n" in told(said("x", tools=(edit,)))


def test_a_tool_call_that_never_said_how_it_went_is_told_so():
    """It may have been done or not."""
    assert "[tool: Edit: status unknown]\n" in told(said("x", tools=(Tool("Edit"),)))


def test_a_turn_that_ended_otherwise_says_how():
    """The next agent must not take half an answer for a whole one."""
    assert "[this turn ended: interrupted]\n" in told(said("x", end="interrupted"))


def test_what_was_refused_is_left_out():
    """ACP v1, prompt-turn: a refused prompt and everything after it is not part of the next prompt."""
    assert compose([Missed(said("x", end="refusal"))]) is None


def test_a_turn_that_nobody_answered_is_left_out():
    """There is nothing to tell."""
    assert compose([Missed(said("x", "", end="failed"))]) is None


def test_a_prompt_that_a_backend_was_given_is_not_given_again():
    """It was submitted to it and answered elsewhere: it is told the answer."""
    handoff = compose([Missed(said("what is it?", "a duck"), has_prompt=True)])

    assert handoff is not None
    assert (False, True) == ("what is it?" in handoff.text, "a duck" in handoff.text)


def test_the_newest_turns_are_kept_where_not_all_fit():
    """And how many are missing is said."""
    turns = [said(f"prompt {number}", "x" * 500) for number in range(10)]
    handoff = compose([Missed(one) for one in turns], 2000)

    assert handoff is not None
    kept = [one.prompt for one in turns if f"{one.prompt}\n" in handoff.text]
    assert (kept, handoff.turns, handoff.left_out) == (
        [one.prompt for one in turns[-len(kept) :]],
        len(kept),
        10 - len(kept),
    )
    assert f"({handoff.left_out} earlier still, left out here.)" in handoff.text


def test_a_handoff_keeps_its_limit():
    """To a few bytes for saying what is missing."""
    turns = [said(f"prompt {number}", "é" * 300) for number in range(40)]

    assert len(told(*turns, limit=4096).encode()) <= 4096 + 64


def test_one_turn_that_is_too_long_keeps_its_two_ends():
    """What it began with and what it came to."""
    text = told(said("x", "begin " + "y" * 50_000 + " end"), limit=2000)

    assert ("begin " in text, " end\n" in text, "bytes left out" in text) == (True, True, True)


def test_a_cut_breaks_no_character():
    """Half a character is no UTF-8."""
    text = told(said("x", "é" * 5000), limit=1001)

    assert text == text.encode().decode()
