"""Bodies come in chunks, many to one read of the connection: what came together is shown together, or not at all."""

import anyio
import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.errors import BackendFailure
from backends.http.client import Client
from backends.http.clocks import Watch
from backends.http.speaking import Voice
from backends.http.sse import MAX_EVENT_BYTES
from backends.http.turn import Order, _Answer
from backends.openai.chat import ChatDecoder
from tests.support import apis
from tests.support.chat_player import CHAT, ended, said
from tests.support.client import DEADLINE_S, FakeClient, turn
from tests.support.provider.wire import chunk, head
from tests.support.writing import writing

pytestmark = pytest.mark.anyio

HEAD = head(200, "text/event-stream", None, {}) + chunk(CHAT.beginning)
ERROR = b'data: {"error":{"message":"out of memory","type":"server_error","code":500}}\n\n'


async def shown(tools, *writes: bytes) -> tuple[FakeClient, FailureKind | None]:
    client = FakeClient()
    with anyio.fail_after(DEADLINE_S):
        async with writing(*writes) as server, apis.CHAT.open(tools, baseUrl=server.url) as backend:
            try:
                await backend.run(turn(), client)
            except BackendFailure as error:
                return client, error.failure.kind
    return client, None


async def test_the_chunks_of_one_read_are_one_update(tools):
    """A fast server would cost an update, a line in the log and a frame for every token."""
    words = [chunk(said(content=text)) for text in ("a ", "duck ", "quacks")]
    client, failed = await shown(tools, HEAD + b"".join(words) + chunk(ended("stop")) + chunk(b""))

    assert (None, ["a duck quacks"]) == (failed, client.texts)


async def test_words_with_an_error_in_the_same_read_are_not_shown(tools):
    """Nobody has seen anything: another backend may answer instead."""
    client, failed = await shown(tools, HEAD + chunk(said(content="a duck")) + chunk(ERROR))

    assert (FailureKind.SERVER_ERROR, []) == (failed, client.texts)


async def test_an_error_ends_the_turn_while_the_server_keeps_the_connection(tools):
    """It is heard between two reads, and nothing more may ever come."""
    _, failed = await shown(tools, HEAD, chunk(ERROR))

    assert FailureKind.SERVER_ERROR is failed


async def test_an_event_without_an_end_is_no_answer(tools):
    """Its server would fill the memory."""
    part = chunk(b"x" * MAX_EVENT_BYTES)
    _, failed = await shown(tools, HEAD, chunk(b"data: "), part, part)

    assert FailureKind.GARBLED is failed


async def test_those_who_ask_at_once_keep_their_connections(tools):
    """A handshake for every turn of a busy hour would cost more than the answer."""
    async with apis.CHAT.played([[apis.WORDS]], tools) as (backend, server):
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(backend.run, turn(), FakeClient())

    assert (40, 120) == (server.connections, len(server.requests))


async def test_what_comes_with_the_error_that_ends_a_turn_is_not_shown(tools):
    """The reading task may have taken it before it was stopped; another backend answers."""
    client = FakeClient()
    watch = Watch(tools.clock)
    order = Order("http://host", {}, b"", 1, 1)
    answer = _Answer(order, ChatDecoder(), client, Client(None, "host", None), tools.clock, watch, Voice())
    for piece in (ERROR, said(content="a duck")):
        answer._take(piece)
        await anyio.lowlevel.checkpoint()

    assert [] == client.texts
