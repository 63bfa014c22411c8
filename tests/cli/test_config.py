"""`acp-broker config`: what is printed where, and the exit codes."""

import json
from pathlib import Path

import pytest

from acp_broker.cli.config import check, path, schema
from acp_broker.errors import Problem
from tests.support.config import KINDS, MINIMAL, write


def test_check_says_what_a_good_file_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, with the chain: the file may be good and still not say what was meant."""
    file = write(tmp_path, {**MINIMAL, "limits": {"chainMs": 240}})

    code = check(KINDS, file, {}, missing=lambda *_: [Problem("backends.one", "is not here")])

    warnings = (
        "warning: limits.chainMs: 240 is in milliseconds; for seconds write 240000\n"
        "warning: backends.one: is not here\n"
    )
    assert (0, (f"{file}: OK: one\n", warnings)) == (code, capsys.readouterr())


def test_check_puts_problems_on_stderr_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts ask the exit code, people read stderr."""
    file = write(tmp_path, {**MINIMAL, "lgo": {}})

    code = check(KINDS, file, {})

    finding = 'lgo  there is no such key; did you mean "log"?'
    assert (1, ("", f"{file}: 1 problem\n  {finding}\n")) == (code, capsys.readouterr())


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Its output is a file that editors read."""
    code = schema(KINDS)

    expected = (0, "config.json")
    assert expected == (code, json.loads(capsys.readouterr().out)["title"])


def test_path_prints_the_place_of_a_file_that_need_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """It answers "where do I put it?"."""
    code = path(None, {"ACP_BROKER_CONFIG": "/nowhere/config.json"})

    expected = (0, "/nowhere/config.json\n")
    assert expected == (code, capsys.readouterr().out)
