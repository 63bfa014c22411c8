"""Members that config.json adds to the requests of every kind that asks over HTTP."""

import msgspec
import pytest

from tests.support import apis
from tests.support.apis import BY_KIND, WORDS, Api
from tests.support.client import FakeTools

pytestmark = pytest.mark.anyio

APIS = {**BY_KIND, "anthropic-vertex": apis.CLAUDE_ON_VERTEX}


@pytest.fixture(params=APIS.values(), ids=APIS)
def api(request) -> Api:
    return request.param


@pytest.fixture
def tools() -> FakeTools:
    return apis.given(environment={"GOOGLE_CLOUD_PROJECT": "p"})


async def test_words_are_asked_for_as_they_are(api, tools, client):
    """Compressed they would wait for more of them."""
    _, request = await api.run(tools, client, WORDS)

    assert "identity" == request.headers["accept-encoding"]


async def test_further_members_go_along(api, tools, client):
    """Providers have more settings than anybody could list."""
    added = {"temperature": 0.2, "provider": {"order": ["a", "b"]}}
    without, whole = await api.sent(tools, client), await api.sent(tools, client, body=added)

    assert {**without, **added} == whole


async def test_an_object_is_merged_and_null_takes_away(tools, client):
    """A setting must not cost the broker's own that stands beside it."""
    more = {"generationConfig": {"temperature": 0.2, "thinkingConfig": None}}
    whole = await apis.GEMINI.sent(tools, client, body=more, maxTokens=5, thoughts=True)

    assert {"maxOutputTokens": 5, "temperature": 0.2} == whole["generationConfig"]


async def test_null_takes_a_member_of_the_brokers_away(tools, client):
    """Some servers refuse what they do not know."""
    whole = await apis.CHAT.sent(tools, client, body={"stream_options": None})

    assert {"messages", "stream", "model"} == set(whole)


@pytest.mark.parametrize("name", ["messages", "input", "contents", "stream", "model", "system", "instructions", "n"])
def test_what_the_turn_is_made_of_stays_the_brokers(api, name):
    """A conversation of somebody else's would be answered, or a stream that nobody can read."""
    with pytest.raises(msgspec.ValidationError, match=f"`body.{name}`: the broker writes it"):
        api.config(baseUrl="http://host/v1", body={name: 1})
