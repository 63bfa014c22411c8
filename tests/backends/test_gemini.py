"""The `gemini` kind against a server that speaks the Gemini API, healthy and odd."""

import msgspec
import pytest

import backends.gemini as kind
from acp_broker.core.failures import FailureKind
from acp_broker.core.handoff import Said
from acp_broker.core.history import Exchange
from acp_broker.core.http_failures import from_http
from acp_broker.core.names import TurnId
from backends.gemini import GeminiConfig
from backends.gemini.stream import FAILED, FILTERED
from tests.backends.contract import ApiContract
from tests.support import apis
from tests.support.apis import KEY, WORDS, given, stream
from tests.support.client import body, plain, prompted, raw
from tests.support.gemini_speech import ended, error, event, said

pytestmark = pytest.mark.anyio

API = apis.GEMINI
run, failure, sent = API.run, API.failure, API.sent

OVERLOADED = error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")


class TestGemini(ApiContract):
    api = API


@pytest.fixture
def tools():
    return given(credential=KEY)


async def test_words_and_thoughts_are_two_messages(tools, client):
    """A part says of itself that it is a thought."""
    await run(tools, client, {"do": "think", "text": "hm"}, WORDS)

    expected = [("agent_thought_chunk", "hm"), ("agent_message_chunk", "a duck")]
    assert expected == [(update.kind, body(update)["content"]["text"]) for update in client.updates]


async def test_usage_counts_thoughts_as_output(tools, client):
    """The API tells them apart; ACP's output is all that the model has written."""
    finished, _ = await run(tools, client, WORDS)

    expected = {"totalTokens": 10, "inputTokens": 7, "outputTokens": 3, "thoughtTokens": 1}
    assert expected == plain(finished.answer)["usage"]


async def test_a_limit_of_tokens_is_max_tokens(tools, client):
    """The answer is no failure, and it is not whole."""
    finished, _ = await run(tools, client, WORDS, {"do": "end", "stopReason": "max_tokens"})

    assert "max_tokens" == finished.stop_reason


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([said("a")], FailureKind.SERVER_ERROR),
        ([said("a"), ended("OTHER")], FailureKind.SERVER_ERROR),
        ([said("a"), b"data: {oops\n\n"], FailureKind.GARBLED),
        ([said("a"), event(OVERLOADED)], FailureKind.OVERLOADED),
        ([said("a"), msgspec.json.format(msgspec.json.encode(OVERLOADED))], FailureKind.OVERLOADED),
        ([said("a"), msgspec.json.format(msgspec.json.encode([OVERLOADED]))], FailureKind.OVERLOADED),
        ([said("a"), event([OVERLOADED])], FailureKind.OVERLOADED),
        ([said("a"), event([{"candidates": [{"content": {"parts": [{"text": "overloaded"}]}}]}])], FailureKind.GARBLED),
        ([ended("STOP")], FailureKind.EMPTY_TURN),
        ([event({"promptFeedback": {"blockReason": "SAFETY"}})], FailureKind.GUARDRAIL),
        ([event({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]})], FailureKind.GARBLED),
    ],
)
async def test_a_stream_without_a_good_end_is_a_failure(tools, client, parts, expected):
    """There is no `[DONE]`: the finish reason alone says that an answer is whole. An error may come as no event."""
    found = await failure(tools, client, stream(*parts))

    assert expected == found.kind


async def test_a_reason_that_is_none_ends_nothing(tools, client):
    """Some say in every chunk that there is none yet."""
    parts = [said("a"), ended("FINISH_REASON_UNSPECIFIED"), said("b"), ended("STOP")]
    finished, _ = await run(tools, client, stream(*parts))

    assert (["ab"], "end_turn") == (client.texts, finished.stop_reason)


@pytest.mark.parametrize("reason", sorted(FILTERED))
async def test_a_filter_before_words_is_a_guardrail(tools, client, reason):
    """Another model may answer."""
    found = await failure(tools, client, stream(ended(reason)))

    assert (FailureKind.GUARDRAIL, reason) == (found.kind, found.code)


