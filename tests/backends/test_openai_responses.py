"""The `openai` kind against servers that speak Responses, healthy and odd."""

import msgspec
import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.core.handoff import Said
from acp_broker.core.history import Exchange
from acp_broker.core.names import TurnId
from backends.http.sse import EventStream
from backends.openai import OpenAIConfig
from backends.openai.responses import FAILED, ResponseDecoder
from tests.backends.contract import ApiContract
from tests.support import apis
from tests.support.apis import WORDS, stream, whole
from tests.support.client import plain, prompted, raw
from tests.support.responses_speech import (
    USAGE,
    ended,
    event,
    failed,
    incomplete,
    message,
    refused,
    response,
    said,
    text,
    thought,
)

pytestmark = pytest.mark.anyio

API = apis.RESPONSES
run, failure, sent = API.run, API.failure, API.sent


class TestResponses(ApiContract):
    api = API


async def test_it_is_asked_as_responses_is(tools, client):
    """Nothing is kept there: the conversation is the session's."""
    _, request = await run(tools, client, WORDS, order=prompted([{"type": "text", "text": "hi"}]))
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}

    assert ("/v1/responses", {"input": [said], "stream": True, "store": False, "model": "m"}) == (
        request.path,
        msgspec.json.decode(request.body),
    )


async def test_its_settings_have_other_names_there(tools, client):
    """The same keys of config.json serve both APIs."""
    body = await sent(tools, client, system="Be brief.", maxTokens=50, thoughts=True)
    names = ("instructions", "max_output_tokens", "reasoning")

    assert ("Be brief.", 50, {"summary": "auto"}) == tuple(body[name] for name in names)


async def test_words_and_thoughts_are_two_messages(tools, client):
    """A frontend shows them apart."""
    raw_thought = event("response.reasoning_text.delta", item_id="rs_1", output_index=0, content_index=0, delta="?")
    await run(tools, client, stream(thought("hm"), raw_thought, said("a duck"), ended()))

    assert ["agent_thought_chunk", "agent_message_chunk"] == [update.kind for update in client.updates]


async def test_texts_that_follow_each_other_are_paragraphs(tools, client):
    """A summary has parts, and an answer may have a message before its last: glued together they cannot be read."""
    part = event("response.reasoning_summary_part.added", summary_index=1, part={"type": "summary_text", "text": ""})
    begun = event("response.output_item.added", output_index=1, item=message())
    done = event("response.output_item.done", output_index=1, item=message(text("One.")))
    parts = [
        part,
        thought("First"),
        part,
        thought("second", 1),
        begun,
        said("One."),
        done,
        begun,
        said("Two."),
        ended(),
    ]
    await run(tools, client, stream(*parts))
    texts = [plain(update.params["update"])["content"]["text"] for update in client.updates]

    assert ["First\n\nsecond", "One.\n\nTwo."] == texts


