"""The healthy fault server: what it says, whom it fails, what it counts, and how it is told."""

import json
import subprocess
import sys
import urllib.request

import pytest

from tests.provider import speech
from tests.provider.asking import APIS, TOOL, ask, post, request
from tests.support.provider import Pace, provider

pytestmark = pytest.mark.anyio

SAYS = "alpha beta gamma delta epsilon"
AT_ONCE = Pace(0, 0)


@pytest.mark.parametrize("api", APIS)
async def test_a_stream_says_its_words_a_token_each(api: str) -> None:
    """One chunk for each: a test can count on where an answer is cut."""
    async with provider(SAYS, pace=AT_ONCE) as server:
        answer = await ask(server, request(api))
    assert ("whole", SAYS) == (answer.ended, speech.words(api, answer))


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_at_once_says_the_same(api: str) -> None:
    async with provider(SAYS, pace=AT_ONCE) as server:
        answer = await ask(server, request(api, stream=False))
    assert SAYS == speech.whole(api, answer.json)


@pytest.mark.parametrize("api", APIS)
async def test_reasoning_that_is_configured_comes_before_the_words(api: str) -> None:
    async with provider(SAYS, pace=AT_ONCE) as server:
        server.thinks = "one two"
        answer = await ask(server, request(api))
    assert ("one two", SAYS) == (speech.thoughts(api, answer), speech.words(api, answer))


@pytest.mark.parametrize("api", APIS)
async def test_a_tool_turn_calls_the_tool_of_the_agent(api: str) -> None:
    """By whatever name it is offered."""
    async with provider(SAYS, "tool-shell", pace=AT_ONCE) as server:
        server.command = "true"
        name, arguments = speech.call(api, (await ask(server, request(api, tools=True))).events)
    told = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert (TOOL, {"command": "true"}) == (name, told)


@pytest.mark.parametrize("api", APIS)
async def test_a_tool_turn_says_its_words_when_the_result_is_there(api: str) -> None:
    """Or it would call for ever."""
    async with provider(SAYS, "tool-shell", pace=AT_ONCE) as server:
        answer = await ask(server, request(api, tools=True, result=True))
    assert SAYS == speech.words(api, answer)


@pytest.mark.parametrize("api", APIS)
async def test_main_fails_the_turn_itself_and_not_its_title(api: str) -> None:
    """Agents ask for a title beside the turn, without tools."""
    async with provider(SAYS, "503", only="main", pace=AT_ONCE) as server:
        statuses = [(await ask(server, request(api, tools=tools))).status for tools in (True, False)]
    assert [503, 200] == statuses


@pytest.mark.parametrize("api", APIS)
async def test_a_longer_request_costs_more(api: str) -> None:
    """As with real ones: no two turns of a session cost the same. Some agents tell old numbers when a stream broke."""
    async with provider(SAYS, pace=AT_ONCE) as server:
        costs = [speech.cost(api, (await ask(server, request(api, tools=tools))).events) for tools in (False, True)]
    assert costs[0] < costs[1]


async def test_requests_are_counted_by_api_and_kind() -> None:
    """That a primary was tried once, or not at all, is often what a test is about."""
    async with provider(SAYS, "503", only="main", pace=AT_ONCE) as server:
        for asked in (request("chat", tools=True), request("chat"), post("/v1/models", b"", "GET")):
            await ask(server, asked)
        counted = (len(server.asked()), len(server.asked(main=True)), len(server.asked("models")))
    assert (2, 1, 1) == counted


async def test_what_was_asked_is_kept_with_its_fault_and_headers() -> None:
    async with provider(SAYS, "503", pace=AT_ONCE) as server:
        await ask(server, request("responses"))
        seen = server.seen[0]
    assert ("/v1/responses", "503", "x") == (seen.path, seen.fault, seen.headers["host"])


async def test_a_fault_holds_from_the_next_request_on() -> None:
    """On the same connection too: agents keep theirs."""
    async with provider(SAYS, pace=AT_ONCE) as server:
        first = await ask(server, request("chat"))
        server.fault = "529"
        second = await ask(server, request("chat"))
    assert (200, 529) == (first.status, second.status)


async def test_a_chunked_request_is_read_to_its_end() -> None:
    """Node's fetch sends one when the body is a stream."""
    body = request("chat").partition(b"\r\n\r\n")[2]
    head = b"POST /chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with provider(SAYS, pace=AT_ONCE) as server:
        await ask(server, head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert body == server.seen[0].body


async def test_what_nobody_knows_gets_a_harmless_answer() -> None:
    """Agents ask for settings, news and telemetry at start."""
    async with provider(SAYS, "503", pace=AT_ONCE) as server:
        answer = await ask(server, post("/api/anything", b"", "GET"))
        kind = server.seen[0].api
    assert (200, b"{}", "other") == (answer.status, answer.body, kind)


def test_the_command_line_says_where_it_is_and_does_what_it_is_told() -> None:
    """For scripts in other languages, and for drills by hand; `refused` leaves the way to undo it."""
    command = [sys.executable, "-m", "tests.support.provider", "--fault", "refused", "--says", SAYS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        base, (_, control) = served.stdout.readline().strip(), served.stdout.readline().split()
        _told(f"{control}/__fault", "529")
        with pytest.raises(urllib.error.HTTPError, match="529"):
            _told(f"{base}/v1/responses", "{}", "POST")
        requests = json.loads(_told(f"{base}/__requests", "", "GET"))
        served.terminate()
    assert (["529"], 0) == ([one["fault"] for one in requests], served.returncode)


def _told(url: str, body: str, method: str = "PUT") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), method=method), timeout=10) as answer:
        return bytes(answer.read())
