"""The `anthropic-cli` kind, with processes that write what the Claude Code CLI writes."""

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

import backends.anthropic_cli as kind
from acp_broker.app.kinds import kinds as kinds_of_backends
from acp_broker.clock import SystemClock
from acp_broker.config import load
from acp_broker.contract import Backend, CancelAsked
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.edge.household import Household
from acp_broker.errors import BackendFailure, RpcError
from backends.anthropic_cli import CliConfig, wire
from backends.anthropic_cli.asking import Asks
from backends.anthropic_cli.link import MOST_ODD_LINES
from tests.backends.contract import HAS_MODES, SPEAKS_LATE, BackendContract, kinds
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, body, plain, raw, setup, turn
from tests.support.config import write
from tests.support.harness import Log

pytestmark = pytest.mark.anyio

# What version 2.1.329 wrote for each fault of the fault server, without its lists of tools and commands.
RECORDED = Path(__file__).parent / "claude"
RESETS_AT = 1795209741


def command(script: object) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.fake_claude", json.dumps(script))


@asynccontextmanager
async def opened(script: object, tools: FakeTools, **members: object) -> AsyncIterator[Backend]:
    with anyio.fail_after(DEADLINE_S):
        async with Household(Log()) as household:
            tools.spawn = household.spawn
            tools.environment = {**tools.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
            async with kind.open(CliConfig(**{"command": command(script), **members}), tools) as backend:
                yield backend


class TestAnthropicCli(BackendContract):
    def open(self, script, tools):
        return opened(script, tools)

    async def test_a_finished_turn_carries_the_runtimes_own_answer(self, tools, client):
        """Its stop reason and its usage: it speaks no ACP that could hold more."""
        async with self._opened({"turns": [[{"do": "end", "stopReason": "max_tokens"}]]}, tools) as backend:
            finished = await backend.run(turn(), client)

        assert ("max_tokens", 17) == (finished.stop_reason, plain(finished.answer)["usage"]["totalTokens"])

    async def test_what_comes_after_the_answer_belongs_to_no_attempt(self, tools, client):
        """A late change of mode must reach the session, and must not speak for a turn that has its answer."""
        async with self._opened(SPEAKS_LATE, tools) as backend:
            await backend.run(turn(), client)
            await tools.between.until(lambda between: "current_mode_update" in kinds(between))

        assert "current_mode_update" not in kinds(client)

    async def test_a_call_is_answered_by_the_runtime(self, tools):
        """It has one method of ACP."""
        async with self._opened(HAS_MODES, tools) as backend:
            answer = await backend.call("session/set_mode", {"modeId": raw("code")})

        assert {} == plain(answer)


@pytest.fixture
def tools(tmp_path: Path) -> FakeTools:
    return FakeTools(setup=setup(str(tmp_path)))


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


def played(name: str) -> dict:
    """A turn that plays what the CLI itself has written."""
    return {"turns": [[{"do": "raw", "text": (RECORDED / f"{name}.jsonl").read_text(), "ends": True}]]}


async def failure_of(script: object, tools: FakeTools, client: FakeClient, **members: object) -> Failure:
    async with opened(script, tools, **members) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)
    return raised.value.failure


async def told(tools: FakeTools, prompt: object = "tell", **members: object) -> dict:
    """What it was started with, and told up to a prompt."""
    client = FakeClient()
    blocks = [{"type": "text", "text": prompt}] if isinstance(prompt, str) else prompt
    async with opened({}, tools, **members) as backend:
        await backend.run(replace(turn(), prompt=raw(blocks)), client)
    return json.loads("".join(client.texts))


def requests(heard: dict, subtype: str) -> list[dict]:
    return [one["request"] for one in heard["heard"] if one.get("request", {}).get("subtype") == subtype]


