"""The `acp` kind, with real agent processes: the scripted one, and one that tells what it was given."""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

import backends.acp as kind
from acp_broker.contract import Backend, CancelAsked
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.edge.household import Household
from acp_broker.errors import BackendFailure, RpcError
from backends.acp import AcpConfig
from backends.odd_lines import MOST
from tests.backends.contract import BackendContract, Script, kinds
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, body, plain, raw, setup, turn
from tests.support.harness import Log

pytestmark = pytest.mark.anyio

# Answers everything; a prompt with what it has heard so far and its environment, as one JSON text.
TELLTALE = """
import json, os, sys
heard, says = [], json.loads(sys.argv[1])
def write(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    heard.append(message)
    if "method" not in message or "id" not in message:
        continue
    method = message["method"]
    if method == "session/prompt":
        text = json.dumps({"heard": heard, "environment": dict(os.environ)})
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
        write(method="session/update", params={"sessionId": "theirs", "update": update})
    usual = {"initialize": {"protocolVersion": 1}, "session/new": {"sessionId": "theirs"}}
    usual["session/prompt"] = {"stopReason": "end_turn"}
    write(id=message["id"], result=says.get(method, usual.get(method, {})))
"""


def scripted(script: Script, *more: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "backends.scripted", "--script", json.dumps(script), *more)


def telltale(**says: object) -> tuple[str, ...]:
    named = {name.replace("_", "/"): result for name, result in says.items()}
    return (sys.executable, "-c", TELLTALE, json.dumps(named))


@asynccontextmanager
async def opened(command: tuple[str, ...], tools: FakeTools, **members: object) -> AsyncIterator[Backend]:
    with anyio.fail_after(DEADLINE_S):
        async with Household(Log()) as household:
            tools.spawn = household.spawn
            async with kind.open(AcpConfig(command=command, **members), tools) as backend:
                yield backend


class TestAcp(BackendContract):
    def open(self, script, tools):
        return opened(scripted(script), tools)


@pytest.fixture
def tools(tmp_path: Path) -> FakeTools:
    return FakeTools(setup=setup(str(tmp_path)))


async def failure_of(command: tuple[str, ...], tools: FakeTools) -> Failure:
    """How opening it, or else a turn of it, fails."""
    try:
        async with opened(command, tools) as backend:
            with pytest.raises(BackendFailure) as raised:
                await backend.run(turn(), FakeClient())
    except BackendFailure as error:
        return error.failure
    return raised.value.failure


async def told(
    tools: FakeTools, command: tuple[str, ...] | None = None, prompt: object = None, **members: object
) -> dict:
    """What an agent was told, up to and with a prompt, and its environment."""
    client, order = FakeClient(), turn()
    async with opened(command or telltale(), tools, **members) as backend:
        await backend.run(order if prompt is None else replace(order, prompt=raw(prompt)), client)
    return json.loads(client.texts[0])


def params_of(heard: Mapping[str, list[dict]], method: str) -> dict:
    return next(message["params"] for message in heard["heard"] if message["method"] == method)


# --- opening


async def test_another_version_is_garbled_and_named(tools):
    """ACP v1, initialization: who cannot speak the version closes the connection and says so."""
    failure = await failure_of(scripted({"protocolVersion": 2}), tools)

    expected = (FailureKind.GARBLED, "speaks ACP version 2; acp-broker speaks version 1")
    assert expected == (failure.kind, failure.text)


async def test_an_agent_that_names_no_version_is_taken_at_its_word(tools):
    """Some answer initialize with nothing at all."""
    heard = await told(tools, telltale(initialize={}))

    assert "heard" in heard


async def test_a_session_without_an_id_is_garbled(tools):
    """Nothing could ever be said in it."""
    failure = await failure_of(telltale(session_new={"id": "x"}), tools)

    assert (FailureKind.GARBLED, "opening") == (failure.kind, failure.seen_at)


async def test_a_command_that_is_not_there_is_unreachable_with_advice(tools):
    """The operator mistyped it."""
    failure = await failure_of(("no-such-agent",), tools)

    assert (FailureKind.UNREACHABLE, True) == (failure.kind, "no-such-agent" in failure.text)


