"""What a row changes for the agent that it describes: its environment, its words, its limits and its end."""

import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import backends.acp as kind
from acp_broker.core.habits import Habits
from backends.acp import AcpConfig, rows
from tests.backends.test_acp import opened, telltale, told
from tests.backends.test_acp_end import FakeChild
from tests.support.client import DEADLINE_S, FakeTools, raw, setup

pytestmark = pytest.mark.anyio

CLAUDE = {"protocolVersion": 1, "agentInfo": {"name": "@agentclientprotocol/claude-agent-acp", "version": "1"}}
RETRIES = "CLAUDE_CODE_MAX_RETRIES"


def tools(folder: Path, *, is_followed: bool = True, **environment: str) -> FakeTools:
    made = FakeTools(setup=setup(str(folder)), environment={"PATH": "/usr/bin:/bin", **environment})
    made.is_followed = is_followed
    return made


async def retries(tools: FakeTools, **members: object) -> str | None:
    """What an agent that is claude finds in its environment."""
    found = (await told(tools, **{"agent": "claude", **members}))["environment"]
    return found.get(RETRIES)


# --- its environment


async def test_the_retries_of_an_agent_that_is_followed_are_turned_off(tmp_path):
    """It says at once what it would have said three minutes later, and the next backend answers."""
    assert "0" == await retries(tools(tmp_path))


async def test_an_agent_that_nobody_follows_keeps_its_retries(tmp_path):
    """They are all that its turns have: a hiccup of its provider must not end them."""
    assert None is await retries(tools(tmp_path, is_followed=False))


async def test_the_users_environment_counts_more_than_a_row(tmp_path):
    """Who set it, meant it."""
    assert "7" == await retries(tools(tmp_path, **{RETRIES: "7"}))


async def test_configs_environment_counts_more_than_a_row(tmp_path):
    """As for every other variable."""
    assert "3" == await retries(tools(tmp_path, **{RETRIES: "7"}), env={RETRIES: "3"})


async def test_a_strict_environment_has_the_rows_variables(tmp_path):
    """They are ours, not the user's."""
    assert "0" == await retries(tools(tmp_path), env_policy="strict")


async def test_a_stranger_is_given_nothing(tmp_path):
    """ "none" turns a row off."""
    assert None is await retries(tools(tmp_path), agent="none")


async def test_an_agent_that_only_its_answer_tells_is_named_in_the_log(tmp_path):
    """Its process runs by then: what the row would have set must be asked for in config."""
    made = tools(tmp_path)
    async with opened(telltale(initialize=CLAUDE), made):
        pass

    expected = {
        "agent": "claude",
        "why": 'it was started as a stranger; to have its retries off write "agent": "claude"',
    }
    assert [expected] == [fields for event, fields in made.logged if event == "agent_recognised"]


@pytest.mark.parametrize("name", sorted(rows.known()))
def test_every_row_with_variables_heeds_its_place(name: str):
    """Told without reading the rows: an edit that makes an agent the last gives it its retries again."""
    row = rows.known()[name]
    commands = [("npx", "-y", package) for package in row.packages] + [(program,) for program in row.programs]

    for command in commands if row.env else ():
        assert AcpConfig(command=command).heeds_its_place
    assert not row.env or AcpConfig(command=("x",), agent=name).heeds_its_place


@pytest.mark.parametrize("agent", [None, "none", {"title": raw("x")}])
def test_an_agent_without_variables_does_not_heed_its_place(agent: object):
    """It stays open, and keeps its memory, when somebody is put behind it."""
    assert not AcpConfig(command=("my-agent",), agent=agent).heeds_its_place


@pytest.mark.parametrize("agent", [{"env": raw({})}, {"like": raw("claude")}])
def test_a_row_of_ones_own_may_heed_its_place(agent: dict):
    """As one of ours."""
    assert AcpConfig(command=("my-agent",), agent=agent).heeds_its_place


# --- its words


async def test_an_opened_agent_says_how_it_speaks(tmp_path):
    """By its row's expressions, compiled."""
    async with opened(telltale(), tools(tmp_path), agent="claude") as backend:
        habits = backend.about.habits

    assert rows.habits(rows.known()["claude"]) == habits
    assert any(notice.regex.match("API Error: 529") for notice in habits.notices)


async def test_what_an_agent_calls_itself_tells_its_words(tmp_path):
    """A wrapper's command says nothing."""
    async with opened(telltale(initialize=CLAUDE), tools(tmp_path)) as backend:
        habits = backend.about.habits

    assert rows.habits(rows.known()["claude"]) == habits


async def test_a_stranger_has_no_habits(tmp_path):
    """The general rules hold for it."""
    async with opened(telltale(), tools(tmp_path)) as backend:
        habits = backend.about.habits

    assert Habits() == habits


@pytest.mark.parametrize("info", [None, "claude", {"name": 7}, {"version": "1"}])
async def test_an_introduction_of_another_shape_is_none(tmp_path, info):
    """Every field of `initialize` is optional in practice."""
    async with opened(telltale(initialize={"protocolVersion": 1, "agentInfo": info}), tools(tmp_path)) as backend:
        habits = backend.about.habits

    assert Habits() == habits


# --- its end


class Leaving(FakeChild):
    """Keeps how long it was waited for."""

    async def stop(self, *, eof_grace_s: float, term_grace_s: float) -> None:
        self.graces = eof_grace_s > 0, term_grace_s > 0
        self.kill()


@pytest.mark.parametrize(
    ("leaves", "graces"), [("eof", (True, True)), ("term", (False, True)), ("kill", (False, False))]
)
async def test_an_agent_is_waited_for_where_that_helps(tmp_path, leaves, graces):
    """One that ignores the end of its input would only be waited for, at the end of every session."""
    made, child = tools(tmp_path), Leaving()

    async def spawn(*_: object, **__: object) -> Leaving:
        return child

    made.spawn = spawn
    with anyio.fail_after(DEADLINE_S):
        async with kind.open(AcpConfig(command=("agent",), agent={"leaves": raw(leaves)}), made):
            pass

    assert graces == child.graces


# --- found on the disk


def test_two_agents_with_one_program_are_told_apart_by_where_it_is(tmp_path):
    """npm puts a link to the package into a folder of PATH."""
    program = tmp_path / "node_modules" / "@agentclientprotocol" / "codex-acp" / "dist" / "index.js"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "codex-acp").symlink_to(program)

    found = rows.find(None, ["codex-acp"], path=str(tmp_path / "bin"))

    assert found is not None
    assert "codex" == found.name


def test_the_limits_of_a_row_are_known(tmp_path):
    """A backend's own limits in config count more; see tests/test_app.py."""
    limits = AcpConfig(command=("x",), agent={"limits": raw({"stoppingMs": 7})}).known_limits()

    assert limits is not None
    assert 7 == limits.stopping_ms


def test_a_stranger_has_no_limits_of_its_own():
    """Those of config.json hold."""
    assert AcpConfig(command=("x",)).known_limits() is None


def test_rows_are_not_read_at_the_start():
    """`initialize` waits for nothing that only an opened agent needs."""
    code = (
        "import sys, backends.acp as a; a.AcpConfig(command=('claude-agent-acp',)).heeds_its_place; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert [] == [name for name in loaded if re.match(r"backends\.acp\.", name)]
