"""Servers that answer, but not as anybody would have written it down."""

import gzip
import tracemalloc

import anyio
import msgspec
import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.errors import BackendFailure
from backends.http.sse import MAX_EVENT_BYTES
from tests.support import apis
from tests.support.chat_player import ended, said
from tests.support.client import DEADLINE_S, FakeClient, turn
from tests.support.clock import FakeClock
from tests.support.provider.wire import chunk, head
from tests.support.writing import writing

pytestmark = pytest.mark.anyio

HEAD = head(200, "text/event-stream", None, {})
WHOLE = b'{"choices": [{"message": {"content": "a duck"}, "finish_reason": "stop"}]}'
END = chunk(ended("stop")) + chunk(b"")


@pytest.fixture
def clock():
    return FakeClock()


def opened(url: str, clock: FakeClock, **members: object):
    return apis.CHAT.open(apis.given(clock=clock), baseUrl=url, **members)


async def told(clock, *writes: bytes, **members: object) -> tuple[str, str]:
    """What was shown, and how the turn ended."""
    client = FakeClient()
    with anyio.fail_after(DEADLINE_S):
        async with writing(*writes) as server, opened(server.url, clock, **members) as backend:
            try:
                end = (await backend.run(turn(), client)).stop_reason
            except BackendFailure as error:
                end = error.failure.kind.value
    return "".join(client.texts), end


async def test_a_turn_leaves_no_clock_behind(clock):
    """A thousand turns an hour would leave as many."""
    await told(clock, HEAD + chunk(said(content="a duck")) + END)

    assert [] == clock.armed


TYPES = ["application/json", "Application/JSON", "application/json; charset=utf-8", "text/plain", "text/event-stream"]


@pytest.mark.parametrize("called", TYPES)
async def test_a_whole_answer_is_one_whatever_it_is_called(clock, called):
    """Gateways put their own name on what others have answered."""
    assert ("a duck", "end_turn") == await told(clock, head(200, called, None, {}) + chunk(WHOLE) + chunk(b""))


@pytest.mark.parametrize("called", TYPES)
async def test_a_stream_is_one_whatever_it_is_called(clock, called):
    """It is told by what it begins with."""
    answer = head(200, called, None, {}) + chunk(said(content="a duck")) + END

    assert ("a duck", "end_turn") == await told(clock, answer)


async def test_a_whole_answer_may_take_its_time(clock):
    """DeepSeek sends empty lines while it waits; others write JSON for people."""
    pretty = msgspec.json.format(WHOLE, indent=2)
    answer = head(200, "application/json", None, {}) + b"".join(map(chunk, [b"\n", b"\n\n", pretty])) + chunk(b"")

    assert ("a duck", "end_turn") == await told(clock, answer)


CARELESS = {
    "a letter that is cut in two": (b"a \xf0\x9f duck", "a \ufffd duck"),
    "half of a pair of surrogates": (b"a \\ud83e duck", "a \ufffd duck"),
    "a tab as it is": (b"a\tduck", "a\tduck"),
}


@pytest.mark.parametrize("what", CARELESS)
async def test_words_are_not_lost_for_a_careless_letter(clock, what):
    """One letter is unreadable; the answer around it is not."""
    written, expected = CARELESS[what]
    event = b'data: {"choices":[{"delta":{"content":"%b"},"logprobs":NaN}]}\n\n' % written

    assert (expected, "end_turn") == await told(clock, HEAD + chunk(event) + END)


async def test_only_one_of_several_answers_is_shown(clock):
    """Two of them, word by word in turn, are none."""
    choices = [{"index": 0, "delta": {"content": "a duck"}}, {"index": 1, "delta": {"content": "a goose"}}]
    both = b"data: %b\n\n" % msgspec.json.encode({"choices": choices})

    assert ("a duck", "end_turn") == await told(clock, HEAD + chunk(both) + END)


@pytest.mark.parametrize("deep", [b'{"a":' * 100_000, b"[" * 100_000, b'{"a":NaN,"choices":' + b"[" * 100_000])
async def test_what_is_nested_without_end_is_no_answer(clock, deep):
    """It must not cost more than its own turn."""
    assert ("", "garbled") == await told(clock, HEAD + chunk(b"data: " + deep + b"\n\n") + END)


async def test_what_makes_no_sense_is_told_fit_for_a_screen(clock):
    """It may quote the key, or move the reader's cursor."""
    sent = chunk(b"data: \x1b[2Jkey sk-abcdefghijkl\n\n") + END
    async with writing(HEAD + sent) as server, opened(server.url, clock) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), FakeClient())

    assert "it sent what is no part of an answer: key [redacted]" == raised.value.failure.text


async def test_blanks_behind_the_last_event_are_no_event(clock):
    """Some write them."""
    end = ended("stop").replace(b"[DONE]", b"[DONE] ")

    assert ("a duck", "end_turn") == await told(clock, HEAD + chunk(said(content="a duck") + end) + chunk(b""))


