"""`acp-broker login`: the agent's own login, in the agent's own environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acp_broker.cli import login
from tests.support.broker import BrokerProcess, chain
from tests.support.talk import DEADLINE_S

TTY = {"id": "tty", "name": "Terminal", "type": "terminal", "args": ["--login"]}
METHODS = {"authMethods": [{**TTY, "env": {"FROM_METHOD": "m"}}, {"id": "oauth", "name": "Browser"}]}


class Started(Exception):
    """What `exec` was called with."""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the login of a backend; the exec that it came to, or the exit status."""

    def execute(file: str, arguments: list[str], environment: dict[str, str]) -> None:
        raise Started(file, arguments, environment)

    def run(backend: str = "claude", method: str = "tty", script: object = METHODS, **members: object):
        command = [sys.executable, "-m", "backends.scripted", "--script", json.dumps(script)]
        config = {
            "acp": {"backend": "claude"},
            "backends": {
                "claude": {"kind": "acp", "command": command, **members},
                "unused": {"kind": "acp", "command": ["true"]},
                "played": {"kind": "scripted"},
            },
        }
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        monkeypatch.setattr(os, "execvpe", execute)
        environ = {**os.environ, "ACP_BROKER_HOME": str(tmp_path / "state"), "FROM_USER": "u"}
        try:
            return login.run(path, environ, backend, method)
        except Started as started:
            return started.args

    return run


def test_the_agents_own_command_line_is_run_with_the_methods_arguments(ran) -> None:
    """ACP v1, "Terminal Authentication"."""
    file, arguments, _ = ran()

    assert (sys.executable, "--login") == (file, arguments[-1])


def test_whose_login_it_is_is_said(ran, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the broker's own: a profile may be meant."""
    ran()

    assert "acp-broker: claude is a backend; this is its agent's own login\n" == capsys.readouterr().err


def test_its_environment_is_the_agents(ran) -> None:
    """The user's, what config sets for this backend, and the method's: it must log in where the agent will look."""
    _, _, environment = ran(env={"CODEX_HOME": "/elsewhere"})

    assert ("u", "/elsewhere", "m") == tuple(
        environment.get(name) for name in ("FROM_USER", "CODEX_HOME", "FROM_METHOD")
    )


def test_a_methods_environment_may_be_a_list(ran) -> None:
    """Agents write it both ways."""
    script = {"authMethods": [{**TTY, "env": [{"name": "FROM_METHOD", "value": "m"}]}]}
    _, _, environment = ran(script=script)

    assert "m" == environment["FROM_METHOD"]


@pytest.mark.parametrize(
    ("backend", "method", "text"),
    [
        ("nobody", "tty", "no agent is called 'nobody' in {path}; known: claude, unused"),
        ("played", "tty", "no agent is called 'played' in {path}; known: claude, unused"),
        ("unused", "tty", "unused is neither acp.backend nor in acp.fallbacks of {path}"),
        ("claude", "oauth", "claude has no terminal login called 'oauth'; it offers: tty"),
        ("claude", "fly", "claude has no terminal login called 'fly'; it offers: tty"),
        ("claude", None, "name the login too: acp-broker login claude METHOD; it offers: tty"),
    ],
)
def test_what_cannot_be_run_is_said(
    ran, tmp_path: Path, capsys: pytest.CaptureFixture[str], backend, method, text
) -> None:
    """What was asked for, and what there is."""
    code = ran(backend, method)

    assert (1, f"acp-broker: {text.format(path=tmp_path / 'config.json')}\n") == (code, capsys.readouterr().err)


def test_an_agent_that_does_not_start_is_said(ran, capsys: pytest.CaptureFixture[str]) -> None:
    """With its last words."""
    code = ran(script={"initialize": [{"do": "stderr", "text": "no node here"}, {"do": "exit", "code": 1}]})

    assert (1, True) == (code, "no node here" in capsys.readouterr().err)


@pytest.mark.parametrize("method", ["tty", None])
def test_an_agent_without_a_terminal_login_is_said(ran, capsys: pytest.CaptureFixture[str], method: str | None) -> None:
    """And what to do instead."""
    code = ran(method=method, script={"authMethods": [{"id": "oauth", "name": "Browser"}]})

    said = "acp-broker: claude offers no terminal login; log in with the agent's own command\n"
    assert (1, said) == (code, capsys.readouterr().err)


# It logs in where its command line says so; else it is an agent.
AGENT = """
import runpy, sys
if sys.argv[1:] == ["--login"]:
    sys.exit(print("logged in"))
sys.argv[1:] = ["--script", {script!r}]
runpy.run_module("backends.scripted", run_name="__main__")
"""


def test_an_editor_appends_the_methods_arguments_to_the_command_that_it_knows(tmp_path: Path) -> None:
    """ACP v1, "Terminal Authentication": `acp-broker stdio`, from its settings, and then our arguments."""
    program = tmp_path / "agent.py"
    program.write_text(AGENT.format(script=json.dumps({"authMethods": [TTY]})))
    claude = {"kind": "acp", "command": [sys.executable, str(program)]}

    with BrokerProcess(tmp_path, chain(claude=claude), capabilities={"auth": {"terminal": True}}) as broker:
        [method] = broker.initialize()["result"]["authMethods"]
    command = [*broker.command("stdio"), *method["args"]]
    ran = subprocess.run(command, env=broker.env, capture_output=True, text=True, timeout=DEADLINE_S)

    assert (0, "logged in\n") == (ran.returncode, ran.stdout)