# --- what the CLI has really written


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("429", FailureKind.RATE_LIMITED),
        ("503", FailureKind.SERVER_ERROR),
        ("529", FailureKind.OVERLOADED),
        ("401", FailureKind.AUTH_REJECTED),
        ("403", FailureKind.AUTH_REJECTED),
        ("400", FailureKind.UNSUPPORTED),
        ("402", FailureKind.BILLING),
        ("404", FailureKind.MODEL_NOT_FOUND),
        ("refused", FailureKind.UNREACHABLE),
        ("reset-headers", FailureKind.UNREACHABLE),
        ("garbage", FailureKind.GARBLED),
        ("err-first", FailureKind.SERVER_ERROR),
        ("eof-first", FailureKind.UNREACHABLE),
        ("not-logged-in", FailureKind.AUTH_MISSING),
        ("usage-limit", FailureKind.ACCOUNT_RATE_LIMITED),
        ("retries", FailureKind.OVERLOADED),
    ],
)
async def test_its_words_for_a_failure_are_the_failure_and_are_not_shown(tools, client, fault, expected):
    """It writes them as a message of its own: shown, no fallback could answer any more."""
    failure = await failure_of(played(fault), tools, client)

    assert (expected, []) == (failure.kind, client.texts)


@pytest.mark.parametrize("fault", ["err-mid", "reset-mid", "eof-mid"])
async def test_words_before_a_failure_are_shown_and_it_is_no_end(tools, client, fault):
    """Half an answer is never reported as a whole one."""
    await failure_of(played(fault), tools, client)

    assert "alpha beta gamma " == "".join(client.texts)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("good", "end_turn"),
        ("thinks", "end_turn"),
        ("empty", "end_turn"),
        ("slash-context", "end_turn"),
        ("tool-shell", "end_turn"),
        ("max-turns", "max_turn_requests"),
    ],
)
async def test_a_turn_ends_as_it_says(tools, client, name, expected):
    """ACP v1, StopReason."""
    async with opened(played(name), tools) as backend:
        finished = await backend.run(turn(), client)

    assert expected == finished.stop_reason


@pytest.mark.parametrize(
    ("name", "expected"), [("good", "alpha beta gamma delta"), ("thinks", "alpha beta gamma delta"), ("empty", "")]
)
async def test_what_was_streamed_is_shown_once(tools, client, name, expected):
    """It comes a second time, whole, and a third time in the result."""
    async with opened(played(name), tools) as backend:
        await backend.run(turn(), client)

    assert expected == "".join(client.texts)


async def test_what_was_not_streamed_is_shown(tools, client):
    """Its own slash commands have their answer at once."""
    async with opened(played("slash-context"), tools) as backend:
        await backend.run(turn(), client)

    assert "".join(client.texts).startswith("## Context Usage")


async def test_thoughts_are_thoughts(tools, client):
    """A frontend shows them apart."""
    async with opened(played("thinks"), tools) as backend:
        await backend.run(turn(), client)

    assert ["agent_thought_chunk", "agent_message_chunk", "usage_update"] == list(dict.fromkeys(kinds(client)))


async def test_a_call_of_a_tool_is_followed_from_its_name_to_its_result(tools, client):
    """With its diff and its file, which frontends open."""
    tools.setup = replace(tools.setup, cwd="/")
    async with opened(played("tool-write"), tools) as backend:
        await backend.run(turn(), client)
    calls = [body(update) for update in client.updates if update.kind.startswith("tool_call")]
    diff = {"type": "diff", "path": "/drill.txt", "oldText": None, "newText": "alpha beta gamma delta"}

    assert [
        ("tool_call", "toolu_drill", "pending", "Write"),
        ("tool_call_update", "toolu_drill", "in_progress", "Write drill.txt"),
        ("tool_call_update", "toolu_drill", "completed", None),
    ] == [(one["sessionUpdate"], one["toolCallId"], one["status"], one.get("title")) for one in calls]
    assert ("edit", [diff], [{"path": "/drill.txt"}]) == tuple(
        calls[1][key] for key in ("kind", "content", "locations")
    )


