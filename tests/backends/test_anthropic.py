"""The `anthropic` kind against servers that speak Messages, healthy and odd."""

import msgspec
import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.core.handoff import Said
from acp_broker.core.history import Exchange
from acp_broker.core.names import TurnId
from backends.anthropic import MAX_TOKENS, AnthropicConfig
from tests.backends.contract import ApiContract
from tests.support import apis
from tests.support.apis import KEY, WORDS, given, stream, whole
from tests.support.client import plain, prompted, raw
from tests.support.messages_speech import USAGE, delta, ended, event, failed, stopped

pytestmark = pytest.mark.anyio

API = apis.MESSAGES
run, failure, sent = API.run, API.failure, API.sent


class TestAnthropic(ApiContract):
    api = API


async def test_words_and_thoughts_are_two_messages(tools, client):
    """A frontend shows them apart; signatures are shown to nobody."""
    await run(tools, client, stream(delta(thinking="hm"), delta(signature="c2ln"), delta(text="a duck"), ended()))

    assert ["agent_thought_chunk", "agent_message_chunk"] == [update.kind for update in client.updates]


async def test_usage_is_in_the_answer(tools, client):
    """The beginning tells the input and the end the output; tokens of the cache are no part of the input."""
    finished, _ = await run(tools, client, WORDS)
    expected = {"totalTokens": 17, "inputTokens": 7, "outputTokens": 3, "cachedReadTokens": 5, "cachedWriteTokens": 2}

    assert expected == plain(finished.answer)["usage"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "end_turn"),
        ("stop_sequence", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("model_context_window_exceeded", "max_tokens"),
        ("refusal", "refusal"),
    ],
)
async def test_a_stop_reason_is_acps(tools, client, reason, expected):
    """Frontends know these five."""
    finished, _ = await run(tools, client, stream(delta(text="a"), ended(reason)))

    assert expected == finished.stop_reason


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([delta(text="a")], FailureKind.SERVER_ERROR),
        ([delta(text="a"), stopped("end_turn")], FailureKind.SERVER_ERROR),
        ([delta(text="a"), event("message_stop")], FailureKind.SERVER_ERROR),
        ([delta(text="a"), b"data: {oops\n\n"], FailureKind.GARBLED),
        ([event("ping") * 9], FailureKind.SERVER_ERROR),
        ([ended()], FailureKind.EMPTY_TURN),
        ([delta(text=" \n"), ended()], FailureKind.EMPTY_TURN),
        ([delta(text="a"), ended("tool_use")], FailureKind.GARBLED),
        ([delta(text="a"), ended("pause_turn")], FailureKind.GARBLED),
        ([failed("overloaded_error", "Overloaded")], FailureKind.OVERLOADED),
        ([failed("api_error", "Internal server error")], FailureKind.SERVER_ERROR),
        ([failed("rate_limit_error", "Too many tokens")], FailureKind.RATE_LIMITED),
        ([delta(text="a"), failed("overloaded_error", "Overloaded")], FailureKind.OVERLOADED),
        ([b"event: error\ndata: upstream is gone\n\n"], FailureKind.UNCLASSIFIED),
    ],
)
async def test_a_stream_without_a_good_end_is_a_failure(tools, client, parts, expected):
    """However it looks, half an answer is never reported as a whole one."""
    found = await failure(tools, client, stream(*parts))

    assert expected == found.kind


async def test_what_is_newer_than_this_is_passed_over(tools, client):
    """Anthropic adds kinds of events, of blocks and of deltas without a new version."""
    parts = [
        event("content_block_start", index=0, content_block={"type": "redacted_thinking", "data": "x"}),
        event("news", text=1),
        event("content_block_delta", index=0, delta={"type": "citations_delta", "citation": {"cited_text": "x"}}),
        delta(text="a"),
        ended(),
        b"data: [DONE]\n\n",
    ]
    finished, _ = await run(tools, client, stream(*parts))

    assert (["a"], "end_turn") == (client.texts, finished.stop_reason)


async def test_a_refusal_says_why(tools, client):
    """Anthropic tells it where it tells the reason; another backend may answer, and somebody may ask why this one did
    not."""
    details = {"type": "refusal", "category": "bio", "explanation": "It could be misused."}
    end = event("message_delta", delta={"stop_reason": "refusal", "stop_details": details}, usage={"output_tokens": 0})
    found = await failure(tools, client, stream(end, event("message_stop")))

    assert (FailureKind.GUARDRAIL, "refusal", True) == (found.kind, found.code, "It could be misused." in found.text)


async def test_null_may_stand_where_a_list_belongs(tools, client):
    """Gateways write what they do not know so."""
    begun = event("message_start", message={"type": "message", "content": None, "stop_reason": None, "usage": None})
    finished, _ = await run(tools, client, stream(begun, delta(text="a"), ended()))

    assert (["a"], "end_turn") == (client.texts, finished.stop_reason)


