"""`acp-broker init` on somebody's machine: what is found, what is written, and what is never touched."""

import json
from pathlib import Path

import pytest

import acp_broker
from acp_broker.app import kinds
from acp_broker.app.setup import servers
from acp_broker.app.setup.servers import Known
from acp_broker.cli import config as config_command
from acp_broker.cli import init
from acp_broker.cli.main import main
from acp_broker.config import load
from tests.app.test_setup import serving
from tests.support.machine import Machine

ALL = {"prints": False, "as_json": False}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """With no model server of its own."""
    monkeypatch.setattr(servers, "KNOWN", ())
    return Machine(tmp_path)


@pytest.fixture
def pair(machine: Machine) -> Machine:
    """claude, logged in, and codex with a key."""
    machine.install("claude-agent-acp")
    machine.install("codex-acp")
    machine.write(".claude/.credentials.json", '{"token": "s3cret"}')
    machine.environ["OPENAI_API_KEY"] = "s3cret"
    return machine


def run(machine: Machine, capsys: pytest.CaptureFixture[str], **options: bool) -> tuple[int, str, str]:
    status = init.run(None, machine.environ, **{**ALL, **options})
    return (status, *capsys.readouterr())


def test_a_first_config_is_written(pair: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the broker looks for it; its owner's alone; credentials by the names of their variables."""
    status, _, err = run(pair, capsys)

    written = json.loads(pair.config.read_text())
    schema = Path(acp_broker.__file__).with_name("config.schema.json").as_uri()
    assert (0, "", 0o600, schema) == (status, err, pair.config.stat().st_mode & 0o777, written.pop("$schema"))
    assert {
        "acp": {"backend": "claude", "fallbacks": ["codex"]},
        "backends": {
            "claude": {"kind": "acp", "command": ["claude-agent-acp"]},
            "codex": {
                "kind": "acp",
                "command": ["codex-acp"],
                "auth": "openai-api-key",
                "modes": written["backends"]["codex"]["modes"],
            },
        },
        "auth": {
            "profiles": {"openai-api-key": {"type": "api_key", "key": "${OPENAI_API_KEY}", "env": "OPENAI_API_KEY"}}
        },
    } == written
    assert "workspace-write" == written["backends"]["codex"]["modes"]["acceptEdits"]


def test_it_says_what_it_found_what_it_chose_why_and_what_next(
    pair: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names, and no values."""
    _, out, _ = run(pair, capsys)

    assert [
        "found",
        "  claude     Claude Code, {bin}/claude-agent-acp, logged in: ~/.claude/.credentials.json",
        "  codex      Codex, {bin}/codex-acp, logged in: $OPENAI_API_KEY",
        "",
        "chain",
        "  claude     1. logged in (~/.claude/.credentials.json)",
        "  codex      2. logged in ($OPENAI_API_KEY); openai may answer when anthropic fails",
        "",
        "written: ~/.config/acp-broker/config.json",
        "$OPENAI_API_KEY must be set where your editor starts: a desktop has no shell's variables",
        "next: acp-broker check",
    ] == out.replace(str(pair.bin), "{bin}").splitlines()


def test_what_is_written_passes_config_check(pair: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a warning."""
    run(pair, capsys)

    code = config_command.check(kinds(), None, pair.environ)

    assert (0, (f"{pair.config}: OK: claude, then codex\n", "")) == (code, capsys.readouterr())


def test_what_is_written_can_be_checked(pair: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The next command that it names."""
    run(pair, capsys)

    found = pair.json("check")

    assert [("claude", True), ("codex", True)] == [(one["id"], one["canAnswer"]) for one in found["backends"]]


def test_a_file_that_is_there_stays_and_is_named(pair: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is in it."""
    pair.write(".config/acp-broker/config.json", "mine")

    status, out, _ = run(pair, capsys)

    last = ["~/.config/acp-broker/config.json is there already, and stays as it is", "`acp-broker init --print` shows"]
    assert (1, "mine") == (status, pair.config.read_text())
    assert last == [out.splitlines()[-2], out.splitlines()[-1][: len(last[1])]]


@pytest.mark.parametrize("content", [None, "mine"])
def test_what_would_be_written_can_be_printed(
    pair: Machine, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    """Alone on stdout, so that it can be sent anywhere; the story goes to stderr."""
    if content is not None:
        pair.write(".config/acp-broker/config.json", content)

    status, out, err = run(pair, capsys, prints=True)

    assert (0, "claude", "found") == (status, json.loads(out)["acp"]["backend"], err.splitlines()[0])
    assert content == (pair.config.read_text() if pair.config.exists() else None)


def test_a_file_may_be_named(
    pair: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for every command."""
    file = tmp_path / "mine.json"
    for name in ("HOME", "PATH", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, pair.environ[name])

    status = main(["init", "--config", str(file)])

    config = load(kinds(), path=file, environ=pair.environ)
    assert (0, "claude", False) == (status, config.acp.backend, pair.config.exists())
    capsys.readouterr()


def test_a_place_that_nobody_may_look_at_is_said(
    pair: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is too long stands for a folder of somebody else's: both cannot be looked at."""
    for name in ("HOME", "PATH", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, pair.environ[name])

    assert 1 == main(["init", "--config", str(tmp_path / ("a" * 300))])

    assert "acp-broker: cannot write " in capsys.readouterr().err


def test_on_an_empty_machine_it_says_what_to_install(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """One command for each agent; nothing is written."""
    status, out, _ = run(machine, capsys)

    first, *rows = out.splitlines()
    assert (1, "no agent is here; install one of these, then run acp-broker init again") == (status, first)
    assert any(row.split()[:4] == ["codex", "npm", "install", "-g"] for row in rows)
    assert [] == list(machine.home.iterdir())


def test_an_agent_whose_login_is_here_is_named_first(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """It works as soon as it is installed."""
    machine.write(".codex/auth.json", "{}")

    status, out, _ = run(machine, capsys)

    found, install = out.split("\n\n")
    assert (1, "  codex      Codex, not installed, logged in: ~/.codex/auth.json") == (status, found.splitlines()[1])
    assert install.splitlines()[1].startswith("  codex ")
    assert "then: its login is here already" in install.splitlines()[1]


def test_an_agent_that_is_logged_in_is_fetched_where_that_can_be(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """npx is here, and Claude Code's login: that is enough."""
    machine.program("npx", "")
    machine.write(".claude/.credentials.json", "{}")

    status, out, _ = run(machine, capsys)

    command = json.loads(machine.config.read_text())["backends"]["claude"]["command"]
    assert (0, ["npx", "-y", "@agentclientprotocol/claude-agent-acp"]) == (status, command)
    assert "fetched at its first start, with npx" in out


def test_a_program_that_is_not_on_the_path_is_written_with_its_place(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """It passes `config check` all the same."""
    machine.install("claude-agent-acp", folder=machine.home / ".npm-global" / "bin")

    run(machine, capsys)

    assert ["~/.npm-global/bin/claude-agent-acp"] == json.loads(machine.config.read_text())["backends"]["claude"][
        "command"
    ]
    assert 0 == config_command.check(kinds(), None, machine.environ)
    capsys.readouterr()


def test_a_model_server_that_answers_is_told(
    pair: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And whether an agent that is here can use it."""
    with serving(b'{"models": [{"name": "m"}]}') as port:
        monkeypatch.setattr(servers, "KNOWN", (Known("Ollama", port),))
        _, out, _ = run(pair, capsys)

    told = f"  Ollama     http://127.0.0.1:{port}, 1 model; nobody is sent there"
    assert told in out.splitlines()


def test_it_tells_programs_in_stable_fields(pair: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/setup.md explains each of them."""
    status, out, _ = run(pair, capsys, as_json=True)

    said = json.loads(out)
    install, config = said.pop("install"), said.pop("config")
    assert {
        "file": str(pair.config),
        "isThere": False,
        "isWritten": True,
        "agents": [
            {
                "name": "claude",
                "title": "Claude Code",
                "program": str(pair.bin / "claude-agent-acp"),
                "login": ["~/.claude/.credentials.json"],
                "isLoggedIn": True,
            },
            {
                "name": "codex",
                "title": "Codex",
                "program": str(pair.bin / "codex-acp"),
                "login": ["$OPENAI_API_KEY"],
                "isLoggedIn": True,
            },
        ],
        "providers": [],
        "servers": [],
        "idle": [],
        "chain": [
            {"id": "claude", "why": "logged in (~/.claude/.credentials.json)", "isAgent": True},
            {
                "id": "codex",
                "why": "logged in ($OPENAI_API_KEY); openai may answer when anthropic fails",
                "isAgent": True,
            },
        ],
        "unused": [],
        "variables": ["OPENAI_API_KEY"],
        "withheld": [],
    } == said
    assert (0, json.loads(pair.config.read_text())) == (status, config)
    assert all({"name", "install", "login", "isLoggedIn"} == set(one) for one in install)


@pytest.mark.parametrize("options", [{}, {"prints": True}, {"as_json": True}])
def test_no_value_of_a_variable_or_file_is_told(
    pair: Machine, capsys: pytest.CaptureFixture[str], options: dict[str, bool]
) -> None:
    """Nor written."""
    _, out, err = run(pair, capsys, **options)

    content = pair.config.read_text() if pair.config.exists() else ""
    assert "s3cret" not in out + err + content


def test_a_wrong_word_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """As for every command."""
    said = "acp-broker: init takes nothing but --print, --json and --offline; see acp-broker --help\n"

    assert (2, said) == (main(["init", "--force"]), capsys.readouterr().err)


def test_a_relative_place_is_refused(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """As for every command."""
    machine.environ["ACP_BROKER_CONFIG"] = "config.json"

    status, _, err = run(machine, capsys)

    assert (1, True) == (status, err.startswith("acp-broker: ACP_BROKER_CONFIG leads to the relative path"))