async def test_why_an_agent_died_is_in_the_failures_text(tools):
    """Its last words on stderr are worth more than its exit status."""
    script = {"initialize": [{"do": "stderr", "text": "cannot find module 'x'"}, {"do": "exit", "code": 3}]}
    failure = await failure_of(scripted(script), tools)

    assert (FailureKind.CRASHED, True) == (failure.kind, "cannot find module 'x'" in failure.text)


async def test_what_comes_before_the_sessions_answer_is_delivered_after_it(tools):
    """goose and vibe speak before they have said what their session is called."""
    script = {"new": [{"do": "note", "info": {"title": "Early"}}]}
    async with opened(scripted(script), tools):
        await tools.between.until(lambda between: bool(between.updates))

    assert ["session_info_update"] == kinds(tools.between)


async def test_an_agent_is_told_what_the_frontend_can_and_who_it_is(tools):
    """It works for that frontend."""
    tools.client_capabilities, tools.client_info = raw({"terminal": True}), raw({"name": "zed", "version": "1"})
    heard = await told(tools)

    expected = {
        "protocolVersion": 1,
        "clientCapabilities": {"terminal": True},
        "clientInfo": {"name": "zed", "version": "1"},
    }
    assert expected == params_of(heard, "initialize")


async def test_a_login_is_repeated_in_a_new_process(tmp_path):
    """The user logged in once."""
    tools = FakeTools(setup=setup(str(tmp_path)), authenticated_by="oauth")
    heard = await told(tools)

    assert ["initialize", "authenticate", "session/new"] == [message["method"] for message in heard["heard"]][:3]


async def test_servers_that_an_agent_cannot_reach_are_left_out_and_named(tools, client):
    """`stdio` is for every agent; http and sse it must have promised."""
    http, stdio = {"type": "http", "name": "docs", "url": "http://x", "headers": []}, {"name": "files", "command": "f"}
    tools.setup = replace(tools.setup, mcp_servers=(raw(http), raw(stdio)))
    async with opened(telltale(), tools) as backend:
        finished = await backend.run(turn(), client)
    given = params_of(json.loads(client.texts[0]), "session/new")["mcpServers"]

    adapted = ("MCP server docs was left out: this agent cannot reach it",)
    assert ([stdio], adapted) == (given, finished.adapted)


async def test_servers_that_an_agent_can_reach_are_given_to_it(tools):
    """As the frontend sent them, to the byte."""
    http = {"type": "http", "name": "docs", "url": "http://x", "headers": []}
    tools.setup = replace(tools.setup, mcp_servers=(raw(http),))
    can = {"protocolVersion": 1, "agentCapabilities": {"mcpCapabilities": {"http": True}}}
    heard = await told(tools, telltale(initialize=can))

    assert [http] == params_of(heard, "session/new")["mcpServers"]


async def test_directories_that_an_agent_cannot_take_are_never_dropped(tools):
    """It would work with half of the project."""
    tools.setup = replace(tools.setup, additional_directories=("/more",))
    failure = await failure_of(telltale(), tools)

    assert (FailureKind.UNSUPPORTED, "cannot work in additional directories") == (failure.kind, failure.text)


async def test_directories_are_given_to_an_agent_that_takes_them(tools):
    """ACP v1, session setup."""
    tools.setup = replace(tools.setup, additional_directories=("/more",))
    can = {"protocolVersion": 1, "agentCapabilities": {"sessionCapabilities": {"additionalDirectories": {}}}}
    heard = await told(tools, telltale(initialize=can))

    assert ["/more"] == params_of(heard, "session/new")["additionalDirectories"]


async def test_members_that_we_do_not_know_reach_the_agent(tools):
    """`_meta` of session/new."""
    tools.setup = replace(tools.setup, rest={"_meta": raw({"a": 1})})
    heard = await told(tools)

    assert {"a": 1} == params_of(heard, "session/new")["_meta"]


