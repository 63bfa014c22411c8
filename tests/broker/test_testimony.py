"""What an answer says of its turn. Shapes: facts of claude, goose and gemini, and what none of them should send."""

import pytest
from msgspec import Raw

from acp_broker.broker.testimony import Testimony, witnessed


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"{}", False),
        (b"null", False),
        (b"[1", False),
        (b'{"usage":null}', False),
        (b'{"usage":3}', False),
        (b'{"usage":{"inputTokens":0,"outputTokens":0}}', False),
        (b'{"usage":{"inputTokens":null}}', False),
        (b'{"usage":{"totalTokens":1}}', True),
        (b'{"_meta":{"quota":{"token_count":{"input_tokens":25,"output_tokens":7}}}}', True),
        (b'{"_meta":{"quota":{"token_count":null}}}', False),
        (b'{"_meta":{"other":{"token_count":{"input_tokens":25}}}}', False),
        (b'{"_meta":"text","usage":{"totalTokens":0.5}}', True),
    ],
)
def test_usage_is_a_witness_that_a_model_spoke(answer, expected):
    """Null and zeros are no usage."""
    assert expected == witnessed(Raw(answer)).has_usage


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"{}", False),
        (b'{"usage":null}', False),
        (b'{"usage":{"totalTokens":1}}', False),
        (b'{"usage":{"totalTokens":0,"inputTokens":1}}', False),
        (b'{"usage":{"totalTokens":0}}', True),
        (b'{"_meta":{"quota":{"token_count":{"input_tokens":0,"output_tokens":0}}}}', True),
    ],
)
def test_zeros_say_that_nothing_was_used(answer, expected):
    """Saying nothing is not the same."""
    assert expected == witnessed(Raw(answer)).says_unused


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"_meta":{"hermes":{"failed":true}}}', True),
        (b'{"_meta":{"quota":{"failed":true}}}', True),
        (b'{"_meta":{"hermes":{"failed":false}}}', False),
        (b'{"_meta":{"failed":true}}', False),
        (b'{"hermes":{"failed":true}}', False),
    ],
)
def test_an_agent_may_call_its_turn_failed(answer, expected):
    """In a `_meta` of its own, beside a good stop reason."""
    assert expected == witnessed(Raw(answer)).says_failed


def test_usage_is_compared_as_it_was_written():
    """Two turns that used the same say the same."""
    answer = Raw(b'{"usage":{"totalTokens":12,"inputTokens":7}}')

    assert (b"12,7", b"") == (witnessed(answer).usage, Testimony().usage)