async def test_a_server_that_does_not_stream_is_understood(tools, client):
    """Some answer whole, whatever they are asked for."""
    message = {"type": "message", "content": [{"type": "text", "text": "all"}], "stop_reason": "end_turn"}
    finished, _ = await run(tools, client, whole({**message, "usage": USAGE}))

    assert (["all"], "end_turn") == (client.texts, finished.stop_reason)


@pytest.mark.parametrize(
    ("is_token", "expected"), [(False, {"x-api-key": KEY}), (True, {"authorization": f"Bearer {KEY}"})]
)
async def test_keys_and_tokens_have_headers_of_their_own(client, is_token, expected):
    """Anthropic refuses the one where it wants the other."""
    _, request = await run(given(credential=KEY, is_token=is_token), client, WORDS)
    found = {name: request.headers[name] for name in ("x-api-key", "authorization") if name in request.headers}

    assert ("2023-06-01", expected) == (request.headers["anthropic-version"], found)


async def test_the_version_may_be_chosen(tools, client):
    """A newer one exists, and takes less of what `body` may add."""
    _, request = await run(tools, client, WORDS, headers={"Anthropic-Version": "2026-10-21"})

    assert "2026-10-21" == request.headers["anthropic-version"]


async def test_anthropic_is_not_asked_without_a_key(tools):
    """Nobody waits for a refusal that is certain."""
    found = await API.refusal(tools)

    assert FailureKind.AUTH_MISSING == found.kind


@pytest.mark.parametrize(
    ("members", "expected"),
    [({}, (MAX_TOKENS, None)), ({"maxTokens": 5, "system": "Be brief."}, (5, "Be brief."))],
)
async def test_what_the_api_wants_is_in_the_request(tools, client, members, expected):
    """It answers nothing without a limit, and knows no message of a system."""
    body = await sent(tools, client, **members)

    assert (*expected, True) == (body["max_tokens"], body.get("system"), body["stream"])


async def test_history_is_a_conversation(tools, client):
    """Of the user and the assistant in turns; the API takes no message without a word."""
    past = (
        Exchange(raw([{"type": "text", "text": "what is it?"}]), Said(TurnId("t"), "what is it?", "a duck")),
        Exchange(raw([{"type": "text", "text": " "}]), Said(TurnId("u"), " ", "so?")),
    )
    body = await sent(tools, client, prompted([{"type": "text", "text": "sure?"}, {"type": "text", "text": ""}], past))

    assert [
        ("user", "what is it?"),
        ("assistant", "a duck"),
        ("user", "[nothing that could be shown here]"),
        ("assistant", "so?"),
        ("user", "sure?"),
    ] == [(one["role"], "".join(part["text"] for part in one["content"])) for one in body["messages"]]


async def test_content_is_mapped_as_the_api_allows(tools, client):
    """Images, PDFs, embedded text, links."""
    pdf = {"uri": "file:///a.pdf", "blob": "JVBERg==", "mimeType": "application/pdf"}
    blocks = [
        {"type": "image", "data": "aW1n", "mimeType": "image/png"},
        {"type": "image", "data": "", "mimeType": "image/png", "uri": "https://host/a.png"},
        {"type": "resource", "resource": pdf},
        {"type": "resource", "resource": {"uri": "file:///a.txt", "text": "inside"}},
        {"type": "resource_link", "uri": "file:///b.txt", "name": "b.txt"},
    ]
    body = await sent(tools, client, prompted(blocks))

    assert [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aW1n"}},
        {"type": "image", "source": {"type": "url", "url": "https://host/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
        {"type": "text", "text": '<resource uri="file:///a.txt">\ninside\n</resource>'},
        {"type": "text", "text": "[link: b.txt file:///b.txt]"},
    ] == body["messages"][0]["content"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "audio", "data": "d2F2", "mimeType": "audio/wav"},
        {"type": "image", "data": "Qk0=", "mimeType": "image/bmp"},
        {"type": "image", "data": "", "mimeType": "image/png", "uri": "file:///a.png"},
        {"type": "resource", "resource": {"uri": "file:///a.zip", "blob": "UEs=", "mimeType": "application/zip"}},
        {"type": "text", "text": " "},
    ],
)
async def test_what_the_api_has_no_place_for_is_unsupported(tools, client, block):
    """Another backend may take it; this one must not answer without having seen it."""
    found = await failure(tools, client, WORDS, order=prompted([block]))

    assert FailureKind.UNSUPPORTED == found.kind


@pytest.mark.parametrize(
    ("members", "said_of_it"), [({}, "write the `model`"), ({"model": "m", "audio": True}, "take no `audio`")]
)
def test_a_config_that_cannot_work_is_refused(members, said_of_it):
    """At the start, in words that say what to write."""
    with pytest.raises(msgspec.ValidationError, match=said_of_it):
        msgspec.convert({"kind": "anthropic", **members}, AnthropicConfig)


@pytest.mark.parametrize(
    "written", ["https://gate.lan/claude", "https://gate.lan/claude/", "https://gate.lan/claude/v1"]
)
def test_an_address_may_be_written_with_its_version(written):
    """Others' settings have it in."""
    assert "https://gate.lan/claude" == API.config(baseUrl=written).url