async def test_what_a_command_has_printed_is_its_content(tools, client):
    """The person reads along."""
    async with opened(played("tool-shell"), tools) as backend:
        await backend.run(turn(), client)
    done = next(body(update) for update in client.updates if body(update).get("status") == "completed")

    assert [{"type": "content", "content": {"type": "text", "text": "drill"}}] == done["content"]


async def test_usage_and_cost_are_told(tools, client):
    """Of the last request and its answer; the money is the session's."""
    async with opened(played("good"), tools) as backend:
        finished = await backend.run(turn(), client)
    used = body(client.updates[-1])

    assert (True, 1_000_000, "USD") == (used["used"] > 12_000, used["size"], used["cost"]["currency"])
    assert used["used"] == plain(finished.answer)["usage"]["totalTokens"]


async def test_a_limit_that_opens_again_says_when(tools, client):
    """`resetsAt` is a point in time: nobody is asked before."""

    class Early(SystemClock):
        def wall(self) -> float:
            return RESETS_AT - 60.0

    tools.clock = Early()
    failure = await failure_of(played("usage-limit"), tools, client)

    assert 60.0 == failure.retry_after_s


async def test_its_own_retries_are_told(tools, client):
    """The wait for a first word is shorter from then on."""
    await failure_of(played("retries"), tools, client)

    assert ["submitted", "retrying", "retrying"] == client.phases


# --- what is no good end


LIMIT_TEXT = "Claude AI usage limit reached|{at}"


async def test_a_limit_told_in_words_says_when(tools, client):
    """As older versions write it."""

    class Early(SystemClock):
        def wall(self) -> float:
            return 1_760_000_000 - 30.0

    tools.clock = Early()
    end = {"type": "result", "subtype": "success", "is_error": True, "result": LIMIT_TEXT.format(at=1_760_000_000)}
    failure = await failure_of(lines(end), tools, client)

    assert (FailureKind.ACCOUNT_RATE_LIMITED, 30.0) == (failure.kind, failure.retry_after_s)


def lines(*messages: object) -> dict:
    return {"turns": [[{"do": "raw", "text": "".join(json.dumps(one) + "\n" for one in messages), "ends": True}]]}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"stop_reason": "max_tokens"}, "max_tokens"),
        ({"stop_reason": "refusal"}, "refusal"),
        ({"stop_reason": "stop_sequence"}, "end_turn"),
        ({"subtype": "error_max_turns", "is_error": True}, "max_turn_requests"),
    ],
)
async def test_a_stop_reason_is_acps(tools, client, members, expected):
    """Frontends know these five."""
    async with opened(lines({"type": "result", "subtype": "success", **members}), tools) as backend:
        finished = await backend.run(turn(), client)

    assert expected == finished.stop_reason


@pytest.mark.parametrize(
    "members",
    [
        {"subtype": "error_during_execution"},
        {"is_error": True, "result": "something broke"},
        {"subtype": "error_of_tomorrow"},
    ],
)
async def test_a_result_that_is_no_success_is_a_failure(tools, client, members):
    """However it is told."""
    failure = await failure_of(lines({"type": "result", "subtype": "success", **members}), tools, client)

    assert FailureKind.UNCLASSIFIED == failure.kind


async def test_an_interrupt_that_nobody_asked_for_is_a_failure(tools, client):
    """Somebody else sent a signal; `cancelled` would be a lie."""
    end = {"type": "result", "subtype": "error_during_execution", "is_error": True, "terminal_reason": "aborted_tools"}
    failure = await failure_of(lines(end), tools, client)

    assert (FailureKind.CRASHED, "was interrupted, which nobody asked for") == (failure.kind, failure.text)


async def test_an_answer_that_got_too_long_is_max_tokens(tools, client):
    """It marks that as an error of its own; the words were shown."""
    error = {"type": "assistant", "message": {"content": []}, "error": "max_output_tokens"}
    async with opened(lines(error, {"type": "result", "subtype": "success", "is_error": True}), tools) as backend:
        finished = await backend.run(turn(), client)

    assert "max_tokens" == finished.stop_reason


