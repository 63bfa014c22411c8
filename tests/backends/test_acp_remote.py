"""The `acp` kind over WebSocket, with a scripted agent at the other end, and with peers that are none."""

import asyncio
import base64
import json
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

import backends.acp as kind
from acp_broker.contract import Backend
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.edge import dialing
from acp_broker.errors import BackendFailure
from backends.acp import AcpConfig, hops
from tests.backends.contract import DIES, BackendContract, Script
from tests.support.certificates import certificate
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, raw, setup, turn
from tests.support.served_agent import Served, served

pytestmark = pytest.mark.anyio


def command(script: Script) -> tuple[str, ...]:
    return (sys.executable, "-m", "backends.scripted", "--script", json.dumps(script))


@asynccontextmanager
async def opened(agent: Served, tools: FakeTools, **members: object) -> AsyncIterator[Backend]:
    with anyio.fail_after(DEADLINE_S):
        async with kind.open(AcpConfig(url=agent.url, **members), tools) as backend:
            yield backend


@asynccontextmanager
async def playing(script: Script, tools: FakeTools) -> AsyncIterator[Backend]:
    async with served(command(script)) as agent, opened(agent, tools) as backend:
        yield backend


class TestAcpOverWebSocket(BackendContract):
    def open(self, script, tools):
        return playing(script, tools)

    async def test_gone_tells_why_the_runtime_died(self, tools, client):
        """How an agent elsewhere died stays there: what is seen here is the end of its connection."""
        async with self._opened(DIES, tools) as backend:
            with pytest.raises(BackendFailure):
                await backend.run(turn(), client)
            why = await backend.gone()

        assert why.endswith("was lost")


@pytest.fixture
def tools(tmp_path: Path) -> FakeTools:
    return FakeTools(setup=setup(str(tmp_path)), environment={})


def heard(agent: Served, method: str) -> dict:
    return next(one["params"] for one in map(json.loads, agent.heard) if one.get("method") == method)


async def failure_of(agent: Served, tools: FakeTools) -> Failure:
    """How opening it fails."""
    with pytest.raises(BackendFailure) as raised:
        async with opened(agent, tools):
            pass
    return raised.value.failure


# --- the way there


async def test_the_token_goes_in_the_header_and_nowhere_else(tools):
    """Addresses end up in the logs of proxies."""
    tools.credential = "box-token"
    async with served(command({})) as agent, opened(agent, tools, auth="box"):
        request = agent.requests[0]

    assert ("/acp", "Bearer box-token") == (request.path, request.headers["Authorization"])
    assert "Sec-WebSocket-Extensions" not in request.headers  # compression costs more memory than a session
    assert "box-token" not in "".join(agent.heard) + str(tools.logged)


@pytest.mark.parametrize(
    ("status", "headers", "token", "expected"),
    [
        (401, {}, None, (FailureKind.AUTH_MISSING, "401", None)),
        (401, {}, "old", (FailureKind.AUTH_REJECTED, "401", None)),
        (403, {}, "old", (FailureKind.AUTH_REJECTED, "403", None)),
        (404, {}, None, (FailureKind.UNREACHABLE, "404", None)),
        (400, {}, None, (FailureKind.UNREACHABLE, "400", None)),
        (426, {}, None, (FailureKind.UNREACHABLE, "426", None)),
        (302, {"Location": "ws://127.0.0.1:9/acp"}, "t", (FailureKind.UNREACHABLE, "302", None)),
        (429, {"Retry_After": "7"}, None, (FailureKind.RATE_LIMITED, "429", 7.0)),
        (503, {"Retry_After": "9"}, None, (FailureKind.OVERLOADED, "503", 9.0)),
        (500, {}, None, (FailureKind.SERVER_ERROR, "500", None)),
        (200, {}, None, (FailureKind.UNREACHABLE, "200", None)),
    ],
)
async def test_who_is_not_let_in_knows_what_it_spends(tools, status, headers, token, expected):
    """The answer to the handshake is the only word that such a host has for us; none of them blames the prompt."""
    tools.credential = token
    async with served(command({}), lambda agent: agent.refuse(status, **headers)) as agent:
        failure = await failure_of(agent, tools)

    assert expected == (failure.kind, failure.code, failure.retry_after_s)
    assert 1 == len(agent.requests)