async def test_nulls_where_objects_are_due_count_as_left_out(tools):
    """Agents in the wild send them."""
    heard = await told(
        tools, telltale(initialize={"protocolVersion": 1, "agentCapabilities": None, "authMethods": None})
    )

    assert "heard" in heard


# --- its environment


async def test_an_agent_inherits_the_environment_that_is_its_own(tmp_path):
    """As if the user had started it, and its own variables on top."""
    tools = FakeTools(setup=setup(str(tmp_path)), environment={"PATH": "/bin", "MINE": "old", "KEPT": "yes"})
    environment = (await told(tools, env={"MINE": "new"}))["environment"]

    assert ("/bin", "new", "yes") == tuple(environment.get(name) for name in ("PATH", "MINE", "KEPT"))


async def test_a_strict_environment_has_nothing_that_nobody_named(tmp_path):
    """`envPolicy: strict`."""
    inherited = {"PATH": "/bin", "SECRET": "s", "NAMED": "n"}
    tools = FakeTools(setup=setup(str(tmp_path)), environment=inherited)
    members = {"env_policy": "strict", "env_allow": ("NAMED", "ABSENT"), "env": {"MINE": "m"}}
    environment = (await told(tools, **members))["environment"]

    kept = {name: value for name, value in environment.items() if name in ("PATH", "SECRET", "NAMED", "ABSENT", "MINE")}
    assert {"PATH": "/bin", "NAMED": "n", "MINE": "m"} == kept


@pytest.mark.parametrize("path", ["/nowhere", ""])
def test_a_command_is_looked_for_on_its_own_path(path):
    """Without starting it: before a backup is tried."""
    missing = kind.check(AcpConfig(command=("python3",), env={"PATH": path}), {"PATH": "/usr/bin:/bin"})

    assert "'python3' is not an executable on PATH; install the agent, or write its full path in `command`" == missing


def test_a_command_with_its_full_path_is_found():
    """Editors start us with a short PATH."""
    assert kind.check(AcpConfig(command=(sys.executable,)), {}) is None


# --- what it writes


async def test_lines_that_are_no_messages_are_skipped(tools, client):
    """Agents print banners and warnings on stdout."""
    noise = [{"do": "garbage", "text": "Warning: deprecated\n"}, {"do": "badJson"}]
    async with opened(scripted({"turns": [[*noise, {"do": "say", "text": "fine"}]]}), tools) as backend:
        await backend.run(turn(), client)

    assert (["fine"], 2) == (client.texts, len([event for event, _ in tools.logged if event == "agent_odd_line"]))


async def test_an_agent_that_writes_nothing_else_is_garbled(tools):
    """It speaks something else."""
    noise = {"do": "repeat", "times": MOST + 1, "steps": [{"do": "garbage", "text": "hello\n"}]}
    failure = await failure_of(scripted({"turns": [[noise, {"do": "stall"}]]}), tools)

    assert (FailureKind.GARBLED, "does not speak JSON-RPC; it says 'hello'") == (failure.kind, failure.text)


SECRET = "sk-ant-api03-abcdefgh12345678"


async def test_a_secret_in_an_odd_line_is_not_logged(tools, client):
    """Agents print their environment when they are set to debug; the log is sent to those who help."""
    noise = {"do": "garbage", "text": f"DEBUG key={SECRET}\n"}
    async with opened(scripted({"turns": [[noise, {"do": "say", "text": "fine"}]]}), tools) as backend:
        await backend.run(turn(), client)

    assert ["DEBUG key=[redacted]"] == [fields["line"] for event, fields in tools.logged if event == "agent_odd_line"]


async def test_a_secret_that_a_garbled_agent_says_is_not_repeated(tools):
    """The failure's text is shown in the editor."""
    noise = {"do": "repeat", "times": MOST + 1, "steps": [{"do": "garbage", "text": f"key {SECRET}\n"}]}
    failure = await failure_of(scripted({"turns": [[noise, {"do": "stall"}]]}), tools)

    assert "does not speak JSON-RPC; it says 'key [redacted]'" == failure.text


