"""A session of kind `anthropic-cli`: how it is started, what it is given, what it asks, how it comes back and ends."""

import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

import backends.anthropic_cli as kind
from acp_broker.app.kinds import kinds as kinds_of_backends
from acp_broker.config import load
from acp_broker.contract import CancelAsked
from acp_broker.core.failures import FailureKind
from acp_broker.errors import BackendFailure, RpcError
from backends.anthropic_cli import CliConfig, wire
from backends.anthropic_cli.asking import Asks
from tests.support.claude_code import lines, opened, requests, told
from tests.support.client import FakeClient, FakeTools, body, plain, raw, setup, turn
from tests.support.config import write

pytestmark = pytest.mark.anyio


@pytest.fixture
def tools(tmp_path: Path) -> FakeTools:
    return FakeTools(setup=setup(str(tmp_path)))


# --- how it is started


async def test_it_is_started_to_speak_and_to_ask(tools):
    """A session of its own, in a mode that asks."""
    argv = (await told(tools))["argv"]
    options = {option: value for option, value in pairwise(argv) if option.startswith("--")}

    assert "AskUserQuestion" == options["--disallowedTools"]  # nobody here can show its form
    assert ("stream-json", "stream-json", "stdio", "default", tools.remembered()) == tuple(
        options[f"--{name}"]
        for name in ("input-format", "output-format", "permission-prompt-tool", "permission-mode", "session-id")
    )


async def test_what_is_configured_reaches_it(tools):
    """The system prompt by its input: arguments can be read by everybody on the machine."""
    tools.setup = replace(tools.setup, additional_directories=("/more",))
    heard = await told(tools, model="sonnet", permission_mode="plan", system="Be brief.")
    options = {option: value for option, value in pairwise(heard["argv"]) if option.startswith("--")}

    assert ("sonnet", "plan", "/more") == tuple(
        options[f"--{name}"] for name in ("model", "permission-mode", "add-dir")
    )
    assert ["Be brief."] == [one["appendSystemPrompt"] for one in requests(heard, "initialize")]


@pytest.mark.parametrize(("is_followed", "expected"), [(True, "0"), (False, None)])
async def test_its_own_retries_are_off_where_another_backend_follows(tools, is_followed, expected):
    """Minutes of silence; the last of a chain has nothing else."""
    tools.is_followed = is_followed

    assert expected == (await told(tools))["env"].get("CLAUDE_CODE_MAX_RETRIES")


async def test_what_its_user_has_set_counts_more(tools):
    """In the environment; and more than that, in config.json."""
    tools.is_followed = True
    tools.environment = {**tools.environment, "CLAUDE_CODE_MAX_RETRIES": "3", "MINE": "outer"}
    env = (await told(tools, env={"MINE": "inner"}))["env"]

    assert ("3", "inner") == (env["CLAUDE_CODE_MAX_RETRIES"], env["MINE"])


async def test_mcp_servers_are_told_by_its_input(tools):
    """With their secrets, which are for no argument and no file."""
    stdio = {"name": "files", "command": "f", "args": ["-v"], "env": [{"name": "KEY", "value": "secret"}]}
    http = {"type": "http", "name": "docs", "url": "http://x", "headers": [{"name": "a", "value": "secret"}]}
    tools.setup = replace(tools.setup, mcp_servers=(raw(stdio), raw(http)))
    heard = await told(tools)

    assert [
        {
            "files": {"type": "stdio", "command": "f", "args": ["-v"], "env": {"KEY": "secret"}},
            "docs": {"type": "http", "url": "http://x", "headers": {"a": "secret"}},
        }
    ] == [one["servers"] for one in requests(heard, "mcp_set_servers")]
    assert "secret" not in json.dumps(heard["argv"])


async def test_servers_that_it_cannot_reach_are_named(tools, client):
    """The answer lacks what they could have told."""
    odd = {"type": "carrier", "name": "pigeon"}
    bad = {"name": "bad", "command": "x", "env": {"KEY": "a list is due"}}
    http = {"type": "http", "name": "docs", "url": "http://x", "headers": []}
    tools.setup = replace(tools.setup, mcp_servers=(raw(odd), raw(bad), raw(http)))
    why = "ECONNREFUSED with token=abcdefgh12345678"
    async with opened({"mcpErrors": {"docs": why}}, tools) as backend:
        finished = await backend.run(turn(), client)

    assert (
        "MCP server pigeon was left out: Claude Code cannot reach it",
        "MCP server bad was left out: Claude Code cannot reach it",
        "MCP server docs was left out: ECONNREFUSED with token=[redacted]",
    ) == finished.adapted


async def test_content_is_that_of_the_messages_api(tools):
    """Images as images, resources as text; a handed-over conversation is one."""
    blocks = [
        {"type": "text", "text": "tell"},
        {"type": "image", "mimeType": "image/png", "data": "aGk="},
        {"type": "resource", "resource": {"uri": "acp-broker:earlier-turns", "text": "Earlier: ..."}},
    ]
    heard = await told(tools, blocks)
    (content,) = [one["message"]["content"] for one in heard["heard"] if one["type"] == "user"]

    assert ["text", "image", "text"] == [block["type"] for block in content]


