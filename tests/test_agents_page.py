"""docs/agents.md says what the rows say, and what is copied from it works."""

import json
import re
from pathlib import Path

import pytest

from acp_broker import app
from acp_broker.config import load
from tests.support.agents_page import PAGE, written
from tests.support.config import write

EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def test_the_page_shows_the_rows() -> None:
    """To mend: python -m tests.support.agents_page"""
    page = PAGE.read_text()

    assert written(page) == page


@pytest.mark.parametrize("entry", EXAMPLES, ids=lambda entry: str(entry.get("agent"))[:20])
def test_what_the_page_shows_can_be_copied(tmp_path: Path, entry: dict[str, object]) -> None:
    """A row is copied from there into config.json."""
    content = {"acp": {"backend": "one"}, "backends": {"one": entry}}

    load(app.kinds(), path=write(tmp_path, content), environ={})
