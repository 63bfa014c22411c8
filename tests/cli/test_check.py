"""`acp-broker check`: real processes, started and ended; what is printed, and what the exit status is."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.support.machine import Machine

LOGGED_OUT = {
    "authMethods": [
        {"id": "tty", "name": "Terminal", "type": "terminal", "args": ["--login"]},
        {"id": "web", "name": "Browser"},
    ],
    "new": [{"do": "fail", "code": -32000, "message": "Authentication required"}],
}
STALLS = {"new": [{"do": "stall"}]}
CLAUDE = {
    "agentInfo": {"name": "@agentclientprotocol/claude-agent-acp", "title": "Claude Agent", "version": "0.100.0"},
    "capabilities": {
        "loadSession": True,
        "promptCapabilities": {"image": True, "embeddedContext": True},
        "mcpCapabilities": {"http": True},
        "sessionCapabilities": {"resume": {}},
    },
    "modes": {
        "currentModeId": "default",
        "availableModes": [{"id": "default", "name": "Default"}, {"id": "acceptEdits", "name": "Edits"}],
    },
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_healthy_chain_is_0(machine: Machine) -> None:
    """Scripts ask the exit status; a person reads who was started, and how long it took."""
    machine.install("one")
    machine.install("two")
    machine.configure(one={}, two={})

    done = machine.run("check")

    lines = done.stdout.splitlines()
    assert (0, "") == (done.returncode, done.stderr)
    assert ["✓ one  primary  scripted 1", "✓ two  fallback  scripted 1"] == [line for line in lines if line[:1] == "✓"]
    assert f"{machine.config}: all 2 can answer" == lines[-1]


# Keeps a list of its sessions, and tells what it was asked; what it hears of `session/delete` is in its last line.
LISTING = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    with open(sys.argv[1], "a") as log:
        print(asked["method"], asked["params"].get("sessionId"), file=log)
    if asked["method"] == "session/delete" and sys.argv[2] == "hangs":
        continue
    can = {"sessionCapabilities": {"delete": {}}}
    result = {"protocolVersion": 1, "agentCapabilities": can, "sessionId": "of-its-own"}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


@pytest.mark.parametrize("way", ["answers", "hangs"])
def test_no_session_is_left_in_the_users_list(machine: Machine, way: str) -> None:
    """Where the agent can delete one; one that hangs while it does is not waited for."""
    agent, asked = machine.write("agent.py", LISTING), machine.home / "asked"
    machine.program("one", f"exec {shlex.quote(sys.executable)} {agent} {asked} {way}")
    machine.configure(one={})

    done = machine.run("check")

    assert (0, "session/delete of-its-own") == (done.returncode, asked.read_text().splitlines()[-1])


def test_one_that_cannot_answer_is_1(machine: Machine) -> None:
    """A fallback too: a chain that is shorter than it looks fails on the day that it is needed."""
    machine.install("one")
    machine.configure(one={}, two={})

    done = machine.run("check")

    assert (1, True) == (done.returncode, "\n✗ two  fallback\n" in done.stdout)
    assert "  fails      unreachable: 'two' is not on PATH; install it" in done.stdout
    assert f"{machine.config}: two cannot answer; turns begin with one" == done.stdout.splitlines()[-1]


def test_one_that_is_not_installed_is_told_how(machine: Machine) -> None:
    """The command that installs it is known, and nobody should have to look it up."""
    machine.configure(one={"kind": "anthropic-cli", "command": ["claude"]})

    assert "`npm install -g @anthropic-ai/claude-code`" in machine.run("check").stdout


@pytest.mark.parametrize("content", [None, "{}", '{"acp": {"backend": "x"}, "backends": {}}'])
def test_a_config_that_cannot_be_used_is_2(machine: Machine, content: str | None) -> None:
    """Nothing was started, so that nothing is known of the agents."""
    if content is not None:
        machine.write(".config/acp-broker/config.json", content).chmod(0o600)

    done = machine.run("check")

    assert (2, "", True) == (done.returncode, done.stdout, done.stderr.startswith(f"acp-broker: {machine.config}: "))


def test_a_wrong_word_is_2(machine: Machine) -> None:
    """As for every command."""
    done = machine.run("check", "--turns")

    said = "acp-broker: check takes nothing but --turn and --json; see acp-broker --help\n"
    assert (2, said) == (done.returncode, done.stderr)


def test_what_is_found_is_told_in_stable_fields(machine: Machine) -> None:
    """docs/setup.md explains each of them; milliseconds are the machine's."""
    program = machine.install("claude-agent-acp", CLAUDE)
    machine.write(".claude/.credentials.json", "{}")
    machine.configure(claude={"command": ["claude-agent-acp"]})

    (found,) = machine.json("check")["backends"]

    times = {name: found.pop(name) for name in ("startMs", "sessionMs")}
    assert all(isinstance(ms, int) and ms >= 0 for ms in times.values())
    assert {
        "id": "claude",
        "kind": "acp",
        "role": "primary",
        "canAnswer": True,
        "isAgent": True,
        "failure": None,
        "why": None,
        "program": str(program),
        "agent": "claude",
        "name": "Claude Agent",
        "version": "0.100.0",
        "login": {
            "state": "ok",
            "seen": ["~/.claude/.credentials.json"],
            "failed": [],
            "commands": [],
            "hint": "",
        },
        "provider": None,
        "capabilities": {
            "image": True,
            "audio": False,
            "embeddedContext": True,
            "loadSession": True,
            "resumeSession": True,
            "mcpHttp": True,
            "mcpSse": False,
        },
        "modes": {
            "current": "default",
            "available": ["default", "acceptEdits"],
            "posture": "asks",
            "postures": {"default": "asks", "acceptEdits": "edits"},
            "unmapped": [],
            "unknown": [],
        },
        "retries": {"state": "on", "lastsMs": 182000, "environment": {}, "edits": []},
        "shares": [],
        "turn": None,
        "advice": [],
    } == found