async def test_where_a_redirect_leads_is_told_and_not_followed(tools):
    """The token is for the host in config.json; the person may want the other one."""
    moved = "wss://elsewhere.example/acp"
    async with served(command({}), lambda agent: agent.refuse(308, Location=moved)) as agent:
        failure = await failure_of(agent, tools)

    assert failure.text.endswith(f"answers with 308 and leads to {moved}; write the right address in `url`")


async def test_a_host_that_refuses_is_unreachable(tools):
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    agent = Served(())
    agent.url = f"ws://127.0.0.1:{port}/acp"
    failure = await failure_of(agent, tools)

    said = f"127.0.0.1:{port} refuses connections: is it running, and is that its port?"
    assert (FailureKind.UNREACHABLE, "starting", said) == (failure.kind, failure.seen_at, failure.text)


async def test_a_host_with_tls_that_is_asked_without_it_is_told_from_one_that_is_no_agent(tools):
    """`ws://` for `wss://` is the commonest slip of all."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        # RFC 8446, 6: a fatal alert.
        writer.write(b"\x15\x03\x03\x00\x02\x02\x46")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        agent = Served(())
        agent.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/acp"
        failure = await failure_of(agent, tools)

    assert failure.text.endswith("; are the port and `ws://` or `wss://` in `url` right?")


async def test_a_certificate_that_nobody_vouches_for_gets_no_token(tools, tmp_path):
    """Whoever sits between would have it; and the person is told how a private authority is trusted."""
    pair = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    tools.credential = "box-token"
    async with served(command({}), tls=context) as agent:
        failure = await failure_of(agent, tools)
        refused = list(agent.requests)
        tools.environment = {"SSL_CERT_FILE": str(pair[0])}
        async with opened(agent, tools):
            pass

    assert (FailureKind.UNREACHABLE, [], 1) == (failure.kind, refused, len(agent.requests))
    assert failure.text.endswith("name its authority in SSL_CERT_FILE")


async def test_a_name_that_leads_nowhere_is_unreachable(tools, monkeypatch):
    """A typing error, or a VPN that is off."""

    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", unknown)
    agent = Served(())
    agent.url = "wss://box.example/acp"
    failure = await failure_of(agent, tools)

    said = "box.example is the name of no host: is it written right, and is this machine online?"
    assert (FailureKind.UNREACHABLE, said) == (failure.kind, failure.text)


async def test_a_host_that_says_nothing_is_given_up(tools):
    """The kernel accepts for a program that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        url = f"ws://127.0.0.1:{door.getsockname()[1]}/acp"
        with pytest.raises(BackendFailure) as raised, anyio.fail_after(DEADLINE_S):
            async with kind.open(AcpConfig(url=url, limits=kind.AcpLimits(connect_ms=20)), tools):
                pass

    failure = raised.value.failure
    assert (FailureKind.UNREACHABLE, True) == (failure.kind, failure.text.endswith("did not open a connection in time"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1001, FailureKind.CRASHED),
        (1008, FailureKind.AUTH_REJECTED),
        (1009, FailureKind.UNSUPPORTED),
        (1011, FailureKind.SERVER_ERROR),
        (1013, FailureKind.OVERLOADED),
        (4321, FailureKind.CRASHED),
    ],
)
async def test_a_close_in_the_middle_of_a_turn_means_what_its_code_says(tools, code, expected):
    """Words were shown: whatever it is, the turn ends with it."""
    script = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall"}]]}
    client = FakeClient()

    async def close(agent: Served) -> None:
        await client.until(lambda one: bool(one.texts))
        await agent.connections[0].close(code, "so it is")

    async with served(command(script)) as agent, opened(agent, tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(close, agent)
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)

    failure = raised.value.failure
    assert (expected, str(code), ["half"]) == (failure.kind, failure.code, client.texts)
    assert f"closed the connection ({code}): so it is" in failure.text


