"""The command line itself: what is a command, what is not, and what it exits with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from acp_broker import __version__
from acp_broker.cli.main import COMMANDS, USAGE, main


def run_main(words: list[str], stdout: int | IO[str], env: dict[str, str] | None = None):
    """The command as a process, with this stdout; how it ended."""
    command = [sys.executable, "-m", "acp_broker.cli.main", *words]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=env, text=True, timeout=60, check=False)


def test_the_usage_names_every_command() -> None:
    """A command that nobody can find is not there."""
    named = {line.split()[0] for line in USAGE.splitlines() if line.startswith("  ") and line.split()[0][0] != "-"}

    assert set(COMMANDS) == named


LOGIN = "login takes a profile and --browser or --device, or a backend and its authentication method"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["ask", "--help"], ["sessions", "list", "-h"]])
def test_help_is_no_mistake(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to stdout, for a pager."""
    code = main(words)

    assert (0, (USAGE, "")) == (code, capsys.readouterr())


def test_no_command_at_all_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The same text, but for a person who did not ask."""
    code = main([])

    assert (2, ("", USAGE)) == (code, capsys.readouterr())


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """For a report of a fault."""
    code = main(["--version"])

    assert (0, f"acp-broker {__version__}\n") == (code, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["frobnicate"], "no command is called 'frobnicate'"),
        (["stdio", "x"], "stdio takes no arguments, got 'x'"),
        (["demo", "x", "y"], "demo takes no arguments, got 'x y'"),
        (["ask"], "ask takes one argument, the prompt; quote it"),
        (["ask", "two", "words"], "ask takes one argument, the prompt; quote it"),
        (["ask", os.fsdecode(b"\xff")], "the prompt is no UTF-8; look at what the shell or the script makes of it"),
        (["login"], LOGIN),
        (["login", "--device"], LOGIN),
        (["login", "a", "--device", "--browser"], LOGIN),
        (["login", "a", "method", "--device"], LOGIN),
        (["login", "a", "b", "c"], LOGIN),
        (["login", "--devise"], LOGIN),
        (["config"], "config takes one of: check, schema, path"),
        (["ask", "x", "--config"], "--config needs a file"),
    ],
)
def test_a_wrong_command_line_is_said_and_is_2(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """1 is a command that did not work; 2 is one that was not understood. stdout stays empty: it may be a pipe."""
    code = main(words)

    assert (2, ("", f"acp-broker: {why}; see acp-broker --help\n")) == (code, capsys.readouterr())


@pytest.mark.parametrize("words", [["--config", "F", "config", "path"], ["config", "path", "--config=F"]])
def test_the_config_may_be_named_anywhere(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A relative path is the caller's."""
    monkeypatch.chdir(tmp_path)

    code = main(words)

    assert (0, f"{tmp_path / 'F'}\n") == (code, capsys.readouterr().out)


@pytest.mark.parametrize("command", ["path", "check"])
def test_an_environment_that_cannot_be_used_is_said_in_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback is for faults of ours."""
    monkeypatch.setenv("ACP_BROKER_CONFIG", "here.json")

    code = main(["config", command])

    said = "acp-broker: ACP_BROKER_CONFIG leads to the relative path here.json; set it to an absolute one\n"
    assert (1, ("", said)) == (code, capsys.readouterr())


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    """`acp-broker config schema | head -1`: the schema is longer than what a pipe holds."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = run_main(["config", "schema"], stdout=write_end)
    os.close(write_end)

    assert (1, "") == (ended.returncode, ended.stderr)


def test_a_turn_whose_words_cannot_be_written_is_said_and_over(tmp_path: Path) -> None:
    """A full disk behind `acp-broker ask ... > file`: it neither waits for the turn nor shows a traceback."""
    speaks_for_ever = {"turns": [[{"do": "say", "text": "word"}, {"do": "stall"}]]}
    backends = {"primary": {"kind": "scripted", "script": speaks_for_ever}}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"acp": {"backend": "primary"}, "backends": backends}))
    config.chmod(0o600)
    environ = {**os.environ, "ACP_BROKER_CONFIG": str(config), "ACP_BROKER_HOME": str(tmp_path / "state")}
    with config.open() as unwritable:
        ended = run_main(["ask", "hello"], stdout=unwritable, env=environ)

    assert (1, "acp-broker: cannot write to stdout: Bad file descriptor\n") == (ended.returncode, ended.stderr)


def test_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """What waits in Python's own buffer counts as well."""
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as unwritable:
        ended = run_main(["config", "path"], stdout=unwritable)

    assert (1, "acp-broker: cannot write to stdout: Bad file descriptor\n") == (ended.returncode, ended.stderr)


def test_letters_that_stdout_does_not_have_are_no_fault() -> None:
    """A locale of another time, and an agent that says it with a smile."""
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = run_main(
        ["config", "path", "--config", "/caf\N{LATIN SMALL LETTER E WITH ACUTE}"], subprocess.PIPE, environ
    )

    assert (0, "/caf?\n", "") == (ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_no_fault(redirection: str) -> None:
    """Else the first file that it opens, or the event loop's own, would be stdout."""
    command = ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-m", "acp_broker.cli.main", "config", "path"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (0, "") == (ended.returncode, ended.stderr)
