"""The `openai` kind against servers that speak Chat Completions, healthy and odd."""

import anyio
import msgspec
import pytest

from acp_broker.contract import CancelAsked
from acp_broker.core.failures import FailureKind
from acp_broker.core.handoff import Said
from acp_broker.core.history import Exchange
from acp_broker.core.names import TurnId
from backends.openai import OpenAIConfig
from tests.backends.contract import ApiContract
from tests.support import apis
from tests.support.apis import KEY, WORDS, given, stream, whole
from tests.support.chat_player import ended, said
from tests.support.client import DEADLINE_S, body, plain, prompted, raw, turn

pytestmark = pytest.mark.anyio

API = apis.CHAT
run, failure, sent = API.run, API.failure, API.sent


class TestOpenAI(ApiContract):
    api = API


async def test_words_and_thoughts_are_two_messages(tools, client):
    """A frontend shows them apart, and joins what has one id."""
    await run(tools, client, {"do": "think", "text": "hm"}, WORDS, {"do": "say", "text": "!"})
    ids = {update.kind: update.message_id for update in client.updates}

    assert (2, {"agent_thought_chunk", "agent_message_chunk"}) == (len(set(ids.values())), set(ids))


async def test_usage_is_in_the_answer(tools, client):
    """In ACP's own words."""
    finished, _ = await run(tools, client, WORDS)

    assert {"totalTokens": 10, "inputTokens": 7, "outputTokens": 3} == plain(finished.answer)["usage"]


async def test_how_full_the_context_is_is_shown_where_its_size_is_known(tools, client):
    """A gauge without a scale helps nobody."""
    await run(tools, client, WORDS, contextWindow=100)

    assert {"sessionUpdate": "usage_update", "used": 10, "size": 100} == body(client.updates[-1])


async def test_what_a_session_has_cost_is_shown_and_no_part_of_the_tokens(tools, client):
    """OpenRouter tells the price of each answer; ACP's `usage` has no place for it."""
    end = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":10,"cost":0.25}}\n\n'
    steps = [stream(said(content="a"), end)]
    async with API.played([steps], tools, contextWindow=100) as (backend, _):
        finished = [await backend.run(turn(), client) for _ in range(2)]
    shown = [body(update)["cost"] for update in client.updates if update.kind == "usage_update"]

    assert [{"amount": 0.25, "currency": "USD"}, {"amount": 0.5, "currency": "USD"}] == shown
    assert {"totalTokens", "inputTokens", "outputTokens"} == set(plain(finished[0].answer)["usage"])


async def test_a_limit_of_tokens_is_max_tokens(tools, client):
    """The answer is no failure, and it is not whole."""
    finished, _ = await run(tools, client, WORDS, {"do": "end", "stopReason": "max_tokens"})

    assert "max_tokens" == finished.stop_reason


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([said(content="a"), b"data: [DONE]\n\n"], FailureKind.SERVER_ERROR),
        ([said(content="a"), b"data: {oops\n\n"], FailureKind.GARBLED),
        ([said(content="a"), b'data: {"error": {"message": "Overloaded", "code": 503}}\n\n'], FailureKind.OVERLOADED),
        ([b'data: {"error": "model requires more system memory"}\n\n'], FailureKind.SERVER_ERROR),
        ([ended("content_filter")], FailureKind.GUARDRAIL),
        ([ended("error")], FailureKind.SERVER_ERROR),
        ([ended("stop")], FailureKind.EMPTY_TURN),
        ([said(content=" \n"), ended("stop")], FailureKind.EMPTY_TURN),
        ([b": keep-alive\n\n" * 9], FailureKind.SERVER_ERROR),
    ],
)
async def test_a_stream_without_a_good_end_is_a_failure(tools, client, parts, expected):
    """However it looks, half an answer is never reported as a whole one."""
    found = await failure(tools, client, stream(*parts))

    assert expected == found.kind


async def test_words_that_an_error_follows_at_once_are_not_shown(tools, client):
    """They came in one read: nothing is lost when another backend answers."""
    await failure(tools, client, stream(said(content="a"), b'data: {"error": {"message": "no"}}\n\n'))

    assert [] == client.texts


