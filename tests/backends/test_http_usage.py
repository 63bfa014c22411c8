"""What an answer has used: told by somebody else, and never a reason to lose the answer."""

import pytest

from backends.anthropic.stream import MessageDecoder
from backends.gemini.stream import GeminiDecoder
from backends.http.sse import EventStream
from backends.http.usage import Usage, count
from backends.openai.chat import ChatDecoder
from backends.openai.responses import ResponseDecoder

# A whole answer, with USAGE where it tells what it has used, and the name of what was read there.
ANSWERS = {
    "chat": (
        ChatDecoder,
        "prompt_tokens",
        ['{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"usage":USAGE}'],
    ),
    "responses": (
        ResponseDecoder,
        "input_tokens",
        [
            '{"type":"response.output_text.delta","delta":"a"}',
            '{"type":"response.completed","response":{"status":"completed","usage":USAGE}}',
        ],
    ),
    "anthropic": (
        MessageDecoder,
        "input_tokens",
        [
            '{"type":"message_start","message":{"usage":USAGE}}',
            '{"type":"content_block_delta","delta":{"text":"a"}}',
            '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":USAGE}',
            '{"type":"message_stop"}',
        ],
    ),
    "gemini": (
        GeminiDecoder,
        "promptTokenCount",
        [
            '{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],"usageMetadata":USAGE}',
        ],
    ),
}
# What is told, and what is made of it; the first member's name is that of the API.
ODD = {
    "null": ("null", None),
    "no object": ('"much"', None),
    "a list": ("[7]", None),
    "null for a number": ('{"NAME":null}', Usage(0, 0, 0)),
    "a number as text": ('{"NAME":"7"}', Usage(0, 0, 0)),
    "a float": ('{"NAME":7.0}', Usage(7, 7, 0)),
    "a truth": ('{"NAME":true}', Usage(0, 0, 0)),
    "less than nothing": ('{"NAME":-7}', Usage(0, 0, 0)),
    "more than a frontend can count": ('{"NAME":9007199254740992}', Usage(0, 0, 0)),
    "more than anybody can count": ('{"NAME":' + "9" * 60 + "}", Usage(0, 0, 0)),
}


@pytest.mark.parametrize("told", ODD)
@pytest.mark.parametrize("api", ANSWERS)
def test_no_answer_is_lost_for_what_it_is_said_to_have_used(api, told):
    """The words are what was asked for."""
    (made, name, lines), (usage, expected) = ANSWERS[api], ODD[told]
    decoder = made()
    stream = "".join(f"data: {line}\n\n" for line in lines).replace("USAGE", usage.replace("NAME", name))
    words = [piece.text for event in EventStream().feed(stream.encode()) for piece in decoder.pieces(event)]

    assert (["a"], "end_turn", expected) == (words, decoder.stop, decoder.usage)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [("0.25", 0.25), ("0", 0.0), ('{"total_cost":0.25}', None), ("-1", None), ("2e6", None), ('"0.25"', None)],
)
def test_a_price_is_a_believable_number(cost, expected):
    """Perplexity tells an object where OpenRouter tells dollars."""
    decoder = ChatDecoder()
    (event,) = EventStream().feed(b'data: {"choices":[],"usage":{"cost":%b}}\n\n' % cost.encode())

    assert ([], Usage(0, 0, 0, cost=expected)) == (list(decoder.pieces(event)), decoder.usage)


def test_the_most_that_a_frontend_can_count_is_told():
    """JavaScript's Number.MAX_SAFE_INTEGER."""
    assert 2**53 - 1 == count({"a": {"b": 2**53 - 1}}, "a", "b")


def test_what_messages_tell_later_takes_nothing_back():
    """The beginning tells what was read, the end what was written; some end in two events, and leave members null."""
    lines = [
        '{"type":"message_start","message":{"usage":{"input_tokens":7,"cache_read_input_tokens":2}}}',
        '{"type":"content_block_delta","delta":{"text":"a"}}',
        '{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":1,"input_tokens":null}}',
        '{"type":"message_delta","delta":{},"usage":{"output_tokens":3}}',
        '{"type":"message_stop"}',
    ]
    decoder = MessageDecoder()
    for event in EventStream().feed("".join(f"data: {line}\n\n" for line in lines).encode()):
        list(decoder.pieces(event))

    assert ("max_tokens", Usage(12, 7, 3, None, 2)) == (decoder.stop, decoder.usage)


def test_gemini_may_tell_what_was_used_behind_the_end():
    """Gateways put it into a chunk of its own; what is over is not heard any more."""
    decoder = GeminiDecoder()
    end, used = EventStream().feed(
        b'data: {"candidates":[{"finishReason":"STOP"}]}\n\ndata: {"usageMetadata":{"promptTokenCount":7}}\n\n'
    )
    list(decoder.pieces(end))
    is_over = decoder.is_over
    list(decoder.pieces(used))

    assert (False, "end_turn", Usage(7, 7, 0)) == (is_over, decoder.stop, decoder.usage)
