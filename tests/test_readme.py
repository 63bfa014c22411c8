"""What README.md and the docs promise, as far as it can be run: samples load, links lead somewhere, names exist."""

import ast
import json
import re
import shlex
import stat
from pathlib import Path

import pytest

from acp_broker import errors
from acp_broker.app import kinds
from acp_broker.cli.main import COMMANDS
from acp_broker.config import load
from tests.support.architecture import TOP, sources

PAGES = sorted([TOP / "README.md", TOP / "CHANGELOG.md", *TOP.glob("docs/*.md")])
README = (TOP / "README.md").read_text()
FAILOVER = (TOP / "docs" / "failover.md").read_text()
RUNNING = (TOP / "docs" / "running.md").read_text()
LOGS = frozenset({"_complain", "_log", "_say", "_tell", "log", "trace"})


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def _anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    """A dead link on the first page is the last that some people follow."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        file, _, anchor = link.partition("#")
        if "://" in file:
            continue
        target = page.parent / file if file else page
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if target.is_file() else []
        if not target.exists() or (anchor and anchor not in map(_anchor, headings)):
            dead.append(link)

    assert [] == dead


def test_the_config_of_the_readme_loads_without_a_warning(tmp_path: Path) -> None:
    """It is what people paste."""
    sample = next(block for block in _blocks(README, "json") if '"backends"' in block)
    file = tmp_path / "config.json"
    file.write_text(sample)
    file.chmod(0o600)

    config = load(kinds(), path=file, environ={"HOME": str(tmp_path), "GEMINI_API_KEY": "k"})

    expected = (("claude", "codex", "gemini"), ())
    assert expected == ((config.acp.backend, *config.acp.fallbacks), config.warnings)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_exists(page: Path) -> None:
    """`acp-broker WORD`, and each word of `acp-broker config WORD`; its messages say what it is, or was."""
    code = "\n".join(re.findall(r"`[^`]*`|^acp-broker .*$", page.read_text(), re.M))
    said = re.findall(r"acp-broker (?!is |was )(?:config )?[a-z]+", code)
    known = {f"acp-broker {name}" for name in COMMANDS} | {
        f"acp-broker config {one}" for one in ("check", "schema", "path")
    }

    assert set() == set(said) - known


def test_the_editor_starts_a_command_that_exists() -> None:
    """Zed's settings: a custom agent server, by command and arguments."""
    settings = next(block for block in _blocks(README, "json") if '"agent_servers"' in block)
    (server,) = json.loads(settings)["agent_servers"].values()

    assert ("custom", "acp-broker", ["stdio"]) == (server["type"], server["command"], server["args"])


def test_every_script_that_is_named_can_be_run() -> None:
    """A script without its x bit costs a newcomer the first minute."""
    named = {shlex.split(line)[0] for block in _blocks(README, "sh") for line in block.splitlines()}
    named = {name for name in named | set(re.findall(r"`((?:scripts|\.ci)/\w+)`", README)) if "/" in name}
    runnable = {name for name in named if (TOP / name).stat().st_mode & stat.S_IXUSR}

    assert (
        {
            "scripts/run",
            "scripts/test",
            "scripts/check",
            "scripts/bench",
            "scripts/matrix",
            "scripts/toad",
            "scripts/torture",
            ".ci/run",
        }
        == named
        == runnable
    )


def test_every_error_code_of_ours_is_explained() -> None:
    """In the README for whoever sees it, in docs/failover.md with all that belongs to it."""
    ours = {errors.EXHAUSTED, errors.FAILED_AFTER_COMMIT, errors.BUSY, errors.BROKER_FAULT, errors.AUTH_REQUIRED}
    explained = [{code for code in ours if f"| {code} |" in page} for page in (README, FAILOVER)]

    assert [ours, ours] == explained


def test_the_events_that_are_explained_are_those_that_are_logged() -> None:
    """An explanation of a line that never comes sends people looking; a line without one leaves a question."""
    table = RUNNING[RUNNING.index("| event |") :]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    explained = {event for row in rows for event in re.findall(r"`([^`]+)`", row)}
    calls = [node for _, text in sources() for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]

    logged = {
        call.args[0].value
        for call in calls
        if call.args and isinstance(call.args[0], ast.Constant) and LOGS & {_last_name(call.func)}
    }

    assert explained == logged - {"stderr"}  # a word of scripts: docs/scripted.md


def _last_name(function: ast.expr) -> str:
    match function:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
