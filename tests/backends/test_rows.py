"""The rows of known agents: found by what people write, and held to the shape that config.json takes."""

import re
import shlex
from typing import get_args

import pytest

from acp_broker.core.habits import Habits
from backends.acp import RowName, rows
from backends.acp.row import Notice, Row
from backends.acp.rows import Found
from tests.support.client import raw

ROWS = sorted(rows.known())
# They need an account before they open a session.
UNSEEN = ("auggie", "qoder")

COMMANDS = {
    "claude-agent-acp": "claude",
    "/home/me/.local/bin/claude-agent-acp --verbose": "claude",
    "npx -y @agentclientprotocol/claude-agent-acp": "claude",
    "npx -y @agentclientprotocol/claude-agent-acp@0.100.0": "claude",
    "npx --yes @zed-industries/claude-code-acp@latest": "claude",
    "npm exec -- @agentclientprotocol/claude-agent-acp": "claude",
    "npx -p @agentclientprotocol/claude-agent-acp claude-agent-acp": "claude",
    "npx --package=@agentclientprotocol/claude-agent-acp x": "claude",
    "bunx @agentclientprotocol/claude-agent-acp": "claude",
    "bun x @agentclientprotocol/claude-agent-acp": "claude",
    "pnpm dlx @agentclientprotocol/claude-agent-acp": "claude",
    "env ANTHROPIC_API_KEY=x claude-agent-acp": "claude",
    "/usr/bin/env A=1 B=2 npx -y @agentclientprotocol/codex-acp": "codex",
    "node /usr/lib/node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js": "claude",
    "node --no-warnings node_modules/.bin/claude-agent-acp": "claude",
    "npx -y @zed-industries/codex-acp": "codex-zed",
    "npx @google/gemini-cli@latest --acp": "gemini",
    "opencode acp": "opencode",
    "qwen --acp": "qwen",
    "goose acp --with-builtin developer": "goose",
    "pi-acp": "pi",
    "npx cline --acp": "cline",
    "uvx --from mistral-vibe vibe-acp": "vibe",
    "uv tool run --from mistral-vibe==3.0.2 vibe-acp": "vibe",
    "uvx --python 3.12 openhands acp": "openhands",
    "pipx run openhands[acp] acp": "openhands",
    "python3.12 -m deepagents_acp": "deepagents",
    "/opt/venv/bin/python -m deepagents_acp": "deepagents",
    "auggie --acp": "auggie",
    "bash -lc 'exec claude-agent-acp'": "claude",
    "/bin/zsh -l -c 'cd ~/work && A=1 npx -y @google/gemini-cli --acp'": "gemini",
    "npx -y @qoder-ai/qodercli --acp": "qoder",
}
STRANGERS = (
    "my-agent",
    "npx -y some-agent claude-agent-acp-not",
    "python -m my_agent claude-agent-acp",
    "node server.js",
    "env",
    "npx",
    "bash",
    "bash claude-agent-acp",
    "sh -c 'my-agent claude-agent-acp'",
    'sh -c "it\'s"',
)


def row_of(written: dict[str, object]) -> Row:
    """The row that config.json's `agent` gives."""
    found = rows.find({key: raw(value) for key, value in written.items()}, ["claude-agent-acp"])
    assert found is not None
    return found.row


@pytest.mark.parametrize(("command", "name"), COMMANDS.items())
def test_a_command_tells_its_agent(command: str, name: str):
    """What people write starts the agent that they mean; a row applies with nothing configured."""
    assert name in rows.by_command(shlex.split(command))[:1]


@pytest.mark.parametrize("command", STRANGERS)
def test_a_command_of_nobody_that_is_known_tells_nothing(command: str):
    """An agent nobody has described is the normal case: the general rules hold for it."""
    assert () == rows.by_command(shlex.split(command))


