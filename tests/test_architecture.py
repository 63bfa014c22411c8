"""Who may import whom, and what may stand only in one place: held by reading the sources; seen to fail on samples."""

import pytest

from tests.support.architecture import MACHINE_PATH, TABLE, TOP, room_of, sources, violations

DOC = '"""Does something."""\n'


def test_the_house_keeps_its_rules() -> None:
    """A rule that nobody checks is a wish. The import table is the reason that decisions can be tested without I/O."""
    found = [line for path, text in sources() for line in violations(path, text)]

    assert [] == found


def test_every_row_of_the_table_is_about_a_room_that_is_there() -> None:
    """A row for a room that was renamed protects nothing."""
    rooms = {room_of(path) for path, _ in sources()}

    assert set(TABLE) == rooms


@pytest.mark.parametrize(
    ("path", "code", "what"),
    [
        ("acp_broker/core/plan.py", "import os", "acp_broker.core may not import os"),
        ("acp_broker/core/plan.py", "import itertools", "acp_broker.core may not import itertools"),
        ("acp_broker/core/plan.py", "import collections", "acp_broker.core may not import collections"),
        (
            "acp_broker/core/plan.py",
            "from acp_broker.clock import Clock",
            "acp_broker.core may not import acp_broker.clock",
        ),
        ("acp_broker/core/plan.py", "from acp_broker import clock", "acp_broker.core may not import acp_broker"),
        ("acp_broker/wire/acp.py", "import socket", "acp_broker.wire may not import socket"),
        ("acp_broker/wire/acp.py", "import anyio", "acp_broker.wire may not import anyio"),
        (
            "acp_broker/store/log.py",
            "from acp_broker.broker import ids",
            "acp_broker.store may not import acp_broker.broker",
        ),
        ("acp_broker/observe/log.py", "import sqlite3", "acp_broker.observe may not import sqlite3"),
        ("acp_broker/broker/chain.py", "import backends", "acp_broker.broker may not import backends"),
        ("acp_broker/broker/chain.py", "from time import time", "acp_broker.broker may not import time"),
        (
            "acp_broker/broker/chain.py",
            "from acp_broker.config import Config",
            "acp_broker.broker may not import acp_broker.config",
        ),
        (
            "acp_broker/broker/chain.py",
            "from acp_broker.edge import stdio",
            "acp_broker.broker may not import acp_broker.edge",
        ),
        ("acp_broker/config/load.py", "import backends.acp", "acp_broker.config may not import backends.acp"),
        ("acp_broker/app/running.py", "from rich.console import Console", "acp_broker.app may not import rich.console"),
        ("acp_broker/app/running.py", "from acp_broker.cli import ask", "acp_broker.app may not import acp_broker.cli"),
        ("acp_broker/cli/stdio.py", "from backends import KINDS", "acp_broker.cli may not import backends"),
        ("acp_broker/cli/stdio.py", "import uvloop", "acp_broker.cli may not import uvloop"),
        ("acp_broker/errors.py", "from .cli import main", "acp_broker.errors may not import .cli"),
        ("backends/acp/life.py", "from acp_broker.broker import ids", "backends may not import acp_broker.broker"),
        ("backends/acp/life.py", "def f():\n    import rich", "backends may not import rich"),
        ("backends/acp/life.py", "print(1)", "print; only cli may"),
        ("acp_broker/app/running.py", "try: ...\nexcept: ...", "a bare except"),
        (
            "acp_broker/app/running.py",
            "try: ...\nexcept (OSError, Exception): ...",
            "except Exception; only acp_broker/broker/guard.py may",
        ),
        ("acp_broker/app/running.py", "import contextlib\ncontextlib.suppress(Exception)", "suppress(Exception)"),
        ("acp_broker/app/running.py", "import typing\nx: typing.Any", "Any; only acp_broker/wire/jsonrpc.py may"),
        ("acp_broker/app/running.py", "PLACE = '/home/me/x'", "an absolute path of some machine"),
    ],
)
def test_what_is_not_allowed_is_found(path: str, code: str, what: str) -> None:
    """A check that finds nothing looks just like a check that looks for nothing."""
    line = len(code.splitlines()) + 1

    assert [f"{path}:{line} {what}"] == violations(path, DOC + code)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (
            "acp_broker/core/plan.py",
            "import re\nfrom collections.abc import Mapping\nfrom msgspec.structs import replace",
        ),
        ("acp_broker/core/plan.py", "from acp_broker.core import health"),
        (
            "acp_broker/broker/chain.py",
            "from acp_broker import __version__\nfrom acp_broker.edge.channel import Channel",
        ),
        ("acp_broker/broker/guard.py", "try: ...\nexcept Exception: ..."),
        ("acp_broker/app/running.py", "import backends\nfrom backends import KINDS"),
        ("acp_broker/cli/ask.py", "import rich\nprint(1)"),
        ("acp_broker/store/index.py", "import sqlite3"),
        ("backends/acp/life.py", "KEPT = '~/.codex'; ADDRESS = 'https://host/home/x'"),
    ],
)
def test_what_is_allowed_is_left_alone(path: str, code: str) -> None:
    """A check that cries without cause is switched off."""
    assert [] == violations(path, DOC + code)


def test_a_module_without_a_docstring_is_found() -> None:
    """The first line of a file says what it is for; an empty package file has nothing to say."""
    found = (violations("acp_broker/app/running.py", "x = 1"), violations("acp_broker/core/__init__.py", ""))

    assert (["acp_broker/app/running.py:1 no docstring"], []) == found


def test_a_new_room_needs_a_row() -> None:
    """Nobody moves in without saying whom they may call."""
    with pytest.raises(KeyError, match=r"acp_broker/attic/box\.py: no row in the import table"):
        violations("acp_broker/attic/box.py", DOC)


def test_no_page_or_script_names_a_place_on_one_machine() -> None:
    """What a stranger reads must be true on their machine."""
    pages = [TOP / "README.md", TOP / "CHANGELOG.md", TOP / "config.json", TOP / "pyproject.toml"]
    pages += [*TOP.glob("docs/*.md"), *TOP.glob("scripts/*"), *TOP.glob(".ci/*")]
    found = [
        f"{page.relative_to(TOP)}:{number} {line.strip()}"
        for page in pages
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]

    assert [] == found