@pytest.mark.parametrize(("end", "within_s"), [(ended("stop").partition(b"data: [DONE]")[0], 5), (ended("stop"), 0.2)])
async def test_keep_alives_behind_the_end_do_not_prolong_it(clock, end, within_s):
    """The answer is whole: nobody waits for a server that only says that it lives."""
    client, ends = FakeClient(), []

    async def run(backend):
        ends.append((await backend.run(turn(), client)).stop_reason)

    answer = HEAD + chunk(said(content="a duck") + end)
    with anyio.fail_after(DEADLINE_S):
        async with (
            writing(answer) as server,
            opened(server.url, clock) as backend,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(run, backend)
            await client.until(lambda one: one.texts)
            for _ in range(9):
                await server.say(chunk(b": still here\n\n"))
                await clock.advance(within_s / 10)
            is_early = bool(ends)
            await clock.advance(within_s / 9)

    assert (False, ["end_turn"]) == (is_early, ends)


async def test_an_error_does_not_wait_for_its_last_words(clock):
    """Its head has said what is the matter, and how long to wait; the next backend is ready."""
    client, failed = FakeClient(), []
    refusal = head(429, "application/json", None, {"retry-after": "7"}) + chunk(b'{"error": {"message": "slow')

    async def run(backend):
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)
        failed.append(raised.value.failure)

    async with writing(refusal) as server, opened(server.url, clock) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(run, backend)
        await client.until(lambda one: one.phases)
        with anyio.fail_after(DEADLINE_S):
            while not failed:
                await clock.advance(0.5)

    assert [(FailureKind.RATE_LIMITED, 7.0)] == [(one.kind, one.retry_after_s) for one in failed]


async def test_what_unfolds_without_end_does_not_fill_the_memory(clock):
    """Compressed, though nobody asked for that: a letter becomes a thousand."""
    bomb = gzip.compress(b"\0" * (4 * MAX_EVENT_BYTES), 6)
    head_of_it = head(200, "text/event-stream", len(bomb), {"content-encoding": "gzip"})
    tracemalloc.start()
    try:
        found = await told(clock, head_of_it + bomb)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (("", "garbled"), True) == (found, most < 3 * MAX_EVENT_BYTES)


async def test_words_between_words_and_an_error_are_shown(clock):
    """The person is reading already: what came is theirs."""
    client, failed = FakeClient(), []

    async def run(backend):
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)
        failed.append(raised.value.failure.kind)

    error = b'data: {"error": {"message": "Overloaded", "code": 503}}\n\n'
    async with (
        writing(HEAD + chunk(said(content="a "))) as server,
        opened(server.url, clock) as backend,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(run, backend)
        await client.until(lambda one: one.texts)
        await server.say(chunk(said(content="duck") + error))

    assert (["a ", "duck"], [FailureKind.OVERLOADED]) == (client.texts, failed)


async def test_words_behind_the_finish_reason_are_waited_for(clock):
    """Some tell it with the first words, or early; what goes on has not ended."""
    client, ends = FakeClient(), []
    end = ended("stop").partition(b"data: [DONE]")[0]

    async def run(backend):
        ends.append((await backend.run(turn(), client)).stop_reason)

    with anyio.fail_after(DEADLINE_S):
        async with (
            writing(HEAD + chunk(said(content="0") + end)) as server,
            opened(server.url, clock) as backend,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(run, backend)
            for number in range(1, 4):
                await client.until(lambda one, heard=number: len(one.texts) == heard)
                await clock.advance(4.9)
                await server.say(chunk(said(content=str(number))))
            await client.until(lambda one: len(one.texts) == 4)
            is_early = bool(ends)
            await clock.advance(5.1)

    assert (False, "0123", ["end_turn"]) == (is_early, "".join(client.texts), ends)


async def test_a_reset_behind_the_end_is_no_failure(clock):
    """The answer is whole; nobody needs the rest."""
    client, ends = FakeClient(), []

    async def run(backend):
        ends.append((await backend.run(turn(), client)).stop_reason)

    answer = HEAD + chunk(said(content="a duck") + ended("stop"))
    async with writing(answer) as server, opened(server.url, clock) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(run, backend)
        await client.until(lambda one: one.texts)
        server.reset()

    assert ["end_turn"] == ends


async def test_a_page_is_one_in_pieces(clock):
    """A captive portal writes it line by line, and calls it anything."""
    page = chunk(b"<!DOCTYPE html><html>") + chunk(b"<title>Log in</title>") + chunk(b"")

    assert ("", "garbled") == await told(clock, head(200, "text/plain", None, {}) + page)


async def test_an_object_that_is_no_answer_is_read_as_an_error(clock):
    """A gateway's own words, with status 200."""
    said_so = chunk(b'{"message": "Too many requests", "status": 429}') + chunk(b"")

    assert ("", "rate_limited") == await told(clock, head(200, "application/json", None, {}) + said_so)


async def test_an_object_that_is_no_answer_is_what_ones_own_row_says(clock):
    """Nobody else knows that gateway's words."""
    said_so = (
        head(200, "application/json", None, {}) + chunk(b'{"message": "Too many requests: queue is full"}') + chunk(b"")
    )

    assert ("", "overloaded") == await told(clock, said_so, failures=[{"text": "queue is full", "kind": "overloaded"}])


async def test_a_filter_that_is_told_as_an_error_behind_words_ends_the_answer(clock):
    """Whatever is written behind it was not meant for anybody."""
    client, ends = FakeClient(), []

    async def run(backend):
        ends.append((await backend.run(turn(), client)).stop_reason)

    filtered = b'data: {"error": {"message": "filtered", "code": "content_filter"}}\n\n'
    async with (
        writing(HEAD + chunk(said(content="a duck"))) as server,
        opened(server.url, clock) as backend,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(run, backend)
        await client.until(lambda one: one.texts)
        await server.say(chunk(filtered))
        await clock.advance(0.1)
        await server.say(chunk(said(content=" quacks")) + chunk(b""))

    assert (["a duck"], ["refusal"]) == (client.texts, ends)
