"""What a person says of a provider's failures, against what came of it without."""

import re

import pytest

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.rules import Rule, ruled

KIND = FailureKind.RATE_LIMITED
BODY = b'{"error": {"message": "Queue is full, come back.", "type": "QueueFullError", "code": 1113}}'


def kind(rule: Rule, body: bytes = BODY, status: int | None = 400, code: str | None = None) -> FailureKind:
    return ruled([rule], Failure(FailureKind.BAD_REQUEST, "x", code), body, status).kind


@pytest.mark.parametrize(
    "rule",
    [
        Rule(KIND, status=400),
        Rule(KIND, code="QueueFullError"),
        Rule(KIND, code="queue_full"),
        Rule(KIND, code="1113"),
        Rule(KIND, text=re.compile("queue is", re.IGNORECASE)),
        Rule(KIND, 400, "1113", re.compile("full")),
    ],
)
def test_what_a_row_names_is_found(rule):
    """Status, code and words; a number is a code, too, and spelling does not matter."""
    assert KIND == kind(rule)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(KIND, status=401),
        Rule(KIND, code="111"),
        Rule(KIND, code="Queue is full, come back"),
        Rule(KIND, text=re.compile("empty")),
        Rule(KIND, 400, "1114"),
        Rule(KIND, 401, "1113"),
        Rule(KIND, 400, "1113", re.compile("empty")),
    ],
)
def test_a_row_fits_wholly_or_not_at_all(rule):
    """Half a fit is another failure."""
    assert FailureKind.BAD_REQUEST == kind(rule)


def test_a_status_inside_a_stream_is_one():
    """HTTP's was 200 by then."""
    assert KIND == kind(Rule(KIND, status=529), b'{"error": {"code": 529}}', None)


def test_a_finish_reason_is_a_code():
    """It stands in no error."""
    assert KIND == kind(Rule(KIND, code="queue_full"), b"{}", None, "QUEUE_FULL")


def test_no_words_are_found_where_there_are_none():
    """`.*` is found in nothing as well."""
    assert FailureKind.BAD_REQUEST == kind(Rule(KIND, text=re.compile(".*")), b"")


@pytest.mark.parametrize(("code", "expected"), [("余额不足", KIND), ("限流", FailureKind.BAD_REQUEST)])
def test_a_code_may_be_in_any_script(code, expected):
    """And two of them are two."""
    assert expected == kind(Rule(KIND, code="余额不足"), b'{"error": {"code": "%b"}}' % code.encode())


def test_the_first_row_that_fits_counts():
    """A person writes the exact before the vague."""
    rules = [Rule(FailureKind.BILLING, code="1113"), Rule(KIND, status=400)]

    assert FailureKind.BILLING == ruled(rules, Failure(FailureKind.BAD_REQUEST, "x"), BODY, 400).kind


@pytest.mark.parametrize(("told", "expected"), [(None, 20.0), (3.0, 3.0)])
def test_a_rows_wait_counts_where_none_was_told(told, expected):
    """The provider knows better."""
    failure = Failure(FailureKind.BAD_REQUEST, "x", None, told)

    assert expected == ruled([Rule(KIND, status=400, retry_after_s=20.0)], failure, BODY, 400).retry_after_s


def test_words_far_behind_are_not_searched():
    """An expression's time grows with what it is given."""
    body = b'{"error": "%b full"}' % (b"x" * 3_000)

    assert FailureKind.BAD_REQUEST == kind(Rule(KIND, text=re.compile("full")), body)