async def test_usage_is_in_the_answer(tools, client):
    """Tokens of the cache and of the thoughts are parts of the input's and the output's."""
    finished, _ = await run(tools, client, WORDS)
    counted = {"totalTokens": 10, "inputTokens": 7, "outputTokens": 3}
    parts = {"thoughtTokens": 1, "cachedReadTokens": 4, "cachedWriteTokens": 2}

    assert counted | parts == plain(finished.answer)["usage"]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([said("a"), ended()], "end_turn"),
        ([said("a"), event("response.completed", response={})], "end_turn"),
        ([said("a"), incomplete("max_output_tokens")], "max_tokens"),
        ([incomplete("max_output_tokens")], "max_tokens"),
        ([said("a"), incomplete("content_filter")], "refusal"),
        ([refused("I cannot"), ended()], "refusal"),
        # vLLM names every end `completed`
        (
            [
                said("a"),
                event(
                    "response.completed",
                    response=response("incomplete", incomplete_details={"reason": "max_output_tokens"}),
                ),
            ],
            "max_tokens",
        ),
        # OpenRouter
        ([b": OPENROUTER PROCESSING\n\n", said("a"), ended(), b"data: [DONE]\n\n"], "end_turn"),
    ],
)
async def test_the_end_says_how_it_ended(tools, client, parts, expected):
    """By its reason first, then by its status, then by the name of the event."""
    finished, _ = await run(tools, client, stream(*parts))

    assert expected == finished.stop_reason


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], FailureKind.SERVER_ERROR),
        ([said("a")], FailureKind.SERVER_ERROR),
        ([said("a"), b"data: [DONE]\n\n"], FailureKind.SERVER_ERROR),
        ([said("a"), b"data: {oops\n\n"], FailureKind.GARBLED),
        ([said("a"), b'data: {"type": 7}\n\n'], FailureKind.GARBLED),
        ([said("a"), b"data: {}\n\n"], FailureKind.SERVER_ERROR),
        ([said("a"), incomplete(None)], FailureKind.SERVER_ERROR),
        ([said("a"), incomplete("max_messages")], FailureKind.SERVER_ERROR),
        ([said("a"), event("response.completed", response=response("cancelled"))], FailureKind.SERVER_ERROR),
        ([said("a"), failed(None, "")], FailureKind.SERVER_ERROR),
        ([ended()], FailureKind.EMPTY_TURN),
        ([said(" \n"), ended()], FailureKind.EMPTY_TURN),
        ([incomplete("content_filter")], FailureKind.GUARDRAIL),
        ([b"event: error\ndata: upstream is gone\n\n"], FailureKind.UNCLASSIFIED),
        ([b'data: {"error": {"message": "Overloaded", "code": 503}}\n\n'], FailureKind.OVERLOADED),
    ],
)
async def test_a_stream_without_a_good_end_is_a_failure(tools, client, parts, expected):
    """However it looks, half an answer is never reported as a whole one."""
    found = await failure(tools, client, stream(*parts))

    assert expected == found.kind


# `ResponseError.code` of OpenAI's API, and what its own servers send beside it.
CODES = {
    "server_error": FailureKind.SERVER_ERROR,
    "rate_limit_exceeded": FailureKind.RATE_LIMITED,
    "invalid_prompt": FailureKind.GUARDRAIL,
    "data_residency_mismatch": FailureKind.AUTH_REJECTED,
    "bio_policy": FailureKind.GUARDRAIL,
    "misalignment_policy_violation": FailureKind.GUARDRAIL,
    "vector_store_timeout": FailureKind.SERVER_ERROR,
    "invalid_image": FailureKind.BAD_REQUEST,
    "invalid_image_format": FailureKind.UNSUPPORTED,
    "invalid_base64_image": FailureKind.BAD_REQUEST,
    "invalid_image_url": FailureKind.UNSUPPORTED,
    "image_too_large": FailureKind.UNSUPPORTED,
    "image_too_small": FailureKind.UNSUPPORTED,
    "image_parse_error": FailureKind.BAD_REQUEST,
    "image_content_policy_violation": FailureKind.GUARDRAIL,
    "invalid_image_mode": FailureKind.UNSUPPORTED,
    "image_file_too_large": FailureKind.UNSUPPORTED,
    "unsupported_image_media_type": FailureKind.UNSUPPORTED,
    "empty_image_file": FailureKind.BAD_REQUEST,
    "failed_to_download_image": FailureKind.UNSUPPORTED,
    "image_file_not_found": FailureKind.UNSUPPORTED,
    "insufficient_quota": FailureKind.BILLING,
    "context_length_exceeded": FailureKind.CONTEXT_OVERFLOW,
    "server_is_overloaded": FailureKind.OVERLOADED,
    "slow_down": FailureKind.OVERLOADED,
}


@pytest.mark.parametrize("code", CODES)
async def test_a_code_says_what_failed_wherever_it_stands(tools, client, code):
    """In an event of its own, flat or in an object, or in the response that failed; with the rest of the response,
    which quotes the prompt's instructions, nothing is proved."""
    error = {"code": code, "message": "It did not work."}
    shapes = [
        failed(**error),
        event("error", **error, param=None),
        event("error", error={"type": code, **error, "param": None}),
    ]
    found = [await failure(tools, client, stream(shape)) for shape in shapes]

    assert [(CODES[code], code)] * 3 == [(one.kind, one.code) for one in found]


async def test_the_life_of_a_response_is_no_output(tools, client):
    """An error behind it is still one before the first word."""
    queued = event("response.queued", response=response("queued"))
    item = event("response.output_item.added", output_index=0, item=message(status="in_progress"))
    part = event("response.content_part.added", output_index=0, content_index=0, part=text(""))
    await failure(tools, client, stream(queued, item, part, failed("insufficient_quota", "No.")))

    assert [] == client.updates


