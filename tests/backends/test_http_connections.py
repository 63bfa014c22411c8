"""Connections that are kept: taken again, closed by their server, and let go."""

from contextlib import AsyncExitStack

import anyio
import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.errors import BackendFailure
from backends.http import client as http_client
from tests.support import apis
from tests.support.chat_player import ended, said
from tests.support.client import DEADLINE_S, FakeClient, turn
from tests.support.clock import FakeClock
from tests.support.provider.wire import chunk, head
from tests.support.writing import Writing, writing

pytestmark = pytest.mark.anyio

HEAD = head(200, "text/event-stream", None, {})
END = chunk(ended("stop")) + chunk(b"")


@pytest.fixture
def clock():
    return FakeClock()


def opened(url: str, clock: FakeClock):
    return apis.CHAT.open(apis.given(clock=clock), baseUrl=url)


async def until_open(server: Writing, count: int) -> None:
    """Wait until the client keeps no more connections than this."""
    with anyio.fail_after(DEADLINE_S):
        while len(server.open) > count:
            server.left = anyio.Event()
            await server.left.wait()


async def test_a_kept_connection_that_its_server_has_closed_costs_nothing(clock):
    """The commonest of all failures: servers close what is idle, some after five seconds."""
    client = FakeClient()
    async with writing(HEAD + chunk(said(content="a duck")) + END) as server, opened(server.url, clock) as backend:
        ends = [(await backend.run(turn(), client)).stop_reason]
        server.end()
        ends += [(await backend.run(turn(), client)).stop_reason]

    assert (["end_turn"] * 2, ["a duck"] * 2, 2) == (ends, client.texts, server.connections)


async def ended_under_a_request(clock, earlier: int, begun: bytes = b"") -> tuple[FailureKind, float | None, int]:
    """Kind and rest of the failure of a request after so many, whose connection ends behind these bytes; and how many
    connections there were."""
    client, failures = FakeClient(), []

    async def run(backend):
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)
        failures.append(raised.value.failure)

    answers = [HEAD + chunk(said(content="a duck")) + END] if earlier else []
    async with writing(*answers) as server, opened(server.url, clock) as backend:
        for _ in range(earlier):
            await backend.run(turn(), client)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, backend)
            await client.until(lambda one: len(one.phases) == earlier + 1)
            await until_open(server, 1)
            await server.say(begun)
            server.end()
    return failures[0].kind, failures[0].retry_after_s, server.connections


async def test_a_kept_connection_that_closes_under_a_request_is_a_failure(clock):
    """Its server may have begun to answer: nothing is sent twice. But the next turn asks it again."""
    assert (FailureKind.UNREACHABLE, 0.0, 1) == await ended_under_a_request(clock, earlier=1)


@pytest.mark.parametrize(("earlier", "begun"), [(0, b""), (1, b"HTTP/1.1 2")])
async def test_a_server_that_leaves_as_it_answers_rests(clock, earlier, begun):
    """A connection of its own, or the beginning of an answer: no idle one was closed by its clock."""
    assert (FailureKind.UNREACHABLE, None, 1) == await ended_under_a_request(clock, earlier, begun)


async def test_connections_of_a_crowded_minute_are_not_kept_for_hours(clock, monkeypatch):
    """Their servers have closed them long ago; here they would stay open."""
    client = FakeClient()
    async with writing(HEAD + chunk(said(content="a duck"))) as server, opened(server.url, clock) as backend:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backend.run, turn(), client)
            tasks.start_soon(backend.run, turn(), client)
            await client.until(lambda one: len(one.texts) == 2)
            monkeypatch.setattr(http_client, "_KEPT_S", -1.0)
            for sock in server.open:
                sock.sendall(END)
        await until_open(server, 0)

    assert 2 == server.connections


async def test_a_connection_that_nobody_used_for_long_is_not_used_again(clock, monkeypatch):
    """Some firewalls forget it and tell nobody: the request would wait for nothing."""
    client = FakeClient()
    async with writing(HEAD + chunk(said(content="a duck")) + END) as server, opened(server.url, clock) as backend:
        await backend.run(turn(), client)
        monkeypatch.setattr(http_client, "_KEPT_S", -1.0)
        await backend.run(turn(), client)

    assert (["a duck"] * 2, 2) == (client.texts, server.connections)


async def test_of_many_connections_at_once_few_are_kept(clock, monkeypatch):
    """Each is a descriptor, here and at the server."""
    monkeypatch.setattr(http_client, "_MOST_IDLE", 1)
    client = FakeClient()
    async with writing(HEAD + chunk(said(content="a duck"))) as server, opened(server.url, clock) as backend:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(backend.run, turn(), client)
            await client.until(lambda one: len(one.texts) == 3)
            for sock in server.open:
                sock.sendall(END)
        await until_open(server, 1)

    assert 3 == server.connections


async def test_what_nobody_uses_any_more_is_closed(clock):
    """Sessions of the same provider share connections; the last one closes them."""
    async with writing(HEAD + chunk(said(content="a duck")) + END) as server:
        async with opened(server.url, clock) as first, opened(server.url, clock):
            await first.run(turn(), FakeClient())
            kept = len(server.open)
        await until_open(server, 0)

    assert (1, {}) == (kept, http_client._pools)


async def test_a_connection_that_is_lent_is_closed_when_it_comes_back_to_nobody(clock):
    """Its session has ended meanwhile."""
    async with writing(HEAD + chunk(said(content="a duck")) + END) as server, AsyncExitStack() as session:
        client = await session.enter_async_context(http_client.connected(server.url, {}))
        async with client.post(f"{server.url}/x", {}, b"{}", lambda: None) as response:
            await session.aclose()
            await response.aread()
        await until_open(server, 0)