async def test_a_filter_behind_words_is_a_refusal(tools, client):
    """The person has read them."""
    finished, _ = await run(tools, client, stream(said(content="a"), ended("content_filter")))

    assert "refusal" == finished.stop_reason


async def test_a_refusal_in_words_is_one(tools, client):
    """OpenAI ends it as if it were an answer."""
    finished, _ = await run(tools, client, stream(said(refusal="I will not."), ended("stop")))

    assert (["I will not."], "refusal") == (client.texts, finished.stop_reason)


async def test_a_server_that_does_not_stream_is_understood(tools, client):
    """Some answer whole, whatever they are asked for."""
    answer = {"choices": [{"message": {"role": "assistant", "content": "all"}, "finish_reason": "stop"}]}
    finished, _ = await run(tools, client, whole(answer))

    assert (["all"], "end_turn") == (client.texts, finished.stop_reason)


async def test_a_redirect_is_not_followed(tools, client):
    """It would hand the conversation and the key to somebody whom nobody named."""
    found = await failure(tools, client, {"do": "answer", "status": 308, "type": "text/plain", "body": ""})

    assert FailureKind.UNREACHABLE == found.kind


async def test_the_key_is_sent_to_the_provider_alone(client):
    """As OpenAI wants it, and in no other place."""
    _, request = await run(given(credential=KEY), client, WORDS)

    assert (f"Bearer {KEY}", False) == (request.headers["authorization"], KEY.encode() in request.body)


async def test_without_a_key_none_is_sent(tools, client):
    """Local servers take none."""
    _, request = await run(tools, client, WORDS)

    assert "authorization" not in request.headers


async def test_a_provider_that_needs_a_key_is_not_asked_without(tools):
    """Nobody waits for a refusal that is certain."""
    found = await API.refusal(tools, preset="openai")

    assert FailureKind.AUTH_MISSING == found.kind


async def test_what_it_is_can_be_asked_without_a_key():
    """Nobody is called for that; `init` and a first connection ask."""
    async with API.open(given(setup=None), preset="openai") as backend:
        assert b'"openai"' in bytes(backend.about.initialized)


async def test_a_key_with_a_line_break_is_told(client):
    """It would end the header, and begin another."""
    found = await failure(given(credential="key\nx-evil: 1"), client, WORDS)

    assert FailureKind.AUTH_MISSING == found.kind


async def test_history_is_a_conversation(tools, client):
    """With the system prompt before it, and the prompt behind."""
    past = Exchange(raw([{"type": "text", "text": "what is it?"}]), Said(TurnId("t"), "what is it?", "a duck"))
    body = await sent(tools, client, prompted([{"type": "text", "text": "sure?"}], (past,)), system="Be brief.")

    assert [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "what is it?"},
        {"role": "assistant", "content": "a duck"},
        {"role": "user", "content": "sure?"},
    ] == body["messages"]


async def test_content_is_mapped_as_the_api_allows(tools, client):
    """Images, audio, embedded text, links."""
    blocks = [
        {"type": "text", "text": "look"},
        {"type": "image", "data": "aW1n", "mimeType": "image/png"},
        {"type": "audio", "data": "d2F2", "mimeType": "audio/wav"},
        {"type": "resource", "resource": {"uri": "file:///a.txt", "text": "inside"}},
        {"type": "resource_link", "uri": "file:///b.txt", "name": "b.txt"},
    ]
    body = await sent(tools, client, prompted(blocks), audio=True)

    assert [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aW1n"}},
        {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}},
        {"type": "text", "text": '<resource uri="file:///a.txt">\ninside\n</resource>'},
        {"type": "text", "text": "[link: b.txt file:///b.txt]"},
    ] == body["messages"][0]["content"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "resource", "resource": {"uri": "file:///a.zip", "blob": "UEs=", "mimeType": "application/zip"}},
        {"type": "image", "data": "", "mimeType": "image/png", "uri": "file:///a.png"},
        {"type": "audio", "data": "b2dn", "mimeType": "audio/ogg"},
    ],
)
async def test_what_the_api_has_no_place_for_is_unsupported(tools, client, block):
    """Another backend may take it; this one must not answer without having seen it."""
    found = await failure(tools, client, WORDS, order=prompted([block]), audio=True)

    assert FailureKind.UNSUPPORTED == found.kind


