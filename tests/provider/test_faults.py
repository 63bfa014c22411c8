"""Each fault of the fault server is really what its name says: the bytes, and how the connection ends."""

import socket

import anyio.to_thread
import pytest

from tests.provider import speech
from tests.provider.asking import APIS, Heard, ask, request
from tests.support.provider import NAMES, Pace, provider
from tests.support.provider.faults import CUTS, ODD_CUTS, REFUSALS, STATUSES, named

pytestmark = pytest.mark.anyio

SAYS = "alpha beta gamma delta epsilon"
AT_ONCE = Pace(0, 0)
# By fault: how the answer to a stream ends, and what was said; then how one ends that was not asked as a stream.
ENDS = {
    "reset-headers": ("reset", "", "reset"),
    "stall-headers": ("silent", "", "silent"),
    "err-first": ("whole", "", "whole"),
    "eof-first": ("whole", "", "short"),
    "stall-first": ("silent", "", "silent"),
    "think-reset": ("reset", "", "reset"),
    "err-mid": ("whole", "alpha beta gamma ", "whole"),
    "reset-mid": ("reset", "alpha beta gamma ", "reset"),
    "eof-mid": ("whole", "alpha beta gamma ", "short"),
    "stall-mid": ("silent", "alpha beta gamma ", "silent"),
    "eof-headers": ("short", "", "short"),
    "stall-open": ("silent", "", "silent"),
    "reset-open": ("reset", "", "reset"),
    "eof-open": ("whole", "", "short"),
    "err-role": ("whole", "", "whole"),
}
# An event that only a finished answer has.
ENDINGS = {"anthropic": "message_stop", "chat": "[DONE]", "responses": "response.completed", "gemini": "finishReason"}


async def heard(fault: str, api: str, **how: bool) -> Heard:
    async with provider(SAYS, fault, pace=AT_ONCE) as server:
        return await ask(server, request(api, **how))


def test_every_cut_is_held_to_its_name() -> None:
    """A fault that nobody checks is a test elsewhere that proves nothing."""
    assert sorted(CUTS | ODD_CUTS) == sorted(ENDS)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ENDS)
async def test_a_stream_ends_as_the_fault_says(fault: str, api: str) -> None:
    """A reset is not an end of file is not silence: agents treat each in their own way."""
    answer = await heard(fault, api)
    assert ENDS[fault][:2] == (answer.ended, speech.words(api, answer))


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ENDS)
async def test_a_stream_that_fails_never_looks_finished(fault: str, api: str) -> None:
    """The terminator is how a client knows that it has everything."""
    answer = await heard(fault, api)
    assert ENDINGS[api].encode() not in answer.body


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ENDS)
async def test_an_answer_at_once_breaks_where_the_fault_says(fault: str, api: str) -> None:
    """Some agents do not stream: for them the same faults break the body."""
    answer = await heard(fault, api, stream=False)
    assert ENDS[fault][2] == answer.ended


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", STATUSES)
async def test_a_status_comes_with_an_error_as_the_provider_writes_it(fault: str, api: str) -> None:
    """Agents read the body as much as the status."""
    answer = await heard(fault, api)
    assert (named(fault).status, True) == (answer.status, len(answer.json["error"]["message"]) > 5)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", REFUSALS)
async def test_a_refusal_is_told_as_its_provider_tells_it(fault: str, api: str) -> None:
    """Three 400s and 429s mean three things: the words, the code, or what Gemini says with a 200."""
    told, plain = await heard(fault, api), await heard(str(REFUSALS[fault]), api)
    assert (True, "[DONE]" in str(plain.body)) == (told.json != plain.json, False)


async def test_a_broken_event_stands_in_the_middle_of_a_whole_answer() -> None:
    """Whoever passes over it shows every word."""
    body = (await heard("garbled-mid", "chat")).body
    broken = body.index(b'"content": \n')
    assert (True, True) == (body.index(b'"gamma ') < broken < body.index(b'"delta '), body.rstrip().endswith(b"[DONE]"))