def test_a_logged_out_agent_says_how_to_log_in(machine: Machine) -> None:
    """By our own command where it has a login for terminals; what it can do is known all the same."""
    machine.install("agent", LOGGED_OUT)
    machine.configure(agent={})

    (found,) = machine.json("check", status=1)["backends"]

    commands = ["acp-broker login agent tty"]
    login = {"state": "required", "seen": [], "failed": [], "commands": commands, "hint": ""}
    expected = (login, "auth_missing", "scripted", True)
    assert expected == (found["login"], found["failure"], found["name"], found["capabilities"]["loadSession"])
    assert "log in: acp-broker login agent tty" == found["advice"][0]


def test_no_prompt_is_sent_unless_asked_for(machine: Machine) -> None:
    """A prompt costs money."""
    machine.install("agent", {"turns": [[{"do": "die"}]]})
    machine.configure(agent={})

    statuses = [machine.run("check", *words).returncode for words in ([], ["--turn"])]

    assert [0, 1] == statuses


def test_a_turn_is_told_with_its_answer(machine: Machine) -> None:
    """And how long it took."""
    machine.install("agent", {"turns": [[{"do": "say", "text": "ready"}]]})
    machine.configure(agent={})

    (found,) = machine.json("check", "--turn")["backends"]

    turn = found["turn"]
    assert (True, "ready", True) == (turn["ok"], turn["words"], 0 <= turn["firstMs"] <= turn["ms"])


@pytest.mark.parametrize(
    ("steps", "failure"),
    [
        ([{"do": "say", "text": "API Error: 529 Overloaded"}], "overloaded"),
        ([], "empty_turn"),
        ([{"do": "fail", "code": 401, "message": "invalid x-api-key"}], "auth_rejected"),
        ([{"do": "end", "stopReason": "cancelled"}], "cancelled"),
        ([{"do": "say", "text": "Retrying (attempt 1/3, waiting 2s)..."}, {"do": "stall"}], "silent"),
        ([{"do": "exit", "code": 3}], "crashed"),
    ],
)
def test_a_turn_is_judged_as_one_of_a_session(machine: Machine, steps: list[object], failure: str) -> None:
    """A failure that is dressed as an answer is none."""
    machine.install("agent", {"turns": [steps]})
    machine.configure(agent={})
    config = json.loads(machine.config.read_text())
    machine.config.write_text(json.dumps({**config, "limits": {"retryingMs": 10}}))

    (found,) = machine.json("check", "--turn", status=1)["backends"]

    assert (failure, failure, False) == (found["failure"], found["turn"]["failure"], found["canAnswer"])


def test_a_login_that_is_refused_in_the_turn_is_a_login_that_is_required(machine: Machine) -> None:
    """Some agents open a session for anybody."""
    machine.install("agent", {"turns": [[{"do": "fail", "code": 401, "message": "invalid x-api-key"}]]})
    machine.configure(agent={})

    (found,) = machine.json("check", "--turn", status=1)["backends"]

    assert "required" == found["login"]["state"]


