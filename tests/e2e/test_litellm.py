"""The LiteLLM proxy between the broker and a provider that fails: what of a failure comes through."""

from functools import partial
from types import ModuleType
from typing import NamedTuple

import msgspec
import pytest

from backends import anthropic, openai
from tests.support.answered import listening
from tests.support.harness import house
from tests.support.litellm import KEY, litellm
from tests.support.served_provider import fails, served

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare here"}]]}
SAYS = "alpha beta gamma delta"
CUT = "alpha beta gamma "

# Fault -> what the primary is said to have failed by, before its first word.
BEFORE = {
    "429": "rate_limited",
    "500": "server_error",
    "401": "auth_rejected",
    "402": "billing",
    "404": "model_not_found",
    "refused": "unreachable",
    "reset-headers": "unreachable",
    "empty": "empty_turn",
}


class Api(NamedTuple):
    """A kind, its entry of config.json, and what it makes of the faults that each API tells in its own way."""

    kind: ModuleType
    entry: dict[str, object]
    overloaded: str
    first: dict[str, str]

    def primary(self, url: str):
        path = "" if self.kind is anthropic else "/v1"
        entry = {**self.entry, "baseUrl": f"{url}{path}", "headers": {"x-litellm-api-key": f"Bearer {KEY}"}}
        return partial(self.kind.open, msgspec.convert(entry, self.kind.config))


APIS = {
    "chat": Api(
        openai,
        {"kind": "openai", "model": "chat"},
        "overloaded",
        {"err-first": "unreachable", "eof-first": "empty_turn"},
    ),
    "responses": Api(
        openai,
        {"kind": "openai", "api": "responses", "model": "chat"},
        "overloaded",
        {"err-first": "server_error", "eof-first": "unreachable"},
    ),
    "anthropic": Api(
        anthropic,
        {"kind": "anthropic", "model": "claude"},
        "server_error",
        {"err-first": "overloaded", "eof-first": "server_error"},
    ),
}


class Proxy(NamedTuple):
    url: str
    control: str


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    # Words and an error that come at once have shown nothing: LiteLLM is to have passed on the words before.
    with served(SAYS, between=0.04) as (url, control, _):
        models = {
            "chat": {"model": "openai/drill-model", "api_base": f"{url}/v1", "api_key": "none"},
            "claude": {"model": "anthropic/drill-model", "api_base": url, "api_key": "none"},
        }
        with litellm(tmp_path_factory.mktemp("litellm"), models) as running:
            yield Proxy(running.url, control)


@pytest.fixture(params=APIS)
def api(request) -> Api:
    return APIS[request.param]


async def one_turn(tmp_path, api: Api, proxy: Proxy, fault: str):
    fails(proxy.control, fault)
    async with house(tmp_path, primary=api.primary(proxy.url), spare=SPARE) as home:
        editor = await listening(home)
        return await editor.prompted(await editor.new())


def said(turn) -> str:
    return "".join(words.removeprefix("say ") for words in turn.words)


async def test_a_healthy_answer_comes_through(tmp_path, api, proxy):
    """Chat Completions, Responses and Messages, as a proxy tells them that has read them in another form."""
    turn = await one_turn(tmp_path, api, proxy, "good")

    assert (SAYS, "end_turn", ["primary"]) == (said(turn), turn.outcome, turn.attempts)


@pytest.mark.parametrize("fault", BEFORE)
async def test_a_failure_before_words_keeps_its_kind(tmp_path, api, proxy, fault):
    """It is told in LiteLLM's words, with the provider's inside."""
    turn = await one_turn(tmp_path, api, proxy, fault)

    assert ("spare here", [f"primary {BEFORE[fault]}", "spare"]) == (said(turn), turn.attempts)


async def test_an_overload_is_followed(tmp_path, api, proxy):
    """503 with OpenAI's words for it, or with Anthropic's for any error."""
    turn = await one_turn(tmp_path, api, proxy, "503")

    assert ("spare here", [f"primary {api.overloaded}", "spare"]) == (said(turn), turn.attempts)


@pytest.mark.parametrize("fault", ["err-first", "eof-first"])
async def test_a_stream_that_fails_before_words_is_followed(tmp_path, api, proxy, fault):
    """LiteLLM tells some of these as a lost connection of its own, or as an answer with nothing in it."""
    turn = await one_turn(tmp_path, api, proxy, fault)

    assert ("spare here", [f"primary {api.first[fault]}", "spare"]) == (said(turn), turn.attempts)


async def test_a_malformed_request_ends_the_turn(tmp_path, api, proxy):
    """LiteLLM itself would walk its own fallbacks with it."""
    turn = await one_turn(tmp_path, api, proxy, "400")

    assert (-33001, ["primary bad_request"]) == (turn.outcome, turn.attempts)


@pytest.mark.parametrize("fault", ["err-mid", "reset-mid"])
async def test_a_stream_that_fails_behind_words_keeps_them(tmp_path, api, proxy, fault):
    """They were read."""
    turn = await one_turn(tmp_path, api, proxy, fault)

    assert (CUT, -33002, 1) == (said(turn), turn.outcome, len(turn.attempts))


@pytest.mark.parametrize(("name", "outcome"), [("chat", "end_turn"), ("responses", -33002), ("anthropic", -33002)])
async def test_a_stream_that_just_ends_is_finished_by_litellm_in_one_api(tmp_path, proxy, name, outcome):
    """In Chat Completions it makes up a finish reason for it: nobody behind it can know. Others tell the truth."""
    turn = await one_turn(tmp_path, APIS[name], proxy, "eof-mid")

    assert (CUT, outcome) == (said(turn), turn.outcome)
