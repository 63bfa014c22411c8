"""`acp-broker demo`: what a stranger sees first. It must be true, and it must fail when it is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from acp_broker.cli import demo
from acp_broker.cli.scenes import SCENES
from tests.support.processes import carrying

HEALTHY = SCENES[0]

WHAT_A_STRANGER_SEES = """\
2  The primary is killed in mid-turn, before its first word
        editor              acp-broker              agents
        "6 times 7?" ─────▶
                            asks ─────────────────▶ primary
                                                    primary has the prompt
                                                    primary ✗ killed by SIGKILL
                            nothing shown: asks ──▶ spare
                                                    spare has the prompt
        "6 times " ◀─────────────────────────────── spare
        "7 is 42." ◀─────────────────────────────── spare
        end of turn ◀──
"""


def _environ(folder: Path) -> dict[str, str]:
    """Nothing of ours but a home and a place for temporary files, both empty."""
    home, temporary = folder / "home", folder / "tmp"
    home.mkdir()
    temporary.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary), "LC_ALL": "C.UTF-8"}


def _untimed(line: str) -> str:
    return f"        {line[8:]}" if line[:1].isdigit() and line[4:6] == " s" else line


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The whole demo, once, as CI and scripts/run start it: no terminal, nothing to read."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "acp_broker.cli.main", "demo"]
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=_environ(folder),
        cwd=folder,
        timeout=120,
        check=False,
    )
    return folder, ended


def test_all_that_it_shows_happens(played: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The exit status is what a script, or CI, asks."""
    _, ended = played

    assert (0, "", True) == (ended.returncode, ended.stderr, "5 of 5 turns went as they must." in ended.stdout)


def test_a_killed_primary_reads_as_a_story(played: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Plain lines where there is no terminal, in the order of the log."""
    _, ended = played
    lines = [_untimed(line) for line in ended.stdout.splitlines()]
    first = lines.index(WHAT_A_STRANGER_SEES.splitlines()[0])

    assert WHAT_A_STRANGER_SEES.splitlines() == lines[first : first + 11]


def test_it_leaves_nothing(played: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """No file in the home or among the temporary ones, and no process."""
    folder, _ = played
    files = [*(folder / "home").iterdir(), *(folder / "tmp").iterdir()]
    processes = carrying(f"TMPDIR={folder / 'tmp'}") if sys.platform == "linux" else []

    assert ([], []) == (files, processes)


def test_an_outcome_that_does_not_follow_fails_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A demo that cannot fail shows nothing."""
    wrong = replace(HEALTHY, outcome=replace(HEALTHY.outcome, answered_by="spare", tried=("primary", "spare")))

    code = demo.run(_environ(tmp_path), [wrong])

    said = capsys.readouterr().out
    assert (1, True, True) == (code, "✗ expected Outcome(" in said, "0 of 1 turns went as they must." in said)


def test_a_broker_that_ends_early_fails_the_demo(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Here it refuses its config; what it says of it stays readable."""
    refused = replace(HEALTHY, agents={"no id": {}})

    code = demo.run(_environ(tmp_path), [refused])

    said = capfd.readouterr()
    assert (1, True, True) == (code, "✗ it did not come to an end" in said.out, 'backends["no id"]' in said.err)