async def test_a_secret_in_a_message_that_is_too_long_is_not_repeated(tools):
    """A runaway dump may begin with anything."""
    failure = await failure_of((sys.executable, "-c", f"print('{SECRET} ' * 2_000_000, flush=True)"), tools)

    said = "sent a message longer than `limits.maxMessageBytes` of config.json: "
    assert f"{said}{('[redacted] ' * 8)[:80]}..." == failure.text


async def test_a_secret_in_place_of_a_stop_reason_is_not_repeated(tools):
    """What is not expected is quoted."""
    failure = await failure_of(telltale(session_prompt={"stopReason": SECRET}), tools)

    assert (True, False) == ("[redacted]" in failure.text, SECRET in failure.text)


async def test_an_answer_without_a_stop_reason_is_garbled(tools):
    """Nobody knows how the turn ended."""
    failure = await failure_of(telltale(session_prompt={}), tools)

    assert (FailureKind.GARBLED, "submitted") == (failure.kind, failure.seen_at)


async def test_a_method_that_nobody_knows_is_refused(tools):
    """JSON-RPC 2.0: -32601, by who is asked: here the client."""
    client = FakeClient(replies={"craft/drain": RpcError(-32601, "Method not found")})
    step = {"do": "ext", "method": "craft/drain", "request": True, "branches": {"error": [{"do": "say", "text": "no"}]}}
    async with opened(scripted({"turns": [[step]]}), tools) as backend:
        await backend.run(turn(), client)

    assert ["no"] == client.texts


async def test_a_question_that_the_agent_takes_back_is_withdrawn(tools, client):
    """`$/cancel_request`."""
    step = {"do": "askPermission", "withdrawMs": 1, "branches": {"withdrawn": [{"do": "say", "text": "never mind"}]}}
    async with opened(scripted({"turns": [[step]]}), tools) as backend:
        await backend.run(turn(), client)

    assert ([True], ["never mind"]) == ([question.is_withdrawn for question in client.questions], client.texts)


@pytest.mark.parametrize("ids", ["numbers", "strings"])
async def test_ids_of_any_form_come_back_as_they_were(tools, ids):
    """JSON-RPC 2.0, section 4."""
    client = FakeClient(
        replies={"session/request_permission": {"outcome": {"outcome": "selected", "optionId": "allow"}}}
    )
    script = {"requestIds": ids, "turns": [[{"do": "askPermission"}, {"do": "sayAnswer"}]]}
    async with opened(scripted(script), tools) as backend:
        await backend.run(turn(), client)

    assert ["allow"] == client.texts


# --- prompts


async def test_resources_become_text_for_an_agent_that_takes_none(tools, client):
    """And the reply says so."""
    resource = {"type": "resource", "resource": {"uri": "file:///a.py", "text": "print()"}}
    order = replace(turn(), prompt=raw([{"type": "text", "text": "see"}, resource]))
    async with opened(telltale(), tools) as backend:
        finished = await backend.run(order, client)
    blocks = params_of(json.loads(client.texts[0]), "session/prompt")["prompt"]

    flat = {"type": "text", "text": '<resource uri="file:///a.py">\nprint()\n</resource>'}
    assert (flat, ("1 embedded resources were sent as text",)) == (blocks[1], finished.adapted)


@pytest.mark.parametrize("resource", [{"uri": 5}, {"uri": "file:///a", "text": []}, "file:///a"])
async def test_a_resource_that_cannot_be_read_is_the_prompts_fault(tools, client, resource):
    """And nobody else's: -32602, as for any other params of the wrong shape."""
    prompt = raw([{"type": "resource", "resource": resource}])
    async with opened(telltale(), tools) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(replace(turn(), prompt=prompt), client)

    assert (FailureKind.BAD_REQUEST, "-32602", []) == (
        raised.value.failure.kind,
        raised.value.failure.code,
        client.phases,
    )


async def test_resources_stay_for_an_agent_that_takes_them(tools):
    """As they came."""
    resource = {"type": "resource", "resource": {"uri": "file:///a.py", "text": "print()"}}
    can = {"protocolVersion": 1, "agentCapabilities": {"promptCapabilities": {"embeddedContext": True}}}
    heard = await told(tools, telltale(initialize=can), [resource])

    assert [resource] == params_of(heard, "session/prompt")["prompt"]