async def test_audio_is_for_another_backend(tools, client):
    """It takes none."""
    async with opened({}, tools) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(
                replace(turn(), prompt=raw([{"type": "audio", "mimeType": "audio/wav", "data": ""}])), client
            )

    assert (FailureKind.UNSUPPORTED, []) == (raised.value.failure.kind, client.phases)


# --- coming back


async def test_a_new_process_takes_up_the_session_of_the_old_one(tools, tmp_path):
    """It remembers by itself."""
    sessions = {"sessions": str(tmp_path / "sessions")}
    async with opened(sessions, tools):
        known = tools.remembered()
    async with opened(sessions, tools):
        pass

    assert known == tools.remembered()


async def test_a_session_that_it_has_lost_begins_anew(tools, client, tmp_path):
    """And the broker is told: nothing said in it is there."""
    tools.remember("gone")
    async with opened(
        {"sessions": str(tmp_path / "sessions"), **lines({"type": "result", "subtype": "success"})}, tools
    ) as one:
        await one.run(turn(), client)

    assert ("gone" != tools.remembered(), ["session_not_taken_up"]) == (True, [event for event, _ in tools.logged])


# --- permission and modes


async def test_a_permission_is_asked_for_with_the_call(tools):
    """The frontend shows what would be done."""
    tools.setup = replace(tools.setup, cwd="/")
    client = FakeClient(replies={"session/request_permission": RpcError(-32601, "no")})
    async with opened({"turns": [[{"do": "askPermission"}]]}, tools) as backend:
        await backend.run(turn(), client)
    params = {name: plain(value) for name, value in client.questions[0].params.items()}

    assert ["allow_once", "allow_always", "reject_once"] == [one["kind"] for one in params["options"]]
    assert ("toolu_1", "Write a.txt", "pending") == tuple(
        params["toolCall"][key] for key in ("toolCallId", "title", "status")
    )


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("allow", {"behavior": "allow", "updatedInput": {"file_path": "a.txt", "content": "new"}}),
        (
            "allow_always",
            {
                "behavior": "allow",
                "updatedInput": {"file_path": "a.txt", "content": "new"},
                "updatedPermissions": [{"type": "setMode", "mode": "acceptEdits", "destination": "session"}],
            },
        ),
        ("reject", {"behavior": "deny", "message": "The user does not allow this."}),
        (None, {"behavior": "deny", "message": "The turn was cancelled.", "interrupt": True}),
    ],
)
async def test_a_permission_holds_for_this_session_at_most(tools, option, expected):
    """Nothing is written to the user's own settings."""
    chosen = {"outcome": "selected", "optionId": option} if option is not None else {"outcome": "cancelled"}
    client = FakeClient(replies={"session/request_permission": {"outcome": chosen}})
    async with opened({"turns": [[{"do": "askPermission"}, {"do": "sayHeard"}]]}, tools) as backend:
        await backend.run(turn(), client)

    assert expected == json.loads("".join(client.texts))


async def test_a_question_that_it_takes_back_is_withdrawn(tools, client):
    """`control_cancel_request`, when an interrupt overtakes the person."""
    request = {"subtype": "can_use_tool", "tool_name": "Write", "tool_use_id": "t", "input": {}}
    asks = {"type": "control_request", "request_id": "r", "request": request}
    script = lines(
        asks, {"type": "control_cancel_request", "request_id": "r"}, {"type": "result", "subtype": "success"}
    )
    async with opened(script, tools) as backend:
        await backend.run(turn(), client)

    assert [True] == [question.is_withdrawn for question in client.questions]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, ["allow_once", "reject_once"]),
        ({"permission_suggestions": [{"type": "setMode"}]}, ["allow_once", "allow_always", "reject_once"]),
        (
            {"permission_suggestions": [{"type": "setMode"}], "suppress_always_allow_rule": True},
            ["allow_once", "reject_once"],
        ),
    ],
)
def test_for_the_session_is_offered_where_it_can_be_kept(members, expected):
    """Some it asks about every time."""
    client, request = FakeClient(), {"subtype": "can_use_tool", **members}
    Asks("s", lambda _: None).put("r", wire.asking(json.dumps(request).encode()), {}, client)

    assert expected == [one["kind"] for one in plain(client.questions[0].params["options"])]


def test_a_question_that_was_taken_back_is_answered_by_nobody():
    """It has thrown its id away."""
    client, written = FakeClient(), []
    asks = Asks("s", written.append)
    asks.put("r", wire.Asking("can_use_tool"), {}, client)
    asks.withdraw("r")

    assert [] == written


def test_a_question_that_was_answered_at_once_is_answered_no_more():
    """It may take it back all the same, when both cross."""
    reply = {"outcome": {"outcome": "selected", "optionId": "allow"}}
    client, written = FakeClient(replies={"session/request_permission": reply}), []
    asks = Asks("s", written.append)
    asks.put("r", wire.Asking("can_use_tool"), {}, client)
    asks.withdraw("r")

    assert (1, False) == (len(written), client.questions[0].is_withdrawn)