def test_one_that_does_not_open_has_its_configured_limit(machine: Machine) -> None:
    """What a session would wait, and no longer."""
    machine.install("agent", STALLS)
    machine.configure(agent={"limits": {"openingMs": 50}})

    (found,) = machine.json("check", status=1)["backends"]

    assert ("silent", "it did not open a session within 0.05 s") == (found["failure"], found["why"])


def test_all_are_started_at_once(machine: Machine, tmp_path: Path) -> None:
    """Each of these waits for the other: one after the other, neither would start."""
    meeting = tmp_path / "meeting"
    os.mkfifo(meeting)
    machine.install("reads", before=f"read -r line < {shlex.quote(str(meeting))}")
    machine.install("writes", before=f"echo hello > {shlex.quote(str(meeting))}")
    machine.configure(reads={"limits": {"startingMs": 20_000}}, writes={"limits": {"startingMs": 20_000}})

    assert 0 == machine.run("check").returncode


# What a client asks, written to a file by an agent that says yes to everything.
_TELLS = """
import json, os, sys
said = open(os.environ["SAID"], "a", buffering=1)
for line in sys.stdin:
    message = json.loads(line)
    print(message["method"], message["params"].get("cwd", ""), file=said)
    can = {"loadSession": True, "sessionCapabilities": {"delete": {}, "list": {}}}
    result = {"protocolVersion": 1, "agentCapabilities": can, "sessionId": "s-1"}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def test_no_session_of_the_users_is_touched(machine: Machine, tmp_path: Path) -> None:
    """It opens one of its own, in a folder of its own, and takes it back; neither is there afterwards."""
    said = tmp_path / "said"
    machine.configure(agent={"command": [sys.executable, "-c", _TELLS], "env": {"SAID": str(said)}})

    machine.run("check")

    methods, folders = zip(*(line.split(" ") for line in said.read_text().splitlines()), strict=True)
    assert ("initialize", "session/new", "session/delete") == methods
    assert (True, []) == (folders[1].startswith(str(machine.scratch)), list(machine.scratch.iterdir()))


def test_nothing_is_written_in_the_state_folder(machine: Machine) -> None:
    """A look at the chain teaches the broker nothing and rests nobody."""
    machine.configure(agent={})

    machine.run("check")

    assert [machine.home / ".config"] == list(machine.home.iterdir())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_no_process(machine: Machine, number: signal.Signals, status: int) -> None:
    """Ctrl-C while an agent hangs: it, and all that it has started, is gone when the command is."""
    machine.install("agent", {"new": [{"do": "spawn", "setsid": True, "ignoreTerm": True}, {"do": "stall"}]})
    machine.configure(agent={})

    assert status == machine.interrupted(number, "check", agents=2)
    assert [] == list(machine.scratch.iterdir())


def test_an_agent_that_will_not_leave_is_ended(machine: Machine) -> None:
    """It outlives the end of its input, and SIGTERM; `Machine.run` looks for what is left."""
    stays = [{"do": "stall"}]
    machine.install("agent", {"exit": stays, "terminate": stays})
    machine.configure(agent={})

    assert 0 == machine.run("check").returncode


def test_the_credential_of_a_profile_is_what_it_is_started_with(machine: Machine) -> None:
    """And what is said of it is its name."""
    machine.install("agent", before='test "$KEY" = s3cret || exit 9')
    machine.configure(agent={"auth": "mine"})
    config = json.loads(machine.config.read_text())
    profile = {"type": "api_key", "key": "${MINE}", "env": "KEY"}
    machine.config.write_text(json.dumps({**config, "auth": {"profiles": {"mine": profile}}}))

    done = machine.run("check", "--json", MINE="s3cret")

    assert (0, ["$MINE"]) == (done.returncode, json.loads(done.stdout)["backends"][0]["login"]["seen"])
    assert "s3cret" not in done.stdout


def test_a_credential_that_is_not_there_is_said(machine: Machine) -> None:
    """The agent is not started without it."""
    machine.install("agent")
    machine.configure(agent={"auth": "mine"})
    config = json.loads(machine.config.read_text())
    profile = {"type": "api_key", "key": "${MINE}", "env": "KEY"}
    machine.config.write_text(json.dumps({**config, "auth": {"profiles": {"mine": profile}}}))

    found = machine.json("check", status=1)

    assert "auth_missing" == found["backends"][0]["failure"]
    assert [{"path": "auth.profiles.mine", "finding": "MINE is not set in this environment"}] == found["warnings"]


def several(machine: Machine, *names: str) -> None:
    """An agent whose profile has these credentials."""
    machine.configure(agent={"auth": "mine"})
    config = json.loads(machine.config.read_text())
    profile = {"type": "api_key", "key": [f"${{{name}}}" for name in names], "env": "KEY"}
    machine.config.write_text(json.dumps({**config, "auth": {"profiles": {"mine": profile}}}))


REFUSES = {"turns": [[{"do": "fail", "code": 401, "message": "invalid api key 0123456789"}]]}


def test_the_credential_that_works_is_the_one_that_counts(machine: Machine) -> None:
    """As in a turn: the next one is tried where one is missing or refused. Which were is said."""
    refused = f"exec {shlex.quote(sys.executable)} -m backends.scripted --script {shlex.quote(json.dumps(REFUSES))}"
    machine.install("agent", before=f'test "$KEY" = 0123456789 && {refused}')
    several(machine, "MISSING", "BAD", "GOOD")

    (found,) = machine.json("check", "--turn", BAD="0123456789", GOOD="9876543210")["backends"]

    failed = [(one["credential"], one["failure"]) for one in found["login"]["failed"]]
    assert (True, [("$MISSING", "auth_missing"), ("$BAD", "auth_rejected")]) == (found["canAnswer"], failed)
    assert found["advice"][1].startswith("$BAD fails (auth_rejected: invalid api key")


def test_a_credential_that_the_provider_quotes_is_not_told(machine: Machine) -> None:
    """What it says of a key that it refuses is shown on a screen, and pasted into a report."""
    machine.install("agent", REFUSES)
    several(machine, "BAD")

    done = machine.run("check", "--turn", BAD="0123456789")

    assert (1, True, False) == (done.returncode, "auth_rejected" in done.stdout, "0123456789" in done.stdout)


def test_what_an_agent_says_of_itself_is_not_carried_out(machine: Machine) -> None:
    """A terminal would obey it."""
    machine.install("agent", {"agentInfo": {"name": "\x1b[2J", "version": "1"}})
    machine.configure(agent={})

    assert "\x1b" not in machine.run("check").stdout


# --- advice

CODEX = {
    "agentInfo": {"name": "@agentclientprotocol/codex-acp", "version": "2.6.0"},
    "modes": {
        "currentModeId": "workspace-write",
        "availableModes": [{"id": "workspace-write"}, {"id": "agent-full-access"}],
    },
}


@pytest.fixture
def pair(machine: Machine) -> Machine:
    """claude, and codex behind it, both logged in."""
    machine.write(".claude/.credentials.json", "{}")
    machine.write(".codex/auth.json", "{}")
    machine.install("claude-agent-acp", CLAUDE)
    machine.install("codex-acp", CODEX)
    return machine


def advice(machine: Machine, backend: int = 1) -> list[str]:
    return machine.json("check")["backends"][backend]["advice"]


def test_a_turn_that_fails_settles_no_login_that_nobody_has_seen(machine: Machine) -> None:
    """Some agents have other words for it than that."""
    machine.install("claude-agent-acp", {**CLAUDE, "turns": [[{"do": "fail", "message": "Missing provider"}]]})
    machine.configure(claude={"command": ["claude-agent-acp"]})

    (found,) = machine.json("check", "--turn", status=1)["backends"]

    advised = "no login of it was seen: run `claude` and type /login, or set ANTHROPIC_API_KEY"
    assert ("unseen", advised) == (found["login"]["state"], found["advice"][0])


@pytest.mark.parametrize(("words", "state"), [((), "unseen"), (("--turn",), "ok")])
def test_a_login_that_nobody_has_seen_is_said(machine: Machine, words: tuple[str, ...], state: str) -> None:
    """Some agents open a session for anybody; a login may also be in a keychain. A turn settles it."""
    machine.install("claude-agent-acp", CLAUDE)
    machine.configure(claude={"command": ["claude-agent-acp"]})

    (found,) = machine.json("check", *words)["backends"]

    said = "`acp-broker check --turn` finds out whether it is logged in; if not: run `claude` and type /login, or "
    assert (state, True) == (found["login"]["state"], found["canAnswer"])
    assert (state == "unseen") is any(line.startswith(said) for line in found["advice"])


def test_a_mode_without_a_counterpart_is_named_with_the_one_that_draws_the_same_line(pair: Machine) -> None:
    """A fallback that is passed over in the mode that everybody works in is none."""
    pair.configure(claude={"command": ["claude-agent-acp"]}, codex={"command": ["codex-acp"]})

    write = 'in backends.codex write "modes": {"acceptEdits":"workspace-write"}'
    assert f"it is passed over while claude is in acceptEdits; {write}" in advice(pair)


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        (["agent-full-access"], "none of its own modes draws the same line"),
        (["agent-full-access", "new"], "map what draws the same line under `modes` of backends.codex"),
    ],
)
def test_a_mode_without_a_counterpart_is_said_to_have_none(pair: Machine, modes: list[str], said: str) -> None:
    """Unless there are modes of which nothing is known."""
    told = {"currentModeId": "agent-full-access", "availableModes": [{"id": mode} for mode in modes]}
    pair.install("codex-acp", {**CODEX, "modes": told})
    pair.configure(claude={"command": ["claude-agent-acp"]}, codex={"command": ["codex-acp"]})

    assert f"it is passed over while claude is in acceptEdits; {said}" in advice(pair)


def test_a_mode_that_is_not_there_is_named(pair: Machine) -> None:
    """A typing error would be found out in a turn."""
    mapped = {"modes": {"acceptEdits": "workspace_write"}}
    pair.configure(claude={"command": ["claude-agent-acp"]}, codex={"command": ["codex-acp"], **mapped})

    offers = "it offers workspace-write, agent-full-access"
    assert f"`modes` maps to workspace_write, which it does not offer; {offers}" in advice(pair)


def test_a_fallback_that_may_do_more_is_named(pair: Machine) -> None:
    """What the user is asked by one, the other does unasked."""
    pair.configure(claude={"command": ["claude-agent-acp"]}, codex={"command": ["codex-acp"]})

    allowed = "a failover lets it do more than you allowed"
    assert f"it edits files unasked, where claude asks first: {allowed}" in advice(pair)


def test_a_setting_of_the_users_is_named_with_its_edit(pair: Machine) -> None:
    """With what stands there now."""
    pair.write(".codex/config.toml", "[model_providers.mine]\nrequest_max_retries = 4\nstream_max_retries = 0\n")
    pair.configure(claude={"command": ["claude-agent-acp"]}, codex={"command": ["codex-acp"]})

    found = [line for line in advice(pair) if "~/.codex" in line]
    edit = "in ~/.codex/config.toml set model_providers.NAME.request_max_retries to 0 (now 4): "
    assert [True] == [line.startswith(edit) for line in found]


def test_a_variable_of_the_users_is_named(pair: Machine) -> None:
    """It holds, whatever we would set."""
    own = {"env": {"CLAUDE_CODE_MAX_RETRIES": "9"}}
    pair.configure(claude={"command": ["claude-agent-acp"], **own}, codex={"command": ["codex-acp"]})

    said = "CLAUDE_CODE_MAX_RETRIES is 9 in its environment: unset it, and acp-broker sets 0"
    assert [said] == advice(pair, 0)


def test_an_agent_that_hides_behind_a_script_is_to_be_named(pair: Machine) -> None:
    """What it calls itself comes too late for the variables that it is started with."""
    pair.install("mine", CLAUDE)
    pair.configure(mine={}, codex={"command": ["codex-acp"]})

    said = 'only its own word told who it is, too late for its variables; say "agent": "claude" in backends.mine'
    assert [said] == advice(pair, 0)


def test_its_own_retries_are_off_while_another_follows(pair: Machine) -> None:
    """By the variable that the broker sets for such an agent."""
    pair.configure(claude={"command": ["claude-agent-acp"]}, codex={"command": ["codex-acp"]})

    found = pair.json("check")["backends"][0]["retries"]

    assert ("off", {"CLAUDE_CODE_MAX_RETRIES": "0"}) == (found["state"], found["environment"])


def test_retries_that_nothing_turns_off_can_be_bounded(pair: Machine) -> None:
    """By a limit of the broker's, while another backend follows."""
    pair.install("opencode")
    pair.write(".local/share/opencode/auth.json", "{}")
    pair.configure("opencode", "codex", opencode={"command": ["opencode", "acp"]}, codex={"command": ["codex-acp"]})

    said = "it asks a failing provider for 69 s, and nothing is known that turns that off"
    assert [True] == [line.startswith(said) for line in advice(pair, 0)]


def test_a_shared_fate_is_said_of_the_later_one(pair: Machine) -> None:
    """One line is enough."""
    command = {"command": ["claude-agent-acp"]}
    pair.configure(claude=command, again=command)

    said = "it has the provider, credential and command of claude: what stops one stops the other"
    assert ([False, True]) == [said in advice(pair, index) for index in (0, 1)]


def test_an_agent_that_nobody_has_described_is_said_to_be_one(machine: Machine) -> None:
    """Then nothing is known of its retries and modes, and the general rules hold."""
    machine.install("mine")
    machine.configure(mine={})

    said = "nobody has described this agent: the general rules hold for what it says and how it fails"
    assert [said] == advice(machine, 0)
