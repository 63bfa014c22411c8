"""Tokens of logins: kept whole, seen by nobody."""

from acp_broker.auth.tokens import TokenSet


def test_a_token_set_tells_nobody_what_it_holds() -> None:
    """A repr ends in logs, tracebacks and test reports."""
    assert "TokenSet(...)" == repr(TokenSet(access="canary-1", refresh="canary-2", account="ann"))
