"""What commits a turn, and what may be taken back."""

import pytest

from acp_broker.core.visible import commits


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
