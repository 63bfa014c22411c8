"""What another broker's error reply means here: by its code, whatever the agents behind it have said."""

import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.errors import BROKER_FAULT, BUSY, EXHAUSTED, FAILED_AFTER_COMMIT, INTERRUPTED, RpcError
from backends.acp import failing
from tests.support.client import raw


@pytest.mark.parametrize(
    ("code", "data", "expected"),
    [
        (EXHAUSTED, {"code": "exhausted"}, FailureKind.SERVER_ERROR),
        (EXHAUSTED, {"code": "overloaded"}, FailureKind.OVERLOADED),
        (EXHAUSTED, {"code": "context_overflow"}, FailureKind.CONTEXT_OVERFLOW),
        (EXHAUSTED, {"code": "auth_rejected"}, FailureKind.SERVER_ERROR),
        (EXHAUSTED, {"code": "bad_request"}, FailureKind.SERVER_ERROR),
        (EXHAUSTED, {"code": "of another version"}, FailureKind.SERVER_ERROR),
        (EXHAUSTED, ["of", "another", "version"], FailureKind.SERVER_ERROR),
        (FAILED_AFTER_COMMIT, {"code": "overloaded"}, FailureKind.CRASHED),
        (
            FAILED_AFTER_COMMIT,
            {"attempts": [{"failure": "crashed"}, {"failure": "overloaded"}]},
            FailureKind.OVERLOADED,
        ),
        (FAILED_AFTER_COMMIT, {"attempts": [{"failure": "auth_rejected"}]}, FailureKind.CRASHED),
        (FAILED_AFTER_COMMIT, {"attempts": [{"backend": "claude"}]}, FailureKind.CRASHED),
        (FAILED_AFTER_COMMIT, {"attempts": "of another version"}, FailureKind.CRASHED),
        (BUSY, {"code": "busy"}, FailureKind.OVERLOADED),
        (BROKER_FAULT, {"code": "broker_fault"}, FailureKind.SERVER_ERROR),
        (INTERRUPTED, {"code": "interrupted"}, FailureKind.CRASHED),
    ],
)
def test_a_brokers_error_spends_nothing_but_that_broker(code, data, expected):
    """A login that is missing over there is none of ours, and no prompt is at fault that another one may take."""
    error = RpcError(code, "claude: Please run /login", raw(data))

    assert expected == failing.of_reply(error, "submitted", is_broker=True).kind


@pytest.mark.parametrize(("asked", "expected"), [(7, 7.0), (0, None), (-3, None), (1e9, None), (None, None)])
def test_a_wait_that_it_asks_for_is_believed_within_reason(asked, expected):
    """A backend that rested for thirty years would be gone from the chain without a word."""
    error = RpcError(EXHAUSTED, "x", raw({"code": "exhausted", "retryAfter": asked}))

    assert expected == failing.of_reply(error, "submitted", is_broker=True).retry_after_s


def test_the_same_code_of_an_agent_is_no_brokers():
    """Anybody may count so."""
    said = failing.of_reply(RpcError(BUSY, "429 too many requests"), "submitted", is_broker=False)

    assert FailureKind.RATE_LIMITED == said.kind
