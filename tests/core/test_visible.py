"""What commits a turn, and what may be taken back."""

import pytest

from acp_broker.core.visible import CHUNKS, NOTES, Voice, commits, voice


@pytest.mark.parametrize("kind", sorted(NOTES))
def test_a_note_shows_nothing(kind: str) -> None:
    """Agents send usage, titles and commands before their model has said a word; these must not forbid failover."""
    assert Voice.NOTE is voice(kind, None)


@pytest.mark.parametrize("kind", ["tool_call", "tool_call_update", "plan", "plan_update", "nobody_knows_this", ""])
def test_everything_else_is_visible(kind: str) -> None:
    """What cannot be taken back is output, and of an unknown kind nobody can say that it can."""
    assert Voice.VISIBLE is voice(kind, None)


@pytest.mark.parametrize("kind", sorted(CHUNKS))
def test_words_are_visible(kind: str) -> None:
    """A thought is shown as much as an answer is."""
    assert Voice.VISIBLE is voice(kind, "Hi")


@pytest.mark.parametrize("text", ["", " ", "\n", "\t \u00a0"])
@pytest.mark.parametrize("kind", sorted(CHUNKS))
def test_a_blank_chunk_is_a_note(kind: str, text: str) -> None:
    """qwen opens with an empty chunk, vibe answers an empty reply with a space."""
    assert Voice.NOTE is voice(kind, text)


def test_only_words_can_be_blank() -> None:
    """A tool call without text is a tool call."""
    assert voice("tool_call", "") is Voice.VISIBLE


def test_a_chunk_without_text_is_visible() -> None:
    """An image has no text and is seen all the same."""
    assert Voice.VISIBLE is voice("agent_message_chunk", None)


@pytest.mark.parametrize(
    "method",
    ["session/request_permission", "fs/write_text_file", "terminal/create", "elicitation/create", "_vendor/ask", ""],
)
def test_a_request_that_acts_or_asks_commits(method: str) -> None:
    """It reached a person or their machine; a second agent must not do so again."""
    assert commits(method)


def test_reading_a_file_commits_nothing() -> None:
    """It changes nothing, and agents read before their model has spoken."""
    assert not commits("fs/read_text_file")