@pytest.mark.parametrize(("preset", "name"), [("openai", "max_completion_tokens"), ("vllm", "max_tokens")])
async def test_the_limit_of_an_answer_is_named_as_the_server_knows_it(client, preset, name):
    """OpenAI's newer models refuse the older name."""
    body = await sent(given(credential=KEY), client, preset=preset, maxTokens=5)

    assert 5 == body[name]


@pytest.mark.parametrize(
    ("preset", "is_token", "expected"),
    [
        ("azure", False, {"api-key": KEY}),
        ("azure", True, {"authorization": f"Bearer {KEY}"}),
        ("groq", False, {"authorization": f"Bearer {KEY}"}),
    ],
)
async def test_a_key_goes_where_its_provider_looks(client, preset, is_token, expected):
    """Azure knows keys of its own, and tokens of its directory."""
    _, request = await run(given(credential=KEY, is_token=is_token), client, WORDS, preset=preset)
    found = {name: value for name, value in request.headers.items() if name in ("authorization", "api-key")}

    assert expected == found


async def test_mistral_is_asked_for_no_usage(client):
    """It refuses the member, and tells the usage unasked."""
    body = await sent(given(credential=KEY), client, preset="mistral")

    assert "stream_options" not in body


async def test_connections_are_kept(tools, client):
    """The second turn pays for no handshake."""
    async with API.played([[WORDS]], tools) as (backend, server):
        await backend.run(turn(), client)
        await backend.run(turn(), client)
        connections = server.connections

    assert (1, 2) == (connections, len(server.requests))


async def test_a_cancel_closes_the_stream(tools, client):
    """Somebody pays for what is written and not read."""
    asked = CancelAsked()
    with anyio.fail_after(DEADLINE_S):
        async with (
            API.played([[WORDS, {"do": "stall"}]], tools) as (backend, server),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(backend.run, turn(cancel_asked=asked), client)
            await client.until(lambda heard: bool(heard.texts))
            asked.set()
            await server.left.wait()

    assert ["a duck"] == client.texts


@pytest.mark.parametrize(
    ("members", "said_of_it"),
    [
        ({"model": "m"}, "write a `preset`"),
        ({"preset": "vllm"}, "write the `model`"),
        ({"preset": "azure", "model": "m"}, "write the `baseUrl` of your own resource"),
        ({"baseUrl": "ftp://host", "model": "m"}, "expected an address"),
        ({"baseUrl": "https://me:secret@host/v1", "model": "m"}, "a password in it"),
    ],
)
def test_a_config_that_cannot_work_is_refused(members, said_of_it):
    """At the start, in words that say what to write."""
    with pytest.raises(msgspec.ValidationError, match=said_of_it):
        msgspec.convert({"kind": "openai", **members}, OpenAIConfig)


@pytest.mark.parametrize(
    ("members", "first_byte_s", "first_output_ms"),
    [
        ({"baseUrl": "https://host/v1"}, 45.0, None),
        ({"preset": "lmstudio"}, 180.0, 180_000),
        ({"preset": "lmstudio", "limits": {"firstByteMs": 1_000}}, 1.0, 180_000),
        ({"preset": "lmstudio", "baseUrl": "http://gpu.lan:1234/v1"}, 45.0, None),
    ],
)
def test_a_server_of_ones_own_may_load_its_model_first(members, first_byte_s, first_output_ms):
    """It reads it from disk when it is first asked; a provider has it at hand."""
    config = API.config(**members)
    known = config.known_limits()

    assert (first_byte_s, first_output_ms) == (config.first_byte_s, known and known.first_output_ms)


def test_its_own_clocks_are_part_of_what_is_opened():
    """They are read when it is opened: another one opens it anew."""
    before = API.config(preset="vllm", limits={"connectMs": 1})
    after = API.config(preset="vllm", limits={"connectMs": 2})
    other = API.config(preset="vllm", limits={"connectMs": 2, "idleMs": 7})

    assert (False, True) == (before.as_opened == after.as_opened, after.as_opened == other.as_opened)