async def test_a_stream_without_its_last_mark_has_all_but_that() -> None:
    """Some servers never send it."""
    body = (await heard("no-done", "chat")).body
    assert (True, False) == (b'"finish_reason":"stop"' in body, b"[DONE]" in body)


async def test_who_leaves_before_the_end_is_counted() -> None:
    """What a broker has given up it must close: somebody pays for the words that nobody reads."""
    async with provider(SAYS, "stall-mid", pace=AT_ONCE) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(request("chat"))
            await server.silent()
            before = server.left
        await server.until_left()
    assert (0, 1) == (before, server.left)


@pytest.mark.parametrize(("fault", "expected"), [("429;ra=2", "2"), ("429", None)])
async def test_a_retry_after_is_sent_when_it_is_named(fault: str, expected: str | None) -> None:
    """Agents wait for as long as it says."""
    answer = await heard(fault, "chat")
    assert expected == answer.headers.get("retry-after")


async def test_gemini_tells_the_delay_in_the_body_too() -> None:
    """That is where its clients look."""
    answer = await heard("429;ra=7", "gemini")
    assert "7s" == answer.json["error"]["details"][-1]["retryDelay"]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ["err-first", "err-mid"])
async def test_an_error_event_ends_the_stream(fault: str, api: str) -> None:
    """It is the last thing that comes, and says that it is an error."""
    answer = await heard(fault, api)
    assert "error" in str(answer.events[-1])


@pytest.mark.parametrize("api", APIS)
async def test_reasoning_is_cut_after_three_words(api: str) -> None:
    """A thought may have been shown by then, and no word of the answer."""
    answer = await heard("think-reset", api)
    assert "Weighing the question " == speech.thoughts(api, answer)


@pytest.mark.parametrize("api", APIS)
async def test_an_empty_answer_is_well_formed_and_says_nothing(api: str) -> None:
    """It has its terminator: only its emptiness is wrong."""
    answer = await heard("empty", api)
    assert ("", True) == (speech.words(api, answer), ENDINGS[api].encode() in answer.body)


@pytest.mark.parametrize("api", APIS)
async def test_garbage_is_a_page_with_status_200(api: str) -> None:
    """As a captive portal or a proxy sends it."""
    answer = await heard("garbage", api)
    assert (200, "text/html", b"<html>") == (answer.status, answer.headers["content-type"], answer.body[:6])


async def test_refused_is_a_closed_port() -> None:
    """ECONNREFUSED, not a connection that is accepted and dropped."""
    async with provider(SAYS, "refused") as server:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


async def test_a_port_that_was_refused_opens_again_at_the_same_number() -> None:
    """The agents were told the number once."""
    async with provider(SAYS, "refused", pace=AT_ONCE) as server:
        server.fault = "good"
        answer = await ask(server, request("chat"))
    assert SAYS == speech.words("chat", answer)


async def test_to_refuse_ends_the_connections_that_exist() -> None:
    """A kept-alive connection to a dead process is no way around it."""
    async with provider(SAYS, "stall-first", pace=AT_ONCE) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(request("chat"))
            await server.silent()
            server.fault = "refused"
            sock.settimeout(5)
            told = await anyio.to_thread.run_sync(_to_the_end, sock)
    assert (True, False) == (told.startswith(b"HTTP/1.1 200"), told.endswith(b"0\r\n\r\n"))


@pytest.mark.parametrize("name", ["", "503;ra=", "200", "tool", "429;ra=x", "reset"])
def test_a_fault_that_does_not_exist_is_refused(name: str) -> None:
    """A misspelt fault would be a healthy provider, and a green test."""
    with pytest.raises(ValueError, match="no such fault"):
        named(name)


def test_every_name_is_a_fault() -> None:
    assert list(NAMES) == [named(name).name for name in NAMES]


def _to_the_end(sock: socket.socket) -> bytes:
    told = b""
    while data := sock.recv(1 << 16):
        told += data
    return told