@pytest.mark.parametrize("request_", [{"subtype": "elicitation"}, {"subtype": "can_use_tool", "tool_name": 5}, None])
async def test_a_question_that_nobody_here_knows_is_refused(tools, client, request_):
    """It must not wait for ever."""
    asks = {"type": "control_request", "request_id": "r", "request": request_}
    script = {"turns": [[{"do": "raw", "text": json.dumps(asks) + "\n"}, {"do": "await"}, {"do": "sayHeard"}]]}
    async with opened(script, tools) as backend:
        await backend.run(turn(), client)

    assert "acp-broker has no answer to this" == json.loads("".join(client.texts))


async def test_the_modes_are_those_that_ask_and_the_one_that_is_configured(tools):
    """Nobody slips into one that asks about nothing."""
    async with opened({}, tools) as backend:
        usual = plain(backend.about.opened)["modes"]
    async with opened({}, tools, permission_mode="bypassPermissions") as backend:
        bold = plain(backend.about.opened)["modes"]

    assert ("default", ["default", "acceptEdits", "plan"]) == (
        usual["currentModeId"],
        [one["id"] for one in usual["availableModes"]],
    )
    assert ["default", "acceptEdits", "plan", "bypassPermissions"] == [one["id"] for one in bold["availableModes"]]


async def test_a_mode_that_is_on_already_is_told(tools):
    """Settings of the user's may put it on."""
    async with opened({"initialize": {"current_permission_mode": "auto"}}, tools) as backend:
        modes = plain(backend.about.opened)["modes"]

    assert ("auto", True) == (modes["currentModeId"], "auto" in [one["id"] for one in modes["availableModes"]])


async def test_a_mode_that_is_not_offered_is_refused(tools):
    """One that asks about nothing is never entered by the way."""
    async with opened({"modes": {"availableModes": [{"id": "bypassPermissions"}]}}, tools) as backend:
        with pytest.raises(RpcError) as raised:
            await backend.call("session/set_mode", {"modeId": raw("bypassPermissions")})

    assert -32602 == raised.value.code


async def test_slash_commands_are_told(tools):
    """Frontends offer them."""
    async with opened({}, tools):
        pass
    (update,) = tools.between.updates

    assert [{"name": "compact", "description": "Shorter", "input": {"hint": "how"}}] == body(update)[
        "availableCommands"
    ]


# --- its end


async def test_an_interrupt_leaves_it_alive_for_the_next_turn(tools, client):
    """Started anew it would cost a third of a second."""
    asked = CancelAsked()
    turns = [[{"do": "say", "text": "a"}, {"do": "stall"}], [{"do": "say", "text": "b"}]]
    async with opened({"turns": turns}, tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_it_speaks, client, asked)
        cancelled = await backend.run(turn(cancel_asked=asked), client)
        finished = await backend.run(turn(), client)

    assert (["a", "b"], "cancelled", "end_turn") == (client.texts, cancelled.stop_reason, finished.stop_reason)


async def test_a_turn_that_was_cancelled_before_it_began_is_not_sent(tools, client):
    """Nobody pays for it."""
    asked = CancelAsked()
    asked.set()
    async with opened({}, tools) as backend:
        await backend.run(turn(cancel_asked=asked), client)

    assert [] == client.phases


async def test_an_attempt_that_has_failed_is_interrupted_no_more(tools, client):
    """The broker stops it all the same; it is idle by then, and would take that for the next prompt's."""
    turns = [[{"do": "fail"}], [{"do": "stall", "ms": 200}, {"do": "say", "text": "b"}]]
    asked = CancelAsked()
    async with opened({"turns": turns}, tools) as backend:
        with pytest.raises(BackendFailure):
            await backend.run(turn(cancel_asked=asked), client)
        asked.set()
        finished = await backend.run(turn(), client)

    assert ("end_turn", ["b"]) == (finished.stop_reason, client.texts)


# --- before it is started


def test_a_missing_program_is_told_with_how_to_get_it():
    """Nothing is started."""
    missing = kind.check(CliConfig(env={"PATH": "/nowhere"}), {"PATH": "/bin"})

    assert missing is not None
    assert "npm install -g @anthropic-ai/claude-code" in missing


def test_a_program_with_its_full_path_is_found():
    """Editors start us with a short PATH."""
    assert kind.check(CliConfig(command=(sys.executable,)), {}) is None


def test_the_example_of_its_page_is_a_config(tmp_path):
    """Readers paste it."""
    page = (Path(__file__).parents[2] / "docs" / "claude-cli.md").read_text()
    (example,) = re.findall(r"```json\n(.+?)```", page, re.DOTALL)
    loaded = load(kinds_of_backends(), path=write(tmp_path, json.loads(example)), environ={"HOME": "/home/u"})

    assert ("claude", ()) == (loaded.acp.backend, loaded.warnings)


async def _cancel_when_it_speaks(client: FakeClient, asked: CancelAsked) -> None:
    await client.until(lambda heard: bool(heard.texts))
    asked.set()
