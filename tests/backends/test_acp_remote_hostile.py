"""The `acp` kind over WebSocket with an agent that means no good: what it can do here, and what its end is called."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import backends.acp as kind
from acp_broker.contract import Backend
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from backends.acp import AcpConfig, remote
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, setup, turn
from tests.support.handmade_agent import AGENT, BROKER, HandmadeAgent, served_by_hand

pytestmark = pytest.mark.anyio


@pytest.fixture
def tools(tmp_path: Path) -> FakeTools:
    return FakeTools(setup=setup(str(tmp_path)), environment={})


@asynccontextmanager
async def opened(agent: HandmadeAgent, tools: FakeTools, **members: object) -> AsyncIterator[Backend]:
    with anyio.fail_after(DEADLINE_S):
        async with (
            served_by_hand(agent) as served,
            kind.open(AcpConfig(**{"url": served.url, **members}), tools) as backend,
        ):
            yield backend


async def failure_of(agent: HandmadeAgent, tools: FakeTools, client: FakeClient, **members: object) -> Failure:
    """How opening it fails, or a turn in it."""
    failure: Failure | None = None
    try:
        async with opened(agent, tools, **members) as backend:
            with pytest.raises(BackendFailure) as raised:
                await backend.run(turn(), client)
            failure = raised.value.failure
    except BackendFailure as error:
        failure = error.failure
    assert failure is not None
    return failure


# --- what it asks for


@pytest.mark.parametrize("method", ["fs/read_text_file", "fs/write_text_file", "terminal/create", "terminal/output"])
async def test_an_agent_with_a_folder_of_its_own_gets_nothing_of_this_machine(tools, client, method):
    """It was not offered any of that; one that asks all the same would read files here, or run commands."""

    async def asks(agent: HandmadeAgent, prompt: int) -> None:
        await agent.send(id="ask", method=method, params={"sessionId": "s", "path": "/etc/passwd", "command": "id"})
        await agent.end(prompt)

    agent = HandmadeAgent(asks)
    async with opened(agent, tools, cwd="/srv/work") as backend:
        await backend.run(turn(), client)

    assert ([], [-32601]) == (client.questions, [one["error"]["code"] for one in agent.answers])


async def test_an_agent_that_shares_our_folders_may_ask_for_files(tools):
    """As a local one does."""

    async def asks(agent: HandmadeAgent, prompt: int) -> None:
        await agent.send(id="ask", method="fs/read_text_file", params={"sessionId": "s", "path": "/a"})
        await agent.end(prompt)

    client = FakeClient(replies={"fs/read_text_file": {"content": "words"}})
    agent = HandmadeAgent(asks)
    async with opened(agent, tools) as backend:
        await backend.run(turn(), client)

    assert [{"content": "words"}] == [one["result"] for one in agent.answers]


async def test_a_prompt_of_a_broker_is_not_sent_to_an_agent_that_is_none(tools, client):
    """Another program at its address knows no prompt by its key: it would run it once more."""

    async def answers(agent: HandmadeAgent, prompt: int) -> None:
        if len(agent.connections) == 1:
            await agent.begin()
            await agent.say("half", 1)
            agent.lose()
        else:
            await agent.say("again")
            await agent.end(prompt)

    agent = HandmadeAgent(answers, BROKER, AGENT)
    failure = await failure_of(agent, tools, client)

    assert (FailureKind.CRASHED, ["half"], 1) == (failure.kind, client.texts, agent.methods.count("session/prompt"))
    assert failure.text.startswith("the broker that had the prompt is there no longer")


async def test_what_a_broker_says_before_it_begins_is_of_another_turn(tools, client):
    """One that was given up without a connection ends only now, or somebody over there has prompted."""

    async def answers(agent: HandmadeAgent, prompt: int) -> None:
        await agent.say("theirs", 1)
        await agent.begin("another")
        await agent.say("theirs", 2)
        await agent.begin()
        await agent.say("ours", 3)
        await agent.end(prompt)

    async with opened(HandmadeAgent(answers, BROKER), tools) as backend:
        for _ in range(2):
            await backend.run(turn(), client)

    # The second time all of them are known by their numbers.
    assert (["ours"], ["theirs", "theirs"]) == (client.texts, tools.between.texts)


async def test_a_broker_that_is_lost_each_time_is_given_up(tools, client):
    """It takes the turn up, and its connection ends at once: that is no accident any more."""

    async def loses(agent: HandmadeAgent, _: int) -> None:
        agent.lose()

    agent = HandmadeAgent(loses, BROKER)
    failure = await failure_of(agent, tools, client)

    assert (FailureKind.CRASHED, 1) == (failure.kind, len(set(agent.keys)))
    assert remote.MOST_IN_VAIN + 1 == len(agent.keys) == len(agent.connections)


@pytest.mark.parametrize(("code", "is_tried_again"), [(-32602, False), (-33003, True)])
async def test_a_broker_that_does_not_know_the_session_is_asked_once(tools, client, code, is_tried_again):
    """It is another one, or has lost its state; one that is only busy is asked again."""

    async def loses(agent: HandmadeAgent, _: int) -> None:
        agent.refusal = {"code": code, "message": "no"}
        agent.lose()

    agent = HandmadeAgent(loses, BROKER)
    await failure_of(agent, tools, client, limits=kind.AcpLimits(reconnect_ms=400))

    assert (1, is_tried_again) == (len(agent.keys), len(agent.connections) > 2)


async def test_a_broker_that_is_lost_behind_each_word_is_followed(tools, client):
    """A bad line, and words all the same: as often as it takes."""

    async def says(agent: HandmadeAgent, prompt: int) -> None:
        number = len(agent.connections)
        await agent.begin()
        await agent.say("x", number)
        if number == 2 * remote.MOST_IN_VAIN:
            await agent.end(prompt)
        else:
            agent.lose()

    agent = HandmadeAgent(says, BROKER)
    async with opened(agent, tools) as backend:
        await backend.run(turn(), client)

    assert ["x"] * 2 * remote.MOST_IN_VAIN == client.texts


async def test_a_broker_that_breaks_the_protocol_is_not_asked_again(tools, client):
    """It would do it again."""

    async def breaks(agent: HandmadeAgent, _: int) -> None:
        agent.connections[-1].transport.write(b"\xf1\x02{}")

    agent = HandmadeAgent(breaks, BROKER)
    failure = await failure_of(agent, tools, client)

    assert (FailureKind.GARBLED, 1) == (failure.kind, len(agent.connections))


async def test_a_broker_that_lets_us_in_no_more_is_not_asked_again(tools, client):
    """Its token was changed meanwhile."""

    async def loses(agent: HandmadeAgent, _: int) -> None:
        agent.status = 401
        agent.lose()

    assert FailureKind.AUTH_MISSING == (await failure_of(HandmadeAgent(loses, BROKER), tools, client)).kind


async def test_a_broker_that_hangs_when_it_is_asked_again_is_given_up(tools, client):
    """The connection alone is no help."""

    async def loses(agent: HandmadeAgent, _: int) -> None:
        agent.ignores = "session/load"
        agent.lose()

    failure = await failure_of(HandmadeAgent(loses, BROKER), tools, client, limits=kind.AcpLimits(reconnect_ms=100))

    assert (FailureKind.CRASHED, True) == (failure.kind, "could not be taken up again within 0.1 s" in failure.text)


@pytest.mark.parametrize(
    ("is_followed", "has_spoken", "expected"), [(True, False, "0.05"), (True, True, "0.1"), (False, False, "0.1")]
)
async def test_how_long_it_is_looked_for(tools, client, monkeypatch, is_followed, has_spoken, expected):
    """While another backend can still answer, nobody waits for long."""
    monkeypatch.setattr(remote, "SILENT_S", 0.05)
    monkeypatch.setattr(remote, "SPOKEN_S", 0.1)
    tools.is_followed = is_followed

    async def loses(agent: HandmadeAgent, _: int) -> None:
        agent.status = 503
        if has_spoken:
            await agent.begin()
            await agent.say("half", 1)
        agent.lose()

    failure = await failure_of(HandmadeAgent(loses, BROKER), tools, client)

    assert f"could not be taken up again within {expected} s" in failure.text


async def test_words_of_an_earlier_turn_are_none_of_this_one(tools, client, monkeypatch):
    """Another backend can still answer this one."""
    monkeypatch.setattr(remote, "SILENT_S", 0.05)
    tools.is_followed = True

    async def answers(agent: HandmadeAgent, prompt: int) -> None:
        if len(agent.keys) == 1:
            await agent.begin()
            await agent.say("one", 1)
            await agent.end(prompt)
        else:
            agent.status = 503
            agent.lose()

    async with opened(HandmadeAgent(answers, BROKER), tools) as backend:
        await backend.run(turn(), client)
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)

    assert "within 0.05 s" in raised.value.failure.text


async def test_each_prompt_has_a_key_of_its_own(tools, client):
    """A turn that comes back to it, with what was said elsewhere, is another prompt."""
    agent = HandmadeAgent(HandmadeAgent.end, BROKER)
    async with opened(agent, tools) as backend:
        for _ in range(2):
            await backend.run(turn(), client)

    assert 2 == len(set(agent.keys))


async def test_a_plain_agent_gets_no_key(tools, client):
    """It would mean nothing to it."""
    agent = HandmadeAgent(HandmadeAgent.end)
    async with opened(agent, tools) as backend:
        await backend.run(turn(), client)

    assert [None] == agent.keys


# --- what it sends


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b"\x81\x02\xff\xfe", "sent text that is not UTF-8"),
        (b"\xf1\x02{}", "does not speak WebSocket as RFC 6455 has it"),
        (b"\x81\x82aaaa\x1a\x1c", "does not speak WebSocket as RFC 6455 has it"),
        (b"\x80\x02{}", "does not speak WebSocket as RFC 6455 has it"),
        (b"\x88\x02\x03\xee", "does not speak WebSocket as RFC 6455 has it"),
    ],
)
async def test_what_is_no_websocket_is_garbled(tools, client, frame, said):
    """It is not the network that was at fault: nobody looks for a cable."""

    async def breaks(agent: HandmadeAgent, _: int) -> None:
        await agent.say("half")
        agent.connections[0].transport.write(frame)

    failure = await failure_of(HandmadeAgent(breaks), tools, client)

    assert (FailureKind.GARBLED, True, ["half"]) == (failure.kind, failure.text.endswith(said), client.texts)


async def test_one_that_pings_and_reads_nothing_is_cut_off(tools, client):
    """Each ping is answered, and the answers would fill our memory."""
    tools.max_message_bytes = 250_000

    async def floods(agent: HandmadeAgent, _: int) -> None:
        transport = agent.connections[0].transport
        transport.pause_reading()
        while not transport.is_closing():
            transport.write((b"\x89\x7d" + b"x" * 125) * 500)
            await anyio.lowlevel.checkpoint()

    failure = await failure_of(HandmadeAgent(floods), tools, client)

    assert (FailureKind.CRASHED, True) == (failure.kind, failure.text.endswith("was lost"))


async def test_a_message_of_many_lines_becomes_one(tools, client):
    """Frontends on stdio get it as it came, and there a line is a message."""

    async def says(agent: HandmadeAgent, prompt: int) -> None:
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "pretty"}}
        message = {"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s", "update": update}}
        await agent.connections[0].send(json.dumps(message, indent=2))
        await agent.end(prompt)

    async with opened(HandmadeAgent(says), tools) as backend:
        await backend.run(turn(), client)

    assert (["pretty"], False) == (client.texts, b"\n" in bytes(client.updates[0].params["update"]))


async def test_frames_without_a_word_in_them_are_passed_over(tools, client):
    """Some keep a connection alive with them; and binary ones mean nothing here."""

    async def says(agent: HandmadeAgent, prompt: int) -> None:
        for nothing in ("", " \n", b"\x00"):
            await agent.connections[0].send(nothing)
        await agent.end(prompt)

    async with opened(HandmadeAgent(says), tools) as backend:
        finished = await backend.run(turn(), client)

    assert ("end_turn", []) == (finished.stop_reason, tools.logged)


async def test_what_is_between_two_brokers_reaches_no_frontend(tools, client):
    """An editor is told of its own turns, by its own broker."""

    async def says(agent: HandmadeAgent, prompt: int) -> None:
        for method in ("_acp-broker/turn", "_mine/news"):
            await agent.send(method=method, params={"state": "ended"})
        await agent.end(prompt)

    async with opened(HandmadeAgent(says), tools) as backend:
        await backend.run(turn(), client)

    assert ["_mine/news"] == [method for method, _ in client.told]


# --- how it is left


async def test_its_connection_is_closed_on_the_way_out(tools):
    """It keeps a place over there."""
    agent = HandmadeAgent(HandmadeAgent.end)
    with anyio.fail_after(DEADLINE_S):
        async with served_by_hand(agent):
            async with kind.open(AcpConfig(url=agent.url), tools):
                pass
            await agent.connections[0].wait_closed()

    assert 1 == len(agent.connections)


async def test_one_that_does_not_let_go_of_a_session_is_left_all_the_same(tools):
    """Nobody waits at the end of an editor for a machine that is busy."""
    capabilities = {"sessionCapabilities": {"close": {}}}
    agent = HandmadeAgent(HandmadeAgent.end, {**AGENT, "agentCapabilities": capabilities})
    agent.ignores = "session/close"
    async with opened(agent, tools):
        pass

    assert "session/close" == agent.methods[-1]


async def test_a_turn_is_broken_off_though_it_reads_nothing(tools, client):
    """It never answers our close: the connection is cut."""

    async def stalls(agent: HandmadeAgent, _: int) -> None:
        await agent.say("half")
        agent.connections[0].transport.pause_reading()

    async with opened(HandmadeAgent(stalls), tools) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(backend.run, turn(), client)
        await client.until(lambda one: bool(one.texts))
        tasks.cancel_scope.cancel()

    assert ["half"] == client.texts


# --- what is told of it


@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_the_password_of_a_proxy_is_not_repeated(tools, client, scheme):
    """It stands in its address."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        proxy = f"127.0.0.1:{door.getsockname()[1]}"
    tools.environment = {"HTTPS_PROXY": f"{scheme}me:word@{proxy}"}
    failure = await failure_of(HandmadeAgent(HandmadeAgent.end), tools, client, url="wss://box.example/acp")

    assert f"the proxy {proxy} refuses connections: is it running, and is that its port?" == failure.text


@pytest.mark.parametrize("token", ["one-secret\nword", "one-secret-\N{EURO SIGN}"])
async def test_a_token_that_no_header_can_carry_is_not_repeated(tools, client, token):
    """The library that refuses it quotes it, and the sentence goes into logs and to editors."""
    tools.credential = token
    failure = await failure_of(HandmadeAgent(HandmadeAgent.end), tools, client, auth="box")

    assert (FailureKind.AUTH_REJECTED, False) == (failure.kind, "secret" in failure.text)


async def test_a_name_that_no_host_can_have_is_unreachable(tools, client):
    """Python refuses it before anybody is asked."""
    failure = await failure_of(HandmadeAgent(HandmadeAgent.end), tools, client, url="wss://box..example/acp")

    assert (FailureKind.UNREACHABLE, True) == (failure.kind, failure.text.startswith("no host can have the name box.."))
