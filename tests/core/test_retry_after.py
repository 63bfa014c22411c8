"""How long a provider asks us to wait."""

import json

import pytest

from acp_broker.core.classify import from_rpc_error
from acp_broker.core.retry_after import of_text, of_value

TEXTS = [
    ("Please try again in 20s.", 20.0),
    ("Please try again in 6m0s", 360.0),
    ("try again in 1h2m3s", 3723.0),
    ("Please retry in 34.074s.", 34.074),
    ("try again in 250ms", 0.25),
    ("resets in 5 minutes", 300.0),
    ("Please wait 2 minutes", 120.0),
    ("try again in 3 days 6 hours 57 minutes.", 3 * 86_400 + 6 * 3600 + 57 * 60.0),
    ("retry-after: 30", 30.0),
    ("Retry after 12 seconds", 12.0),
]


@pytest.mark.parametrize(("text", "seconds"), TEXTS)
def test_a_wait_is_read_from_a_sentence(text: str, seconds: float) -> None:
    """Many agents pass on the provider's sentence and nothing else."""
    assert seconds == of_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "try again later",
        "try again at 3:28 PM",
        "resets 3pm",
        "wait 2",
        "in 20s",
        "try again in 20 steps",
        "try again in 0s",
        "try again in 9 days",
        "reset the 5 minute timer",
        "retry-after: 99999999",
    ],
)
def test_what_is_no_sane_length_is_no_wait(text: str) -> None:
    """A wrong wait rests a healthy backend; the ladder is the better guess."""
    assert of_text(text) is None


FIELDS = [
    ({"retry_after": 7}, 7.0),
    ({"retryAfter": "8"}, 8.0),
    ({"retry-after-ms": 1500}, 1.5),
    ({"retryDelay": "34s"}, 34.0),
    ({"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.5s"}]}, 0.5),
    ({"headers": {"Retry-After": "20"}}, 20.0),
    ({"resets_in_seconds": 3600}, 3600.0),
    ({"retry_after": 0}, None),
    ({"retry_after": -1}, None),
    ({"retry_after": True}, None),
    ({"retry_after": 1_700_000_000}, None),
    ({"retry_after": 10**400}, None),
    ({"retry-after-ms": 10**400}, None),
    ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ({"retry_after": None}, None),
    ({"a": {"retry_after": 3}, "b": {"retry_after": 5}}, 5.0),
]


@pytest.mark.parametrize(("data", "seconds"), FIELDS)
def test_a_wait_is_read_from_its_field(data: dict[str, object], seconds: float | None) -> None:
    """Structure first; of two, the longer keeps the promise to both."""
    assert seconds == from_rpc_error(-32603, "x", json.dumps(data).encode(), seen_at=None).retry_after_s


def test_a_field_outranks_a_sentence() -> None:
    """Sentences round."""
    data = json.dumps({"retry_after": 7}).encode()

    assert from_rpc_error(-32603, "try again in 20s", data, seen_at=None).retry_after_s == 7.0


def test_a_length_may_stand_in_a_header() -> None:
    """OpenAI writes `x-ratelimit-reset-tokens: 6m0s`."""
    assert of_value("6m0s") == 360.0