async def test_a_request_that_a_provider_refuses_is_its_agents_own(tools, client):
    """Another agent writes another: a provider's 400 must not end the turn that it could answer."""
    script = {"turns": [[{"do": "fail", "code": 400, "message": "messages.0: malformed"}]]}
    async with opened(scripted(script), tools) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)

    assert (FailureKind.UNSUPPORTED, "400") == (raised.value.failure.kind, raised.value.failure.code)


@pytest.mark.parametrize("what", ["image", "audio"])
async def test_a_block_that_an_agent_cannot_take_is_unsupported(tools, client, what):
    """Where nothing was known of it when the chain was planned."""
    async with opened(telltale(), tools) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(replace(turn(), prompt=raw([{"type": what, "data": "", "mimeType": "x/y"}])), client)

    assert (FailureKind.UNSUPPORTED, f"takes no {what} content") == (
        raised.value.failure.kind,
        raised.value.failure.text,
    )


BROKER = {"protocolVersion": 1, "agentCapabilities": {"_meta": {"acp-broker": {"seq": True}}}}


@pytest.mark.parametrize(("hello", "kept"), [({"protocolVersion": 1}, {"mine"}), (BROKER, {"mine", "acp-broker"})])
async def test_only_who_is_introduced_as_a_broker_tells_a_brokers_story(tools, client, hello, kept):
    """What another broker says of its chain is shown as its word; an agent could make one up."""
    answer = {"stopReason": "end_turn", "_meta": {"acp-broker": {"backend": "nobody"}, "mine": 1}, "usage": {}}
    async with opened(telltale(initialize=hello, session_prompt=answer), tools) as backend:
        told = plain((await backend.run(turn(), client)).answer)

    assert (kept, {}) == (told["_meta"].keys(), told["usage"])


@pytest.mark.parametrize("meta", [None, 3, {"mine": 1}])
async def test_an_answer_without_such_a_story_stays_as_it_is(tools, client, meta):
    """`_meta` may be anything, and is passed on."""
    answer = {"stopReason": "end_turn", "_meta": meta}
    async with opened(telltale(session_prompt=answer), tools) as backend:
        assert answer == plain((await backend.run(turn(), client)).answer)


async def test_members_of_a_prompt_that_we_do_not_know_reach_the_agent(tools, client):
    """`_meta` with its trace ids."""
    async with opened(telltale(), tools) as backend:
        await backend.run(replace(turn(), rest={"_meta": raw({"traceparent": "00-1"})}), client)

    assert {"traceparent": "00-1"} == params_of(json.loads(client.texts[0]), "session/prompt")["_meta"]


async def test_a_cancel_of_one_turn_does_not_end_the_next(tools, client):
    """It is said once more after a moment, to agents that overlook the first; never to another turn."""
    turns = [[{"do": "say", "text": "a"}, {"do": "stall"}], [{"do": "stall", "ms": 200}, {"do": "say", "text": "b"}]]
    asked = CancelAsked()
    async with opened(scripted({"turns": turns}), tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_it_speaks, client, asked)
        await backend.run(turn(cancel_asked=asked), client)
        finished = await backend.run(turn(), client)

    assert ("end_turn", ["a", "b"]) == (finished.stop_reason, client.texts)


async def test_an_attempt_that_has_failed_is_cancelled_no_more(tools, client):
    """The broker stops it all the same; the agent is idle by then, and would take that for the next prompt's."""
    turns = [[{"do": "fail"}], [{"do": "stall", "ms": 200}, {"do": "say", "text": "b"}]]
    asked = CancelAsked()
    async with opened(scripted({"turns": turns}), tools) as backend:
        with pytest.raises(BackendFailure):
            await backend.run(turn(cancel_asked=asked), client)
        asked.set()
        finished = await backend.run(turn(), client)

    assert ("end_turn", ["b"]) == (finished.stop_reason, client.texts)


