"""What a failure uses up, and that nobody forgot a kind."""

import pytest

from acp_broker.core.failures import FailureKind, Spends, spends

SPENT = {
    Spends.BACKEND: {
        "unreachable",
        "crashed",
        "silent",
        "garbled",
        "overloaded",
        "server_error",
        "rate_limited",
        "model_not_found",
        "empty_turn",
        "unsupported",
        "guardrail",
        "quality",
        "unclassified",
    },
    Spends.PROFILE: {"auth_missing", "auth_rejected", "billing", "profile_busy", "account_rate_limited"},
    Spends.TURN: {"bad_request", "context_overflow", "cancelled", "broker_fault"},
}


@pytest.mark.parametrize("kind", FailureKind, ids=lambda kind: kind.value)
def test_every_kind_spends_something(kind: FailureKind) -> None:
    """A kind that the table forgets would end the runner with a KeyError in the middle of a failover."""
    assert isinstance(spends(kind), Spends)


@pytest.mark.parametrize("spent", Spends, ids=lambda spent: spent.value)
def test_each_kind_spends_what_the_design_says(spent: Spends) -> None:
    """Which candidate comes next depends on this table alone."""
    assert SPENT[spent] == {kind.value for kind in FailureKind if spends(kind) is spent}
