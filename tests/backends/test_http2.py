"""HTTP/2 against a server that speaks nothing else: answers, ends that only HTTP/2 has, and what is given up."""

import sys

import anyio
import pytest

from acp_broker.contract import CancelAsked
from acp_broker.core.failures import Failure
from acp_broker.errors import BackendFailure
from backends.http import http2
from tests.support import apis
from tests.support.client import DEADLINE_S, FakeClient, turn
from tests.support.clock import FakeClock
from tests.support.http2 import Http2Provider, http2_provider

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(tmp_path):
    async with http2_provider(tmp_path) as found:
        yield found


def opened(server: Http2Provider, clock: FakeClock | None = None):
    tools = apis.given(environment={"SSL_CERT_FILE": str(server.trust)}, clock=clock)
    return apis.CHAT.open(tools, baseUrl=server.url)


async def failure(server: Http2Provider, client: FakeClient) -> Failure:
    async with opened(server) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)
    return raised.value.failure


async def test_an_answer_streams(server):
    """The main job."""
    client = FakeClient()
    async with opened(server) as backend:
        finished = await backend.run(turn(), client)

    assert ("alpha beta ", "end_turn") == ("".join(client.texts), finished.stop_reason)


async def test_turns_share_a_connection(server):
    """Five at once, one handshake."""
    async with opened(server) as backend:
        await backend.run(turn(), FakeClient())
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(backend.run, turn(), FakeClient())

    assert (1, 6, []) == (server.connections, server.streams, server.cancelled)


@pytest.mark.parametrize(
    ("fault", "kind_", "told", "words"),
    [
        ("reset-first", "unreachable", "reset the stream (INTERNAL_ERROR)", ""),
        ("reset-mid", "server_error", "reset the stream (INTERNAL_ERROR)", "alpha beta "),
        ("goaway-first", "unreachable", "closes its connections (ENHANCE_YOUR_CALM)", ""),
        ("goaway-mid", "server_error", "closes its connections (ENHANCE_YOUR_CALM)", "alpha beta "),
    ],
)
async def test_an_end_that_only_http2_has_is_a_failure(server, fault, kind_, told, words):
    """As a connection's that is reset; and half an answer is none."""
    server.fault, client = fault, FakeClient()
    found = await failure(server, client)

    assert (kind_, words, True) == (found.kind.value, "".join(client.texts), told in found.text)


async def test_after_a_goaway_the_next_turn_is_answered(server):
    """By a connection of its own."""
    client = FakeClient()
    async with opened(server) as backend:
        server.fault = "goaway-mid"
        with pytest.raises(BackendFailure):
            await backend.run(turn(), FakeClient())
        server.fault = "good"
        await backend.run(turn(), client)

    assert ("alpha beta ", 2) == ("".join(client.texts), server.connections)


@pytest.mark.parametrize("fault", ["stall-headers", "stall-mid"])
async def test_what_is_cancelled_is_given_up_at_the_server(server, fault):
    """It would write on, and be paid for it; the connection lives on for others."""
    server.fault = fault
    cancel = CancelAsked()
    async with opened(server) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(backend.run, turn(cancel_asked=cancel), FakeClient())
        await server.stalled.wait()
        cancel.set()
        with anyio.fail_after(DEADLINE_S):
            await server.was_cancelled.wait()
        server.fault = "good"
        await backend.run(turn(), FakeClient())

    assert (["CANCEL"], 1) == ([code.name for code in server.cancelled], server.connections)


async def test_what_is_silent_for_too_long_is_given_up_at_the_server(server):
    """A clock ends an attempt as a cancel does."""
    server.fault, clock = "stall-headers", FakeClock()
    async with opened(server, clock) as backend, anyio.create_task_group() as tasks:

        async def run() -> None:
            with pytest.raises(BackendFailure):
                await backend.run(turn(), FakeClient())

        tasks.start_soon(run)
        await server.stalled.wait()
        await clock.advance(181)
        with anyio.fail_after(DEADLINE_S):
            await server.was_cancelled.wait()

    assert ["CANCEL"] == [code.name for code in server.cancelled]


@pytest.mark.parametrize("missing", ["h2", "httpcore2._async.http2"])
def test_without_what_it_needs_http2_is_not_spoken(monkeypatch, missing):
    """HTTP/1.1 does for everybody; a stream that cannot be given up does for nobody."""
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(http2, "find_spec", lambda name: None if name == missing else object())

    assert not http2.is_usable.__wrapped__()