async def test_what_is_newer_than_this_is_passed_over(tools, client):
    """OpenAI adds events and items without a new version; its own tools are its own business."""
    parts = [
        event("response.web_search_call.searching", item_id="ws_1", output_index=0),
        event("response.output_item.done", output_index=0, item={"type": "web_search_call", "action": {"query": "x"}}),
        event("response.news.delta", delta={"text": "x"}),
        event("keepalive"),
        said("a"),
        event("response.output_text.annotation.added", annotation={"type": "url_citation"}, annotation_index=0),
        event("response.output_text.done", text="a", logprobs=[]),
        ended(output=[{"type": "web_search_call", "status": "completed"}, message(text("a"))]),
    ]
    finished, _ = await run(tools, client, stream(*parts))

    assert (["a"], "end_turn") == (client.texts, finished.stop_reason)


# Every event of openai 3.52's `ResponseStreamEvent` that is no delta of words or thoughts, no error and no end.
QUIET = [
    *(f"response.{name}" for name in ("created", "in_progress", "queued", "compaction.compacting")),
    *(f"response.audio.{name}" for name in ("delta", "done", "transcript.delta", "transcript.done")),
    *(f"response.{name}" for name in ("content_part.added", "content_part.done", "output_item.added")),
    *(f"response.{name}" for name in ("output_item.done", "output_text.done", "output_text.annotation.added")),
    *(f"response.{name}.done" for name in ("refusal", "reasoning_text", "reasoning_summary_text")),
    *(f"response.reasoning_summary_part.{name}" for name in ("added", "done")),
    *(f"response.function_call_arguments.{name}" for name in ("delta", "done")),
    *(f"response.custom_tool_call_input.{name}" for name in ("delta", "done")),
    *(f"response.code_interpreter_call{name}" for name in (".in_progress", ".interpreting", ".completed")),
    *(f"response.code_interpreter_call_code.{name}" for name in ("delta", "done")),
    *(f"response.file_search_call.{name}" for name in ("in_progress", "searching", "completed")),
    *(f"response.web_search_call.{name}" for name in ("in_progress", "searching", "completed")),
    *(f"response.shell_call_command.{name}" for name in ("added", "delta", "done")),
    *(f"response.shell_call_output_content.{name}" for name in ("delta", "done")),
    *(f"response.image_generation_call.{name}" for name in ("in_progress", "generating", "completed")),
    "response.image_generation_call.partial_image",
    *(f"response.mcp_call.{name}" for name in ("in_progress", "completed", "failed")),
    *(f"response.mcp_call_arguments.{name}" for name in ("delta", "done")),
    *(f"response.mcp_list_tools.{name}" for name in ("in_progress", "completed", "failed")),
]


@pytest.mark.parametrize("kind", QUIET)
def test_the_rest_of_its_events_says_nothing(kind):
    """Output is what cannot be taken back: none of these is."""
    decoder, members = ResponseDecoder(), {"delta": "x", "text": "x", "code": "x", "arguments": "{}", "refusal": "x"}
    (told,) = EventStream().feed(event(kind, **members, item=message(text("x")), response=response("in_progress")))

    assert ([], None, False) == ([*decoder.pieces(told)], decoder.stop, decoder.is_over)


@pytest.mark.parametrize("item", FAILED)
async def test_a_call_that_nobody_answers_is_garbled(tools, client, item):
    """When it begins, and where nothing but the end tells of it."""
    begun = event("response.output_item.added", output_index=0, item={"type": item, "call_id": "call_1"})
    told = [
        await failure(tools, client, stream(begun)),
        await failure(tools, client, stream(ended(output=[{"type": item}]))),
    ]

    assert [(FailureKind.GARBLED, item)] * 2 == [(one.kind, one.code) for one in told]