async def test_a_peer_that_answers_no_ping_is_gone(tools, monkeypatch):
    """A laptop that sleeps sends nothing, and its connection stays open for hours; also while a turn runs."""
    monkeypatch.setattr(dialing, "PING_S", 0.01)
    monkeypatch.setattr(dialing, "GONE_S", 0.02)
    client = FakeClient()

    async def sleep(agent: Served) -> None:
        await client.until(lambda one: bool(one.texts))
        agent.connections[0].transport.pause_reading()

    script = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall"}]]}
    async with served(command(script)) as agent, opened(agent, tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(sleep, agent)
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)
        agent.connections[0].transport.resume_reading()

    failure = raised.value.failure
    assert (FailureKind.CRASHED, True) == (failure.kind, failure.text.startswith("nothing was heard of"))


async def test_a_plain_agent_is_never_given_its_prompt_twice(tools):
    """It may have acted: only a broker knows a prompt by its key."""
    script = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall"}]]}
    client = FakeClient()

    async def lose(agent: Served) -> None:
        await client.until(lambda one: bool(one.texts))
        agent.connections[0].transport.abort()

    async with served(command(script)) as agent, opened(agent, tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(lose, agent)
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)

    assert (FailureKind.CRASHED, 1) == (raised.value.failure.kind, len(agent.requests))


async def test_a_message_of_a_megabyte_arrives(tools):
    """Tool calls carry whole files."""
    script = {"turns": [[{"do": "echo", "chunks": 1}]]}
    client = FakeClient()
    async with served(command(script)) as agent, opened(agent, tools) as backend:
        await backend.run(turn("y" * 1_200_000), client)

    assert 1_200_000 == len("".join(client.texts))


async def test_a_message_that_is_too_long_is_garbled(tools):
    """Nobody fills our memory; and it is the peer that is at fault, not the prompt."""
    tools.max_message_bytes = 70_000
    async with playing({"turns": [[{"do": "say", "text": "y" * 70_000}]]}, tools) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), FakeClient())

    failure = raised.value.failure
    assert (FailureKind.GARBLED, "1009") == (failure.kind, failure.code)
    assert failure.text.endswith("sent a message longer than `limits.maxMessageBytes` of config.json")


async def test_a_peer_that_takes_no_message_so_long_is_told_by_the_name_of_its_limit(tools):
    """Which is to be raised over there, not here."""

    async def close(agent: Served) -> None:
        while not any('"session/prompt"' in one for one in agent.heard):
            await checkpoint()
        await agent.connections[0].close(1009)

    script = {"turns": [[{"do": "stall"}]]}
    async with served(command(script)) as agent, opened(agent, tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(close, agent)
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), FakeClient())

    assert raised.value.failure.text.endswith("if `limits.maxMessageBytes` over there is raised")


async def test_a_message_as_long_as_the_limit_arrives_and_a_longer_one_is_not_sent(tools):
    """The limit is the same both ways; another backend may be reached without one, so the prompt goes on to that."""
    async with served(command({})) as agent:
        async with opened(agent, tools) as backend:
            await backend.run(turn("y" * 1000), FakeClient())
        tools.max_message_bytes = longest = max(map(len, agent.heard))
        async with opened(agent, tools) as backend:
            await backend.run(turn("y" * 1000), FakeClient())
            with pytest.raises(BackendFailure) as raised:
                await backend.run(turn("y" * 1001), FakeClient())

    failure = raised.value.failure
    size = f"a message of {longest + 1} bytes was not sent to "
    assert (FailureKind.UNSUPPORTED, True, True) == (
        failure.kind,
        failure.text.startswith(size),
        failure.text.endswith(f"`limits.maxMessageBytes` of config.json is {longest}"),
    )