@pytest.mark.parametrize(
    "told",
    [
        {"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "It could be misused."}},
        {"candidates": [{"finishReason": "SAFETY", "finishMessage": "It could be misused."}]},
    ],
)
async def test_a_refusal_says_why(tools, client, told):
    """Where Google does."""
    found = await failure(tools, client, stream(event(told)))

    assert (FailureKind.GUARDRAIL, True) == (found.kind, "It could be misused." in found.text)


@pytest.mark.parametrize("reason", sorted(FILTERED))
async def test_a_filter_behind_words_is_a_refusal(tools, client, reason):
    """The person has read them."""
    finished, _ = await run(tools, client, stream(said("a"), ended(reason)))

    assert "refusal" == finished.stop_reason


@pytest.mark.parametrize("reason", FAILED)
async def test_an_end_that_is_a_failure_is_one_behind_words_too(tools, client, reason):
    """Half an answer is never reported as a whole one."""
    found = await failure(tools, client, stream(said("a"), ended(reason)))

    assert FAILED[reason][0] == found.kind


async def test_the_key_is_sent_to_the_provider_alone(tools, client):
    """In Google's own header: an address gets into logs."""
    _, request = await run(tools, client, WORDS)

    assert (KEY, False, False) == (
        request.headers["x-goog-api-key"],
        KEY in request.query,
        KEY.encode() in request.body,
    )


async def test_google_is_not_asked_without_a_key():
    """Nobody waits for a refusal that is certain."""
    found = await API.refusal(given())

    assert FailureKind.AUTH_MISSING == found.kind


async def test_a_request_says_what_config_says(tools, client):
    """Each in the API's own place."""
    _, request = await run(tools, client, WORDS, model="gemini-x", system="Be brief.", maxTokens=5, thoughts=True)
    asked = msgspec.json.decode(request.body)

    assert ("/v1beta/models/gemini-x:streamGenerateContent", "alt=sse") == (request.path, request.query)
    assert {"parts": [{"text": "Be brief."}]} == asked["systemInstruction"]
    assert {"maxOutputTokens": 5, "thinkingConfig": {"includeThoughts": True}} == asked["generationConfig"]


async def test_a_tuned_model_has_its_own_path(tools, client):
    """It is none of `models/`."""
    _, request = await run(tools, client, WORDS, model="tunedModels/mine")

    assert "/v1beta/tunedModels/mine:streamGenerateContent" == request.path


async def test_history_takes_turns(tools, client):
    """User and model, as the API wants it."""
    past = (Exchange(raw([{"type": "text", "text": "one"}]), Said(TurnId("one"), "one", "1")),)
    body = await sent(tools, client, prompted([{"type": "text", "text": "two"}], past))

    assert [
        {"role": "user", "parts": [{"text": "one"}]},
        {"role": "model", "parts": [{"text": "1"}]},
        {"role": "user", "parts": [{"text": "two"}]},
    ] == body["contents"]


async def test_what_cannot_be_told_is_marked(tools, client):
    """The API refuses a content without words."""
    past = Exchange(raw([{"type": "text", "text": " "}]), Said(TurnId("t"), "", "a duck"))
    body = await sent(tools, client, prompted([{"type": "text", "text": "more"}], (past,)))

    assert "[nothing that could be shown here]" == body["contents"][0]["parts"][0]["text"]


async def test_pictures_sound_and_documents_are_sent_inline(tools, client):
    """By the names that the API knows their types by."""
    pdf = {"uri": "file:///a.pdf", "blob": "JVBERg==", "mimeType": "application/pdf"}
    blocks = [
        {"type": "text", "text": "look"},
        {"type": "image", "data": "aW1n", "mimeType": "image/webp"},
        {"type": "audio", "data": "bXAz", "mimeType": "audio/mpeg"},
        {"type": "resource", "resource": pdf},
    ]
    body = await sent(tools, client, prompted(blocks))

    assert [
        {"text": "look"},
        {"inlineData": {"mimeType": "image/webp", "data": "aW1n"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "bXAz"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERg=="}},
    ] == body["contents"][0]["parts"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": " "},
        {"type": "image", "data": "R0lG", "mimeType": "image/gif"},
        {"type": "image", "data": "", "mimeType": "image/png", "uri": "https://host/a.png"},
        {"type": "resource", "resource": {"uri": "file:///a.zip", "blob": "UEs=", "mimeType": "application/zip"}},
    ],
)
async def test_what_the_api_has_no_place_for_is_unsupported(tools, client, block):
    """Another backend may take it; this one must not answer without having seen it."""
    found = await failure(tools, client, WORDS, order=prompted([block]))

    assert FailureKind.UNSUPPORTED == found.kind


_RPC = "type.googleapis.com/google.rpc."
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_RETRY = {"@type": f"{_RPC}RetryInfo", "retryDelay": "34s"}


def quota(of: str) -> dict:
    violation = {"quotaId": f"GenerateRequestsPer{of}PerProjectPerModel-FreeTier", "quotaValue": "15"}
    return {"@type": f"{_RPC}QuotaFailure", "violations": [violation]}


@pytest.mark.parametrize(
    ("status", "word", "message", "details", "expected"),
    [
        (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [], "auth_rejected"),
        (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", [], "auth_rejected"),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            [],
            "context_overflow",
        ),
        (400, "INVALID_ARGUMENT", "Please ensure that contents are not empty.", [], "bad_request"),
        (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", [], "auth_rejected"),
        (401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", [], "auth_rejected"),
        (402, "FAILED_PRECONDITION", "Out of credits.", [], "billing"),
        (403, "PERMISSION_DENIED", "Permission denied on resource project p.", [], "auth_rejected"),
        (404, "NOT_FOUND", "models/m is not found for API version v1beta", [], "model_not_found"),
        (429, "RESOURCE_EXHAUSTED", _QUOTA, [quota("Minute"), _RETRY], "rate_limited"),
        (499, "CANCELLED", "The operation was cancelled.", [], "server_error"),
        (500, "INTERNAL", "An internal error has occurred.", [], "server_error"),
        (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", [], "overloaded"),
        (504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.", [], "server_error"),
    ],
)
def test_an_error_is_the_kind_that_it_tells(status, word, message, details, expected):
    """Google writes one status for many things: details and words choose."""
    answer = msgspec.json.format(msgspec.json.encode(error(status, word, message, *details)))

    assert expected == from_http(status, {}, answer, wall=0.0).kind.value


def test_the_wait_of_a_detail_is_kept():
    """No header tells it."""
    answer = msgspec.json.encode(error(429, "RESOURCE_EXHAUSTED", _QUOTA, quota("Minute"), _RETRY))

    assert 34.0 == from_http(429, {}, answer, wall=0.0).retry_after_s


def test_a_config_without_a_model_is_refused():
    """At the start, in words that say what to write."""
    with pytest.raises(msgspec.ValidationError, match="write the `model`"):
        msgspec.convert({"kind": "gemini"}, GeminiConfig)


@pytest.mark.parametrize(("members", "is_fine"), [({}, False), ({"auth": "g"}, True), ({"baseUrl": "http://h"}, True)])
def test_google_wants_a_key_and_a_gateway_may_have_it(members, is_fine):
    """Told before anybody is called."""
    assert is_fine is (kind.check(API.config(**members), {}) is None)