def test_a_package_of_the_same_program_is_told_by_its_name():
    """Two packages hold a program called codex-acp: the package says which."""
    assert ("codex",) == rows.by_command(["npx", "-y", "@agentclientprotocol/codex-acp"])
    assert ("codex-zed",) == rows.by_command(["npx", "-y", "@zed-industries/codex-acp"])
    assert ("codex", "codex-zed") == rows.by_command(["codex-acp"])


def test_two_agents_with_one_program_are_told_apart_by_what_they_call_themselves():
    """Until then the first is taken: what the two are given is the same."""
    names = [found.name for info in ("codex-acp", None) if (found := rows.find(None, ["codex-acp"], info))]

    assert ["codex-zed", "codex"] == names
    assert rows.known()["codex"].env == rows.known()["codex-zed"].env


def test_two_agents_with_one_program_are_told_apart_by_where_it_is(tmp_path):
    """npm puts a link to it into a folder of PATH, and its package knows which of them it is."""
    program = tmp_path / "lib" / "node_modules" / "@zed-industries" / "codex-acp" / "index.js"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o755)
    (tmp_path / "codex-acp").symlink_to(program)

    found = rows.find(None, ["codex-acp"], path=str(tmp_path))

    assert found is not None
    assert "codex-zed" == found.name


@pytest.mark.parametrize("name", ROWS)
def test_an_agent_is_known_by_what_it_calls_itself(name: str):
    """A wrapper's command says nothing; `agentInfo.name` does."""
    for info_name in rows.known()[name].info_names:
        found = rows.find(None, ["my-wrapper"], info_name)

        assert Found(rows.known()[name], name, "info") == found


def test_none_turns_the_row_off():
    """The user's word counts: with "none" an agent is a stranger, whatever its command."""
    assert None is rows.find("none", ["claude-agent-acp"], "@agentclientprotocol/claude-agent-acp")


def test_a_name_forces_a_row():
    """A wrapper script may be anybody."""
    assert Found(rows.known()["claude"], "claude", "config") == rows.find("claude", ["my-script"])


def test_a_row_of_ones_own_adds_to_the_one_that_it_is_like():
    """A fork says one thing more and starts otherwise; all else is as before."""
    claude = rows.known()["claude"]
    own = {"like": "claude", "title": "Ours", "env": {"A": "1"}, "notices": [{"pattern": "Sorry: "}]}

    found = row_of(own)

    assert ("Ours", {**claude.env, "A": "1"}) == (found.title, found.env)
    assert (Notice("Sorry: "), *claude.notices) == found.notices
    assert (claude.modes, claude.leaves, None) == (found.modes, found.leaves, found.like)


def test_a_row_of_ones_own_stands_alone():
    """Without `like` nothing is inherited."""
    assert Row(title="Ours") == row_of({"title": "Ours"})


# --- the data


def test_the_names_that_config_takes_are_those_that_there_are():
    """They are written twice, so that config.json is checked without reading the rows."""
    assert sorted(get_args(RowName)) == ROWS


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_dated_and_can_be_found_and_started(name: str):
    """A row says of which version it was true, how its agent is found, and how a user gets it."""
    row = rows.known()[name]

    assert row.title
    assert row.as_of
    assert row.measured
    assert row.install
    assert row.posture or name in UNSEEN
    assert name in rows.by_command(row.command)
    assert any(package in row.measured for package in row.packages)


@pytest.mark.parametrize("name", ROWS)
def test_a_rows_words_compile(name: str):
    """What is broken here would fail each opening of that agent."""
    assert isinstance(rows.habits(rows.known()[name]), Habits)


def test_the_habits_of_a_stranger_are_none():
    """Where nothing is known, the general rules stand alone."""
    assert Habits() == rows.habits(None)


def test_notices_reach_over_lines():
    """A provider's whole JSON may stand inside a notice."""
    (notice,) = rows.habits(Row(notices=(Notice("a.*b", "billing"),))).notices

    assert re.DOTALL & notice.regex.flags