async def test_a_proxy_of_the_environment_is_used_and_may_refuse(tools):
    """Behind a company's proxy there is no other way out."""

    async def refuse(stream: anyio.abc.SocketStream) -> None:
        asked.append((await stream.receive()).split(b"\r\n"))
        await stream.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await stream.aclose()

    asked: list[list[bytes]] = []
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    tools.environment = {"HTTPS_PROXY": f"http://me:word@127.0.0.1:{port}"}
    agent = Served(())
    agent.url = "wss://box.example:8765/acp"
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, refuse)
        failure = await failure_of(agent, tools)
        tasks.cancel_scope.cancel()

    assert b"CONNECT box.example:8765 HTTP/1.1" == asked[0][0]
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:word") in asked[0]
    assert FailureKind.UNREACHABLE == failure.kind
    assert failure.text.startswith("the proxy does not let us through to box.example:8765: ")
    assert "word" not in failure.text


# --- the other machine


async def test_an_agent_with_a_folder_of_its_own_is_told_nothing_of_ours(tools):
    """Paths of this machine name other files there, and commands with secrets in them are not for it to start."""
    tools.client_capabilities = raw({"fs": {"readTextFile": True}, "terminal": True, "auth": {}})
    local = {"name": "mine", "command": "/usr/bin/mine", "args": [], "env": [{"name": "KEY", "value": "k"}]}
    tools.setup = replace(tools.setup, mcp_servers=(raw(local),))
    async with served(command({})) as agent, opened(agent, tools, cwd="/srv/work") as backend:
        finished = await backend.run(turn(), FakeClient())

    opening = heard(agent, "session/new")
    assert ("/srv/work", []) == (opening["cwd"], opening["mcpServers"])
    assert {"auth", "_meta"} == set(heard(agent, "initialize")["clientCapabilities"])
    assert ("MCP server mine was left out: this agent cannot reach it",) == finished.adapted


async def test_without_a_folder_of_its_own_it_gets_what_a_local_agent_gets(tools):
    """A container with the same folder mounted."""
    tools.client_capabilities = raw({"fs": {"readTextFile": True}, "_meta": {"mine": 1, "acp-broker": {"seq": True}}})
    async with served(command({})) as agent, opened(agent, tools):
        pass

    said = heard(agent, "initialize")["clientCapabilities"]
    ours = {"seq": True, "via": [hops.here()]}
    assert {"fs": {"readTextFile": True}, "_meta": {"mine": 1, "acp-broker": ours}} == said
    assert tools.setup.cwd == heard(agent, "session/new")["cwd"]


async def test_folders_beside_it_are_not_for_an_agent_with_a_folder_of_its_own(tools):
    """They are never dropped in silence: another backend may have them."""
    tools.setup = replace(tools.setup, additional_directories=("/elsewhere",))
    async with served(command({})) as agent:
        with pytest.raises(BackendFailure) as raised:
            async with opened(agent, tools, cwd="/srv/work"):
                pass

    assert FailureKind.UNSUPPORTED == raised.value.failure.kind


async def test_a_session_is_closed_there_when_nobody_needs_it_here(tools):
    """A process ends with its connection's end only where it wants to; what we leave behind must not pile up."""
    script = {"capabilities": {"sessionCapabilities": {"close": {}}}}
    async with served(command(script)) as agent, opened(agent, tools):
        pass

    assert "session/close" in [json.loads(one).get("method") for one in agent.heard]


