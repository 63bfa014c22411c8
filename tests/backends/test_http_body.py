"""Members that config.json adds to the requests of every kind that asks over HTTP."""

from types import ModuleType

import msgspec
import pytest

from backends import anthropic, anthropic_vertex, gemini, openai
from tests.support.chat_player import CHAT, Speech, playing
from tests.support.client import FakeClient, FakeTools, setup, turn
from tests.support.gemini_speech import GEMINI
from tests.support.messages_speech import MESSAGES
from tests.support.provider.wire import Request

pytestmark = pytest.mark.anyio

KINDS = [(openai, CHAT), (anthropic, MESSAGES), (gemini, GEMINI), (anthropic_vertex, MESSAGES)]


@pytest.fixture(params=KINDS, ids=["openai", "anthropic", "gemini", "anthropic-vertex"])
def kind(request) -> tuple[ModuleType, Speech]:
    return request.param


def settings(kind: ModuleType, url: str, **members: object):
    tag = kind.config.__struct_config__.tag
    return msgspec.convert({"kind": tag, "baseUrl": url, "model": "m", **members}, kind.config)


async def sent(kind: tuple[ModuleType, Speech], **members: object) -> dict:
    return msgspec.json.decode((await asked(kind, **members)).body)


async def asked(kind: tuple[ModuleType, Speech], **members: object) -> Request:
    module, speech = kind
    tools = FakeTools(setup=setup("/"), environment={"GOOGLE_CLOUD_PROJECT": "p"})
    async with (
        playing([[{"do": "say", "text": "a"}]], speech) as server,
        module.open(settings(module, server.url, **members), tools) as backend,
    ):
        await backend.run(turn(), FakeClient())
    return server.requests[0]


async def test_words_are_asked_for_as_they_are(kind):
    """Compressed they would wait for more of them."""
    assert "identity" == (await asked(kind)).headers["accept-encoding"]


async def test_further_members_go_along(kind):
    """Providers have more settings than anybody could list."""
    added = {"temperature": 0.2, "provider": {"order": ["a", "b"]}}
    without, whole = await sent(kind), await sent(kind, body=added)

    assert {**without, **added} == whole


async def test_an_object_is_merged_and_null_takes_away():
    """A setting must not cost the broker's own that stands beside it."""
    more = {"generationConfig": {"temperature": 0.2, "thinkingConfig": None}}
    whole = await sent((gemini, GEMINI), body=more, maxTokens=5, thoughts=True)

    assert {"maxOutputTokens": 5, "temperature": 0.2} == whole["generationConfig"]


async def test_null_takes_a_member_of_the_brokers_away():
    """Some servers refuse what they do not know."""
    whole = await sent((openai, CHAT), body={"stream_options": None})

    assert {"messages", "stream", "model"} == set(whole)


@pytest.mark.parametrize("name", ["messages", "input", "contents", "stream", "model", "system", "instructions", "n"])
def test_what_the_turn_is_made_of_stays_the_brokers(kind, name):
    """A conversation of somebody else's would be answered, or a stream that nobody can read."""
    with pytest.raises(msgspec.ValidationError, match=f"`body.{name}`: the broker writes it"):
        settings(kind[0], "http://host/v1", body={name: 1})
