"""`agent` of a backend in config.json: a name, "none", or a row of the user's own; and what is said of a wrong one."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from acp_broker import app
from acp_broker.config import load
from acp_broker.core.names import BackendId
from acp_broker.errors import ConfigError
from tests.support.config import write
from tests.support.vault import vault
from tests.test_app import no_child

TOP = Path(__file__).parents[1]
SCHEMA = jsonschema.Draft202012Validator(json.loads((TOP / "acp_broker" / "config.schema.json").read_text()))
ONE, TWO = BackendId("one"), BackendId("two")
OWN = {
    "title": "Ours",
    "like": "claude",
    "asOf": "2026-11-20",
    "notices": [{"pattern": "Sorry, .* failed", "means": "overloaded"}],
    "retrying": ["Hold on \\(\\d+/\\d+\\)"],
    "limits": {"stoppingMs": 100, "cancellingMs": 900, "retryingMs": 500},
    "modes": {"careful": "asks"},
    "login": {"hint": "run `ours login`"},
}


def content(agent: object, **members: object) -> dict:
    return {
        "acp": {"backend": "one"},
        "backends": {"one": {"kind": "acp", "command": ["my-agent"], "agent": agent, **members}},
    }


def problems(folder: Path, agent: object) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(app.kinds(), path=write(folder, content(agent)), environ={})
    return [(problem.path, problem.finding) for problem in caught.value.problems]


def policy(folder: Path, config: dict):
    return app.policy(load(app.kinds(), path=write(folder, config), environ={}), no_child, vault())


@pytest.mark.parametrize("agent", ["claude", "none", None, {}, OWN])
def test_an_agent_is_named_or_described(tmp_path, agent):
    """By a name of the documentation, or by a row that is copied from there and changed."""
    load(app.kinds(), path=write(tmp_path, content(agent)), environ={})


def test_a_misspelt_name_is_answered_with_the_right_one(tmp_path):
    """Nobody should have to look it up."""
    ((path, finding),) = problems(tmp_path, "cladue")

    assert "backends.one.agent" == path
    assert finding.startswith('no such value: "cladue"; did you mean "claude"?')


def test_a_misspelt_key_is_answered_with_the_right_one(tmp_path):
    """In a row as everywhere else."""
    ((path, finding),) = problems(tmp_path, {"notice": []})

    assert ("backends.one.agent.notice", True) == (path, 'did you mean "notices"?' in finding)


def test_a_broken_expression_is_named_with_its_place_and_what_to_write(tmp_path):
    """It would fail every opening of that agent."""
    agent = {"retrying": ["fine", "Retry (1"], "notices": [{"pattern": "*"}]}
    found = problems(tmp_path, agent)

    fix = 'in JSON a backslash is written twice, and "\\\\(" means "("'
    expected = [
        (
            "backends.one.agent.retrying[1]",
            "is no regular expression: missing ), unterminated subpattern at position 6",
        ),
        ("backends.one.agent.notices[0].pattern", "is no regular expression: nothing to repeat at position 0"),
    ]
    assert [(path, f"{finding}; {fix}") for path, finding in expected] == found


def test_a_wrong_meaning_is_answered_with_those_that_there_are(tmp_path):
    """A typo must not make a failure an answer."""
    ((path, _),) = problems(tmp_path, {"notices": [{"pattern": "x", "means": "overlaoded"}]})

    assert "backends.one.agent.notices[0].means" == path


# --- its place in the chain


def two(fallbacks: list[str], command: str) -> dict:
    entry = {"kind": "acp", "command": [command]}
    return {"acp": {"backend": "one", "fallbacks": fallbacks}, "backends": {"one": entry, "two": {"kind": "scripted"}}}


def test_only_the_last_of_a_chain_is_not_followed(tmp_path):
    """Its own retries are what is left when everybody before it has failed."""
    runtimes = policy(tmp_path, two(["two"], "claude-agent-acp")).runtimes

    assert (True, False) == (runtimes[ONE].is_followed, runtimes[TWO].is_followed)


@pytest.mark.parametrize(("command", "is_new"), [("claude-agent-acp", True), ("my-agent", False)])
def test_an_agent_whose_variables_depend_on_its_place_is_opened_anew_at_another(tmp_path, command, is_new):
    """Others stay open, and remember, when somebody is put behind them."""
    alone = policy(tmp_path, two([], command)).runtimes[ONE].fingerprint
    followed = policy(tmp_path, two(["two"], command)).runtimes[ONE].fingerprint

    assert is_new == (alone != followed)


# --- limits


def test_a_rows_limits_count_more_than_the_files_and_less_than_the_backends(tmp_path):
    """The more exactly it was meant for this backend, the more it counts."""
    config = {**content(OWN, limits={"stoppingMs": 50}), "limits": {"cancellingMs": 3000, "openingMs": 4000}}
    runtime = policy(tmp_path, config).runtimes[ONE]
    assert runtime.known_limits is not None
    limits = runtime.known_limits()

    assert (0.05, 0.9, 4.0, 0.5) == (limits.stopping, limits.cancelling, limits.opening, limits.retrying)


# --- what it costs, and what an editor says of it


def test_rows_are_not_read_to_start_the_broker(tmp_path):
    """`initialize` waits for nothing that only an opened agent needs."""
    path = write(tmp_path, two(["two"], "claude-agent-acp"))
    code = (
        "import sys; from pathlib import Path; from acp_broker import app; from acp_broker.config import load;"
        "from tests.support.vault import vault;"
        "app.policy(load(app.kinds(), path=Path(sys.argv[1]), environ={}), None, vault()); print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, cwd=TOP)

    assert ["backends.acp"] == [name for name in ran.stdout.split() if name.startswith("backends.acp")]


@pytest.mark.parametrize("agent", ["cladue", {"notice": []}, {"asOf": "yesterday"}, {"notices": [{"means": "x"}]}])
def test_what_the_loader_refuses_the_schema_refuses(tmp_path, agent):
    """The editor should say so before the broker does."""
    problems(tmp_path, agent)

    assert not SCHEMA.is_valid(content(agent))


@pytest.mark.parametrize("agent", ["claude", "none", None, {}, OWN])
def test_what_the_loader_takes_the_schema_takes(agent):
    """And complete it."""
    assert [] == [error.message for error in SCHEMA.iter_errors(content(agent))]
