"""docs/editors.md, as far as it can be run: what people paste into their editors parses, and starts what there is."""

import json
import re
import shlex
from collections.abc import Iterator

import pytest

from acp_broker.cli.main import COMMANDS
from tests.support.architecture import TOP

PAGE = (TOP / "docs" / "editors.md").read_text()
# Strings, comments, and every bracket of Lua and of Emacs Lisp.
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|--[^\n]*|;[^\n]*|[()\[\]{}]')
CLOSES = {")": "(", "]": "[", "}": "{"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def agents(value: object) -> Iterator[list[str]]:
    """Each command line in an editor's settings: `command` and `args`, wherever they stand."""
    match value:
        case {"command": str(command), "args": list(arguments)}:
            yield [command, *arguments]
        case dict():
            for one in value.values():
                yield from agents(one)


def strings(source: str) -> list[str]:
    return [json.loads(token) for token in TOKEN.findall(source) if token[0] == '"']


def test_every_json_names_the_broker_and_a_command_that_it_has() -> None:
    """`acp-broker` by its path or by its name, and `stdio`."""
    found = [command for block in blocks("json") for command in agents(json.loads(block))]

    assert [["acp-broker", "stdio"]] * 3 == [[program.rsplit("/")[-1], *rest] for program, *rest in found]
    assert "stdio" in COMMANDS


@pytest.mark.parametrize("source", [*blocks("lua"), *blocks("elisp")])
def test_every_other_setting_is_closed_and_names_both(source: str) -> None:
    """Not compiled: neither Neovim nor Emacs is here. A bracket that is lost is the usual slip."""
    open_ones: list[str] = []
    for token in TOKEN.findall(source):
        if token in CLOSES:
            assert CLOSES[token] == open_ones.pop()
        elif token in CLOSES.values():
            open_ones.append(token)

    assert [] == open_ones
    assert ["acp-broker", "stdio"] == [one for one in strings(source) if one in ("acp-broker", "stdio")][-2:]


def test_every_command_line_of_ours_is_one() -> None:
    """In the text as well."""
    lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    quoted = re.findall(r"`([^`\n]+)`", PAGE)
    words = [shlex.split(line) for line in [*lines, *quoted] if line.startswith("acp-broker ")]

    assert len(words) > 5
    assert [] == [line for line in words if line[1] not in COMMANDS]


def test_every_client_of_the_page_says_what_is_seen_in_it() -> None:
    """Who reads of a client wants to know what a failover looks like there."""
    [table] = re.findall(r"^## What you see\n\n(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    head, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines()]

    assert ["Zed", "CodeCompanion", "avante", "agent-shell", "acpx", "Toad"] == head
    assert {7} == {len(row) for row in rows}