async def test_a_turn_that_is_broken_off_is_cancelled_there(tools):
    """The end of a connection ends no turn at a broker: it must be told."""
    script = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall"}]]}
    client = FakeClient()
    async with (
        served(command(script)) as agent,
        opened(agent, tools) as backend,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(backend.run, turn(), client)
        await client.until(lambda one: bool(one.texts))
        tasks.cancel_scope.cancel()

    assert "session/cancel" in [json.loads(one).get("method") for one in agent.heard]


# --- chains of brokers


def via(*names: str) -> msgspec.Raw:
    return raw({"_meta": {"acp-broker": {"via": names}}})


@pytest.mark.parametrize(
    ("before", "said"),
    [((hops.here(),), "leads back to this one"), (tuple("abcdefgh"), "a chain of so many is taken for a loop")],
)
async def test_a_chain_that_leads_back_is_cut_before_anybody_is_called(tools, before, said):
    """Two machines that name each other as a fallback would hand one prompt to and fro."""
    tools.client_capabilities = via(*before)
    async with served(command({})) as agent:
        failure = await failure_of(agent, tools)

    assert (FailureKind.UNSUPPORTED, True, []) == (failure.kind, said in failure.text, agent.requests)


async def test_each_broker_adds_itself_to_the_chain(tools):
    """The next one can then see all that stand before it."""
    tools.client_capabilities = via("another")
    async with served(command({})) as agent, opened(agent, tools):
        pass

    said = heard(agent, "initialize")["clientCapabilities"]["_meta"]["acp-broker"]["via"]
    assert ["another", hops.here()] == said


# --- config


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, 'expected either "command"'),
        ({"command": ("a",), "url": "wss://box/acp"}, 'expected either "command"'),
        ({"command": ("a",), "cwd": "/srv"}, '"cwd" is for an agent at a "url"'),
        ({"url": "https://box/acp"}, "expected an address such as wss://host:8765/acp"),
        ({"url": "wss://box:port/acp"}, "Port could not be cast"),
        ({"url": "wss://me:word@box/acp"}, "an address with a secret in it"),
        ({"url": "wss://box/acp?token=word"}, "an address with a secret in it"),
        ({"url": "ws://box/acp", "auth": "box"}, "would send the token in the clear"),
        ({"url": "wss://box/acp", "env": {"A": "b"}}, '"env" and "envPolicy" are for an agent'),
        ({"url": "wss://box/acp", "cwd": "srv"}, '"cwd" is a folder of the other machine'),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(members, said):
    """Before anything is sent anywhere."""
    with pytest.raises(ValueError, match=re.escape(said)):
        AcpConfig(**members)


def test_a_token_may_go_in_the_clear_to_this_machine():
    """A tunnel ends there."""
    assert "ws://localhost:8765/acp" == AcpConfig(url="ws://localhost:8765/acp", auth="box").url


def test_its_secret_is_its_token_whatever_variable_it_comes_from():
    """No child is there that could be given one."""
    assert (True, False) == (AcpConfig(url="wss://b").takes_credential, AcpConfig(command=("a",)).takes_credential)


def test_check_calls_nobody():
    """Config is checked at each start of an editor."""
    assert kind.check(AcpConfig(url="wss://nobody.invalid/acp"), {}) is None


def test_two_that_ask_the_same_elsewhere_fail_together():
    """Whatever limits they have of their own."""
    one, other = (AcpConfig(url="wss://box/acp", limits=kind.AcpLimits(connect_ms=ms)) for ms in (1, 2))

    assert (one.asks, "wss://box") == (other.asks, one.provider)
    assert (None, None) == (AcpConfig(command=("a",)).asks, AcpConfig(command=("a",)).provider)


def test_the_limits_of_its_connection_are_read_when_it_is_opened():
    """An edit of another limit opens nothing anew."""
    edited = AcpConfig(url="wss://box/acp", limits=kind.AcpLimits(connect_ms=1, reconnect_ms=2, idle_ms=3))

    assert kind.AcpLimits(connect_ms=1, reconnect_ms=2) == edited.as_opened.limits


def test_state_folders_of_one_machine_are_brokers_of_their_own(monkeypatch):
    """One may stand behind the other."""
    monkeypatch.setenv("ACP_BROKER_HOME", "/one")
    one = hops.here.__wrapped__()
    monkeypatch.setenv("ACP_BROKER_HOME", "/other")

    assert one != hops.here.__wrapped__()
