"""What a session has cost, as its frontends are told."""

import msgspec

from acp_broker.broker.costs import Costs
from acp_broker.core.names import BackendId
from acp_broker.wire.acp import Update, update

CLAUDE, CODEX = BackendId("claude"), BackendId("codex")


def _usage(amount: float, currency: str = "USD") -> Update:
    return update("usage_update", used=1, size=2, cost={"amount": amount, "currency": currency})


def _shown(costs: Costs, backend: BackendId, said: Update) -> object:
    costs.summed(backend, said)
    return msgspec.json.decode(said.params["update"])["cost"]


def test_one_backend_s_cost_is_shown_as_it_said() -> None:
    """The bytes of an ordinary session stay untouched."""
    said = _usage(0.25)
    before = bytes(said.params["update"])
    Costs().summed(CLAUDE, said)

    assert before == bytes(said.params["update"])


def test_costs_of_two_backends_are_summed() -> None:
    """To a frontend the session is one, whoever served it."""
    costs = Costs()
    _shown(costs, CLAUDE, _usage(0.5))

    assert {"amount": 0.75, "currency": "USD"} == _shown(costs, CODEX, _usage(0.25))


def test_a_restarted_agent_does_not_take_money_back() -> None:
    """A new process counts from nothing; what the old one cost was spent all the same."""
    costs = Costs()
    _shown(costs, CLAUDE, _usage(0.5))
    _shown(costs, CLAUDE, _usage(0.125))

    assert {"amount": 0.75, "currency": "USD"} == _shown(costs, CLAUDE, _usage(0.25))


def test_what_counts_from_nothing_may_begin_with_more() -> None:
    """A provider's API that was idle for a while: its next answer may be the dearest."""
    costs = Costs()
    _shown(costs, CLAUDE, _usage(0.25))
    costs.began(CODEX)
    costs.began(CLAUDE)

    assert {"amount": 0.75, "currency": "USD"} == _shown(costs, CLAUDE, _usage(0.5))


def test_currencies_are_never_mixed() -> None:
    """There is no rate to convert by."""
    costs = Costs()
    _shown(costs, CLAUDE, _usage(0.5))

    assert {"amount": 1.0, "currency": "EUR"} == _shown(costs, CODEX, _usage(1.0, "EUR"))