# --- coming back


@pytest.mark.parametrize("capabilities", [{"loadSession": True}, {"sessionCapabilities": {"resume": {}}}])
async def test_a_new_process_takes_up_the_session_of_the_old_one(tools, client, tmp_path, capabilities):
    """It remembers; what it replays was shown before."""
    script = {
        "capabilities": capabilities,
        "turns": [[{"do": "say", "text": "first"}], [{"do": "say", "text": "second"}]],
    }
    command = scripted(script, "--memory", str(tmp_path / "memory"))
    for _ in range(2):
        async with opened(command, tools) as backend:
            await backend.run(turn(), client)

    assert (["first", "second"], []) == (client.texts, tools.between.texts)


async def test_a_session_that_cannot_be_taken_up_is_begun_anew(tools, client):
    """The agent has forgotten it; the turn is answered all the same, and the log says why."""
    tools.remember("long-gone")
    async with opened(scripted({"turns": [[{"do": "say", "text": "x"}]]}), tools) as backend:
        await backend.run(turn(), client)

    assert (["x"], 1) == (client.texts, len([event for event, _ in tools.logged if event == "session_not_taken_up"]))


class Remembering(FakeTools):
    """Keeps every id that a runtime begins a memory under."""

    def __init__(self, cwd: Path, *names: str) -> None:
        super().__init__(setup=setup(str(cwd)))
        self.begun: list[str] = []
        for name in names:
            super().remember(name)

    def remember(self, runtime_session: str) -> None:
        self.begun.append(runtime_session)
        super().remember(runtime_session)


async def test_a_load_that_replays_nothing_remembers_nothing(client, tmp_path):
    """Some agents load an id that they do not know, with success: what was said must be handed over then."""
    tools = Remembering(tmp_path, "long-gone")
    loads = {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}
    async with opened(telltale(initialize=loads), tools) as backend:
        await backend.run(turn(), client)

    assert ["long-gone"] == tools.begun


async def test_a_load_that_replays_is_a_memory(client, tmp_path):
    """It is not told again what it knows."""
    script = {"capabilities": {"loadSession": True}, "turns": [[{"do": "say", "text": "x"}]]}
    command = scripted(script, "--memory", str(tmp_path / "memory"))
    tools = Remembering(tmp_path)
    for _ in range(2):
        async with opened(command, tools) as backend:
            await backend.run(turn(), client)

    assert 1 == len(tools.begun)


async def test_an_agent_that_dies_while_it_takes_a_session_up_has_crashed(tools):
    """There is nobody left to begin anew."""
    tools.remember("old")
    failure = await failure_of(scripted({"resume": [{"do": "die"}]}), tools)

    assert FailureKind.CRASHED == failure.kind


# --- its end


async def test_a_run_that_is_cancelled_leaves_no_process(tools, client):
    """Two agents never share a workspace."""
    script = {"turns": [[{"do": "ignoreCancel"}, {"do": "say", "text": "a"}, {"do": "stall"}]]}
    async with opened(scripted(script), tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(backend.run, turn(), client)
        await client.until(lambda heard: bool(heard.updates))
        tasks.cancel_scope.cancel()
    why = await backend.gone()

    assert "SIGKILL" in why


async def test_updates_keep_their_bytes(tools, client):
    """Numbers and escapes may mean something to somebody."""
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "é"}, "x": 1.5}
    async with opened(scripted({"turns": [[{"do": "update", "update": update}]]}), tools) as backend:
        await backend.run(turn(), client)

    assert update == body(client.updates[0])


async def test_an_open_agent_tells_what_it_answered(tools):
    """initialize and session/new, whole."""
    async with opened(telltale(session_new={"sessionId": "theirs", "x": 1}), tools) as backend:
        about = plain(backend.about.initialized), plain(backend.about.opened)

    assert ({"protocolVersion": 1}, {"sessionId": "theirs", "x": 1}) == about


async def _cancel_when_it_speaks(client: FakeClient, asked: CancelAsked) -> None:
    await client.until(lambda heard: bool(heard.updates))
    asked.set()
