"""What a backend without a memory is given of the turns before: the newest whole ones, and never more than fits."""

import msgspec

from acp_broker.core.handoff import Said, Tool
from acp_broker.core.history import Exchange, newest
from acp_broker.core.names import BackendId, TurnId


def exchange(prompt: str, answer: str = "done", **members: object) -> Exchange:
    said = Said(TurnId(prompt), prompt, answer, by=BackendId("codex"), **members)
    return Exchange(msgspec.Raw(msgspec.json.encode([{"type": "text", "text": prompt}])), said)


def prompts(kept: tuple[Exchange, ...]) -> list[str]:
    return [one.said.prompt for one in kept]


def test_turns_come_oldest_first():
    """They are read as a conversation."""
    assert ["one", "two"] == prompts(newest([exchange("one"), exchange("two")]))


def test_a_turn_that_was_refused_is_left_out():
    """ACP v1, prompt-turn: it is not part of the next prompts."""
    assert ["two"] == prompts(newest([exchange("one", end="refusal"), exchange("two")]))


def test_a_turn_without_an_answer_is_left_out():
    """A question that nobody answered would be answered now."""
    assert ["two"] == prompts(newest([exchange("one", ""), exchange("two")]))


def test_what_does_not_fit_is_the_oldest():
    """The newest turns are what the next one is about."""
    kept = newest([exchange("one", "x" * 500), exchange("two"), exchange("three")], 300)

    assert ["two", "three"] == prompts(kept)


def test_nothing_is_left_out_between_turns():
    """A conversation with a hole in it is another one."""
    kept = newest([exchange("one"), exchange("two", "x" * 500), exchange("three")], 300)

    assert ["three"] == prompts(kept)


def test_attachments_that_do_not_fit_are_told_by_name():
    """One picture must not cost the words of the turn that it came with."""
    picture = msgspec.Raw(msgspec.json.encode([{"type": "image", "data": "x" * 500, "mimeType": "image/png"}]))
    said = Said(TurnId("one"), "[image]", "a duck")
    (kept,) = newest([Exchange(picture, said)], 300)

    assert [{"type": "text", "text": "[image]"}] == msgspec.json.decode(kept.prompt)


def test_a_newest_turn_that_does_not_fit_is_cut():
    """Better half of what was said last than a backend that knows nothing."""
    (kept,) = newest([exchange("one", "a" * 9_000 + "z")], 4_000)

    assert (True, "az") == (len(kept.answer) <= 4_000, kept.answer[0] + kept.answer[-1])


def test_what_was_done_by_tools_is_cut_as_well():
    """An agent may have called a thousand of them in one turn."""
    done = exchange("one", tools=(Tool("Write file", "completed", ("a.py",)),) * 1_000)
    (kept,) = newest([done], 4_000)

    assert (True, "done") == (kept.size <= 4_000, kept.answer[:4])


def test_what_fits_to_the_byte_is_whole():
    """A limit is what may be sent, too."""
    turns = [exchange("one"), exchange("two", "x" * 500)]

    assert (["one", "two"], ["two"]) == tuple(
        prompts(newest(turns, sum(one.size for one in turns) - less)) for less in (0, 1)
    )


def test_an_answer_is_not_cut_to_nothing():
    """Whoever sets some hundred bytes wants to be told a little, and not that something is left out."""
    (kept,) = newest([exchange("one", "a" * 9_000)], 100)

    assert 900 < kept.answer.count("a") < 1_024


def test_no_bytes_are_no_turns():
    """Whoever writes 0 wants each prompt to stand for itself."""
    assert () == newest([exchange("one")], 0)


def test_what_was_done_is_told_behind_the_words():
    """A model that does not know which files were written writes them again."""
    done = exchange("one", tools=(Tool("Write file", "completed", ("a.py",)),))

    assert "done\n[tool: Write file (a.py): completed]" == done.answer