@pytest.mark.parametrize(("status", "expected"), [(0, "exited with code 0"), (3, "exited with code 3")])
async def test_an_end_without_a_result_is_a_crash(tools, client, status, expected):
    """Whatever it said before, and however politely it leaves."""
    failure = await failure_of(
        {"turns": [[{"do": "say", "text": "half"}, {"do": "exit", "status": status}]]}, tools, client
    )

    assert (FailureKind.CRASHED, expected, ["half"]) == (failure.kind, failure.text, client.texts)


async def test_a_result_of_another_prompt_is_not_this_ones(tools, client):
    """It may run a turn of its own first, for a task in its background; our prompt waits behind it."""
    said = {"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"type": "text_delta"}}}
    theirs = {"type": "result", "subtype": "success", "user_message_uuid": "another"}
    ours = {"type": "result", "subtype": "success", "stop_reason": "refusal", "user_message_uuid": "$PROMPT"}
    async with opened(lines(theirs, said, ours), tools) as backend:
        finished = await backend.run(turn(), client)

    assert "refusal" == finished.stop_reason


async def test_what_is_said_while_the_prompt_waits_belongs_to_no_attempt(tools, client):
    """A switch would be ruled out by words of another turn."""

    def delta(text: str) -> dict:
        event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
        return {"type": "stream_event", "event": event}

    def cycle(state: str) -> dict:
        return {"type": "command_lifecycle", "command_uuid": "$PROMPT", "state": state}

    end = {"type": "result", "subtype": "success"}
    script = lines(cycle("queued"), delta("theirs"), end, cycle("started"), delta("ours"), end)
    async with opened(script, tools) as backend:
        await backend.run(turn(), client)

    assert (["ours"], ["theirs"]) == (client.texts, tools.between.texts)


async def test_words_of_a_lesser_agent_are_not_the_answer(tools, client):
    """Those that it gives tasks to speak to it."""
    event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "inside"}}
    inside = {"type": "stream_event", "event": event, "parent_tool_use_id": "toolu_1"}
    whole = {"type": "assistant", "message": {"content": [{"type": "text", "text": "x"}]}, "parent_tool_use_id": "t"}
    async with opened(lines(inside, whole, {"type": "result", "subtype": "success"}), tools) as backend:
        await backend.run(turn(), client)

    assert [] == client.texts


# --- noise


async def test_lines_that_are_no_messages_are_skipped(tools, client):
    """Hooks and wrappers print on stdout."""
    noise = {"do": "raw", "text": "Warning: deprecated\n{oops\n[1]\n"}
    async with opened({"turns": [[noise, {"do": "say", "text": "fine"}]]}, tools) as backend:
        await backend.run(turn(), client)
    odd = [fields["line"] for event, fields in tools.logged if event == "agent_odd_line"]

    assert (["fine"], ["Warning: deprecated", "{oops", "[1]"]) == (client.texts, odd)


async def test_a_program_that_writes_nothing_else_is_garbled(tools, client):
    """It is another one."""
    script = {"turns": [[{"do": "raw", "text": "hello\n" * (MOST_ODD_LINES + 1)}, {"do": "stall"}]]}
    failure = await failure_of(script, tools, client)

    assert (FailureKind.GARBLED, "does not speak stream-json; it says 'hello'") == (failure.kind, failure.text)


async def test_a_program_without_an_answer_to_initialize_is_garbled(tools, client):
    """Older than what this was written for."""
    with pytest.raises(BackendFailure) as raised:
        async with opened({"initialize": {"commands": 5}}, tools):
            pass

    assert (FailureKind.GARBLED, "opening") == (raised.value.failure.kind, raised.value.failure.seen_at)


async def test_a_program_that_does_not_know_its_options_says_so(tools):
    """The text is its own."""
    program = (sys.executable, "-c", "import sys; sys.exit('error: unknown option --session-id')")
    with pytest.raises(BackendFailure) as raised:
        async with opened({}, tools, command=program):
            pass

    assert (FailureKind.CRASHED, True) == (raised.value.failure.kind, "unknown option" in raised.value.failure.text)