async def test_what_was_not_streamed_is_taken_from_the_end(tools, client):
    """Some servers stream the life of a response, and its words only with the whole."""
    reasoning = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": None}
    await run(tools, client, stream(ended(output=[reasoning, message(text("One"), text(".")), message(text("Two."))])))
    texts = [plain(update.params["update"])["content"]["text"] for update in client.updates]

    assert ["hm", "One.\n\nTwo."] == texts


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (response("completed", output=[message(text("all"))], usage=USAGE), (["all"], "end_turn")),
        (response("completed", output=[message({"type": "refusal", "refusal": "no"})]), (["no"], "refusal")),
        (
            response("incomplete", output=[message(text("all"))], incomplete_details={"reason": "max_output_tokens"}),
            (["all"], "max_tokens"),
        ),
    ],
)
async def test_a_server_that_does_not_stream_is_understood(tools, client, answer, expected):
    """Some answer whole, whatever they are asked for."""
    finished, _ = await run(tools, client, whole(answer))

    assert expected == (client.texts, finished.stop_reason)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (response("failed", error={"code": "rate_limit_exceeded", "message": "Slower."}), FailureKind.RATE_LIMITED),
        (response("in_progress"), FailureKind.SERVER_ERROR),
        (response("completed"), FailureKind.EMPTY_TURN),
        ({"error": {"message": "Overloaded", "type": "server_error", "code": None}}, FailureKind.OVERLOADED),
    ],
)
async def test_a_whole_answer_that_is_none_is_a_failure(tools, client, answer, expected):
    """Status 200 says nothing about it."""
    found = await failure(tools, client, whole(answer))

    assert expected == found.kind


async def test_history_is_a_conversation(tools, client):
    """What the model said is output there; a message without a word is told so."""
    past = (
        Exchange(raw([{"type": "text", "text": "what is it?"}]), Said(TurnId("t"), "what is it?", "a duck")),
        Exchange(raw([{"type": "text", "text": " "}]), Said(TurnId("u"), " ", "")),
    )
    body = await sent(tools, client, prompted([{"type": "text", "text": "sure?"}, {"type": "text", "text": ""}], past))

    assert [
        ("user", [{"type": "input_text", "text": "what is it?"}]),
        ("assistant", [{"type": "output_text", "text": "a duck"}]),
        ("user", [{"type": "input_text", "text": "[nothing that could be shown here]"}]),
        ("assistant", [{"type": "output_text", "text": "[nothing that could be shown here]"}]),
        ("user", [{"type": "input_text", "text": "sure?"}]),
    ] == [(one["role"], one["content"]) for one in body["input"]]


async def test_content_is_mapped_as_the_api_allows(tools, client):
    """Images, PDFs, embedded text, links."""
    pdf = {"uri": "file:///docs/a%20b.pdf", "blob": "JVBERg==", "mimeType": "application/pdf"}
    far = {"uri": "https://host/a.pdf", "blob": "", "mimeType": "application/pdf"}
    blocks = [
        {"type": "image", "data": "aW1n", "mimeType": "image/png"},
        {"type": "image", "data": "", "mimeType": "image/png", "uri": "https://host/a.png"},
        {"type": "resource", "resource": pdf},
        {"type": "resource", "resource": far},
        {"type": "resource", "resource": {"uri": "file:///a.txt", "text": "inside"}},
        {"type": "resource_link", "uri": "file:///b.txt", "name": "b.txt"},
    ]
    body = await sent(tools, client, prompted(blocks))

    assert [
        {"type": "input_image", "image_url": "data:image/png;base64,aW1n", "detail": "auto"},
        {"type": "input_image", "image_url": "https://host/a.png", "detail": "auto"},
        {"type": "input_file", "filename": "a b.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
        {"type": "input_file", "file_url": "https://host/a.pdf"},
        {"type": "input_text", "text": '<resource uri="file:///a.txt">\ninside\n</resource>'},
        {"type": "input_text", "text": "[link: b.txt file:///b.txt]"},
    ] == body["input"][0]["content"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "audio", "data": "d2F2", "mimeType": "audio/wav"},
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
    ("members", "said_of_it"),
    [({"thoughts": True}, "only Responses"), ({"api": "responses", "audio": True}, "take no `audio`")],
)
def test_a_config_that_cannot_work_is_refused(members, said_of_it):
    """At the start, in words that say what to write."""
    with pytest.raises(msgspec.ValidationError, match=said_of_it):
        msgspec.convert({"kind": "openai", "preset": "vllm", "model": "m", **members}, OpenAIConfig)
