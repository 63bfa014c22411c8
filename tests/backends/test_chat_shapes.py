# ruff: noqa: E501 - as it is on the wire
"""What servers that speak Chat Completions really stream, each a little unlike OpenAI's own."""

from typing import NamedTuple

import pytest

from acp_broker.errors import BackendFailure
from backends.http.sse import EventStream
from backends.http.usage import Usage
from backends.openai.chat import ChatDecoder


class Heard(NamedTuple):
    thoughts: str
    words: str
    stop: str | None
    usage: Usage | None


def heard(stream: str) -> Heard:
    decoder, told = ChatDecoder(), {True: "", False: ""}
    for event in EventStream().feed(stream.encode()):
        for text, is_thought in decoder.pieces(event):
            told[is_thought] += text
    return Heard(told[True], told[False], decoder.stop, decoder.usage)


SHAPES = {
    "OpenAI: content is null, then usage in a chunk without a choice": (
        """
data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x"}

data: {"choices":[{"index":0,"delta":{"content":"duck"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"choices":[{"index":0,"delta":{"content":null},"finish_reason":"stop"}],"usage":null}

data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0}}}

data: [DONE]

""",
        Heard("", "duck", "end_turn", Usage(10, 7, 3, 1, 4)),
    ),
    "Azure: what the filters found comes first, without a choice, and with each piece": (
        """
data: {"choices":[],"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}

data: {"choices":[{"content_filter_results":{"hate":{"filtered":false}},"delta":{"content":"duck"},"finish_reason":null,"index":0,"logprobs":null}]}

data: {"choices":[{"content_filter_results":{},"delta":{},"finish_reason":"stop","index":0,"logprobs":null}]}

""",
        Heard("", "duck", "end_turn", None),
    ),
    "OpenRouter: comments, the upstream's own reason, the price": (
        """
: OPENROUTER PROCESSING

data: {"provider":"Chutes","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm"}]},"finish_reason":null,"native_finish_reason":null}]}

data: {"provider":"Chutes","choices":[{"index":0,"delta":{"role":"assistant","content":"duck","reasoning":null},"finish_reason":"stop","native_finish_reason":"eos"}]}

data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"cost":0.002,"is_byok":false}}

data: [DONE]

""",
        Heard("hm", "duck", "end_turn", Usage(10, 7, 3, cost=0.002)),
    ),
    "DeepSeek: one of content and reasoning is null; the usage is with the reason": (
        """
: keep-alive

data: {"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"hm"},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"content":"duck","reasoning_content":null},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":7}}

data: [DONE]

""",
        Heard("hm", "duck", "end_turn", Usage(10, 7, 3)),
    ),
    "vLLM: usage with every piece, both names of reasoning, a stop reason of its own": (
        """
data: {"choices":[{"index":0,"delta":{"reasoning":"hm","reasoning_content":"hm"},"logprobs":null,"finish_reason":null,"token_ids":null}],"usage":{"prompt_tokens":7,"total_tokens":8,"completion_tokens":1}}

data: {"choices":[{"index":0,"delta":{"content":"duck"},"logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}}

data: [DONE]

""",
        Heard("hm", "duck", "max_tokens", Usage(10, 7, 3)),
    ),
    "Mistral: a list of parts, thinking among them; the usage with the reason": (
        """
data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}],"closed":true}]},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"du"},{"type":"reference","reference_ids":[1]},{"type":"text","text":"ck"}]},"finish_reason":"model_length"}],"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}}

data: [DONE]

""",
        Heard("hm", "duck", "max_tokens", Usage(10, 7, 3)),
    ),
    "Ollama: a reason with the last piece, `reasoning`": (
        """
data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"hm"},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"duck"},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}

data: [DONE]

""",
        Heard("hm", "duck", "end_turn", Usage(10, 7, 3)),
    ),
    "llama.cpp: timings, and no name of a model": (
        """
data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"system_fingerprint":"b1"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"duck"}}],"timings":{"prompt_n":7,"predicted_per_second":90.5}}

data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"usage":null,"timings":{"prompt_n":7,"predicted_n":3}}

data: [DONE]

""",
        Heard("", "duck", "end_turn", None),
    ),
    "Groq: its own usage beside the standard's": (
        """
data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"x_groq":{"id":"req_1"}}

data: {"choices":[{"index":0,"delta":{"content":"duck"},"logprobs":null,"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":7}}}

data: {"choices":[],"usage":{"queue_time":0.01,"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}

data: [DONE]

""",
        Heard("", "duck", "end_turn", Usage(10, 7, 3)),
    ),
    "gateways: null where a number or a list belongs": (
        """
data: {"choices":null,"error":null}

data: {"choices":[{"index":0,"delta":null,"error":null,"finish_reason":""}],"error":{}}

data: {"choices":[{"index":0,"delta":{"content":"duck"},"finish_reason":"eos_token"}],"usage":{"prompt_tokens":7,"completion_tokens":null,"total_tokens":null}}

""",
        Heard("", "duck", "end_turn", Usage(7, 7, 0)),
    ),
}


@pytest.mark.parametrize("server", SHAPES)
def test_a_servers_own_way_is_understood(server):
    """Each calls itself compatible, and each was written by somebody else."""
    stream, expected = SHAPES[server]

    assert expected == heard(stream)


ERRORS = {
    "OpenRouter": (
        'data: {"id":"gen-1","error":{"code":"server_error","message":"Provider disconnected unexpectedly"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n',
        "server_error",
    ),
    "OpenRouter, in the choice": (
        'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error","error":{"code":429,"message":"Slower"}}]}\n\n',
        "rate_limited",
    ),
    "LM Studio": (
        'event: error\ndata: {"error":{"message":"The model has crashed without additional information."}}\n\n',
        "unclassified",
    ),
    "LM Studio, without an object": ('event: error\ndata: {"message":"Model is unloaded."}\n\n', "overloaded"),
    "vLLM": (
        'data: {"error":{"message":"EngineCore encountered an issue","type":"InternalServerError","code":500}}\n\n',
        "server_error",
    ),
    "a proxy that names an event and writes no JSON": ("event: error\ndata: upstream is gone\n\n", "unclassified"),
}


@pytest.mark.parametrize("server", ERRORS)
def test_an_error_inside_a_stream_is_one(server):
    """None of them is an answer that has ended, or that makes no sense."""
    stream, expected = ERRORS[server]
    with pytest.raises(BackendFailure) as raised:
        heard(stream)

    assert expected == raised.value.failure.kind.value