@pytest.mark.parametrize(
    ("account", "is_missing"),
    [
        ({"tokenSource": "none", "apiProvider": "firstParty"}, True),
        ({"tokenSource": "none", "apiKeySource": "ANTHROPIC_API_KEY", "apiProvider": "firstParty"}, False),
        ({"subscriptionType": "Claude Max", "apiProvider": "firstParty"}, False),
        ({"tokenSource": "ANTHROPIC_AUTH_TOKEN", "apiProvider": "firstParty"}, False),
        ({"apiProvider": "bedrock"}, False),
        ({}, False),
    ],
)
async def test_without_a_login_no_prompt_is_sent(tools, account, is_missing):
    """It says so when it is opened, in these words for each of its logins."""
    try:
        async with opened({"initialize": {"account": account}}, tools):
            failure = None
    except BackendFailure as error:
        failure = error.failure.kind

    assert (FailureKind.AUTH_MISSING if is_missing else None) == failure


async def test_a_message_that_is_too_long_is_garbled(tools, client):
    """What its end would have been is lost."""
    script = {"turns": [[{"do": "flood"}, {"do": "stall"}]]}
    failure = await failure_of(script, tools, client)

    assert (FailureKind.GARBLED, True) == (failure.kind, failure.text.startswith("sent a message that is too long: xx"))


# --- how it is started


async def test_it_is_started_to_speak_and_to_ask(tools):
    """A session of its own, in a mode that asks."""
    argv = (await told(tools))["argv"]
    options = {option: value for option, value in pairwise(argv) if option.startswith("--")}

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
    odd, http = (
        {"type": "carrier", "name": "pigeon"},
        {"type": "http", "name": "docs", "url": "http://x", "headers": []},
    )
    tools.setup = replace(tools.setup, mcp_servers=(raw(odd), raw(http)))
    async with opened({"mcpErrors": {"docs": "ECONNREFUSED"}}, tools) as backend:
        finished = await backend.run(turn(), client)

    assert (
        "MCP server pigeon was left out: Claude Code cannot reach it",
        "MCP server docs was left out: ECONNREFUSED",
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
    ],
)
async def test_a_permission_holds_for_this_session_at_most(tools, option, expected):
    """Nothing is written to the user's own settings."""
    reply = {"outcome": {"outcome": "selected", "optionId": option}}
    client = FakeClient(replies={"session/request_permission": reply})
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
    asked = wire.control(json.dumps({"request_id": "r", "request": request}).encode())
    Asks("s", lambda _: None).put(asked, {}, client)

    assert expected == [one["kind"] for one in plain(client.questions[0].params["options"])]


def test_a_question_that_was_taken_back_is_answered_by_nobody():
    """It has thrown its id away."""
    client, written = FakeClient(), []
    asks = Asks("s", written.append)
    asks.put(wire.control(b'{"request_id":"r","request":{"subtype":"can_use_tool"}}'), {}, client)
    asks.withdraw("r")

    assert [] == written


async def test_a_question_that_nobody_here_knows_is_refused(tools, client):
    """It must not wait for ever."""
    asks = {"type": "control_request", "request_id": "r", "request": {"subtype": "elicitation"}}
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


async def _cancel_when_it_speaks(client: FakeClient, asked: CancelAsked) -> None:
    await client.until(lambda heard: bool(heard.texts))
    asked.set()


def test_the_example_of_its_page_is_a_config(tmp_path):
    """Readers paste it."""
    page = (Path(__file__).parents[2] / "docs" / "claude-cli.md").read_text()
    (example,) = re.findall(r"```json\n(.+?)```", page, re.DOTALL)
    loaded = load(kinds_of_backends(), path=write(tmp_path, json.loads(example)), environ={"HOME": "/home/u"})

    assert ("claude", ()) == (loaded.acp.backend, loaded.warnings)
