"""`acp-broker ask`: the answer on stdout, the story on stderr, and an exit status for scripts."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from acp_broker.cli import ask

DIES = {"turns": [[{"do": "die"}]]}
SPARE = {"turns": [[{"do": "think", "text": "hm"}, {"do": "say", "text": "[bold]spare[/bold] here"}]]}


@pytest.fixture
def asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Asks a chain of these scripts; the exit status, stdout and stderr."""

    def run(prompt: str = "hello", **scripts: object) -> tuple[int, str, str]:
        first, *rest = scripts
        config = {
            "acp": {"backend": first, "fallbacks": rest},
            "backends": {name: {"kind": "scripted", "script": script} for name, script in scripts.items()},
        }
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        code = ask.run(path, {"ACP_BROKER_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}, prompt)
        return (code, *capsys.readouterr())

    return run


def test_the_answer_alone_goes_to_stdout(asked) -> None:
    """`acp-broker ask ... > file` holds the answer, as it was said: markup is text."""
    _, out, _ = asked(primary=SPARE)

    assert "[bold]spare[/bold] here\n" == out


def test_what_looks_like_an_emoji_code_is_text(asked) -> None:
    """`127.0.0.1:1234:` is an address, and a model's `:smile:` is its own."""
    _, out, _ = asked(primary={"turns": [[{"do": "say", "text": "127.0.0.1:1234: :smile:"}]]})

    assert "127.0.0.1:1234: :smile:\n" == out


def test_the_story_goes_to_stderr(asked) -> None:
    """Who answered, and who failed before."""
    code, _, err = asked(primary=DIES, spare=SPARE)

    assert (0, "primary failed (crashed), spare answered, end_turn") == (code, err.splitlines()[-1])


def test_the_story_says_who_rests(asked) -> None:
    """Else nobody would know why the primary was not asked."""
    asked(primary=DIES, spare=SPARE)
    _, _, err = asked(primary=DIES, spare=SPARE)

    story = r"primary passed over \(rests for \d+ s more after crashed\), spare answered, end_turn"
    assert re.fullmatch(story, err.splitlines()[-1])


def test_thoughts_and_tools_go_to_stderr(asked) -> None:
    """They are no part of the answer."""
    tool = {"do": "toolCall", "toolCallId": "c", "title": "Read file"}
    _, _, err = asked(primary={"turns": [[{"do": "think", "text": "hm"}, tool, {"do": "say", "text": "x"}]]})

    assert ["hm", "[Read file]"] == err.splitlines()[:2]


def test_when_nobody_answers_the_status_is_1(asked) -> None:
    """With the one clear error."""
    code, out, err = asked(primary=DIES, spare=DIES)

    text = "acp-broker: All ACP backends failed (2): primary: killed by SIGKILL | spare: killed by SIGKILL (-33001)\n"
    assert (1, "", text) == (code, out, err)


def test_a_config_that_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its path; no traceback."""
    code = ask.run(tmp_path / "nowhere.json", {}, "hello")

    assert (1, True) == (
        code,
        capsys.readouterr().err.startswith(f"acp-broker: {tmp_path / 'nowhere.json'}: 1 problem"),
    )


def test_a_permission_is_declined(asked) -> None:
    """Nobody is there who could grant it: a script must not act on its own."""
    script = {"turns": [[{"do": "askPermission", "branches": {"cancelled": [{"do": "say", "text": "declined"}]}}]]}

    assert "declined\n" == asked(primary=script)[1]


def test_a_state_folder_that_cannot_be_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started."""
    config = {"acp": {"backend": "a"}, "backends": {"a": {"kind": "scripted"}}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    (tmp_path / "file").write_bytes(b"")
    code = ask.run(path, {"ACP_BROKER_HOME": str(tmp_path / "file"), "HOME": str(tmp_path)}, "hello")

    text = f"acp-broker: {tmp_path}/file is no folder; set ACP_BROKER_HOME to one, or move the file away"
    assert (1, text) == (code, capsys.readouterr().err.splitlines()[-1])


def test_in_a_terminal_it_names_who_is_waited_for(asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that is fetched at its first start, or retries by itself, is silent for a minute: once for each."""
    monkeypatch.setattr(ask, "_ERR", Console(stderr=True, force_terminal=True, highlight=False))
    monkeypatch.setattr(ask, "_PATIENCE_S", 0.001)
    slow = {"turns": [[{"do": "stall", "ms": 50}, {"do": "exit"}]]}
    speaks = {"turns": [[{"do": "stall", "ms": 50}, {"do": "say", "text": "x"}]]}
    _, _, err = asked(primary=slow, spare=speaks)

    assert ["primary", "spare"] == re.findall(r"waiting for (\w+) \.\.\.", err)


def test_nobody_is_named_where_no_person_waits(asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """stderr of a script holds the story alone."""
    monkeypatch.setattr(ask, "_PATIENCE_S", 0.001)
    _, _, err = asked(primary={"turns": [[{"do": "stall", "ms": 50}, {"do": "say", "text": "x"}]]})

    assert "primary answered, end_turn\n" == err


@pytest.mark.parametrize(
    ("is_terminal", "shown"), [(True, "\N{REPLACEMENT CHARACTER}]0;owned"), (False, "\x1b]0;owned")]
)
def test_a_terminal_does_not_obey_an_answer(asked, monkeypatch: pytest.MonkeyPatch, is_terminal: bool, shown) -> None:
    """An agent's words may come from a page that it read. A file has them as they were said."""
    monkeypatch.setattr(ask, "_OUT", Console(force_terminal=is_terminal, highlight=False))
    _, out, _ = asked(primary={"turns": [[{"do": "say", "text": "\x1b]0;owned"}]]})

    assert shown in out
