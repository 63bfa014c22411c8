"""What a session has cost over all its backends: each runtime reports its own, a frontend is shown the sum.

ACP v1, prompt-turn, "Session Usage Updates": `cost` is cumulative for the session. To a frontend the session is ours.
"""

import msgspec
from msgspec import Raw, Struct

from acp_broker.core.names import BackendId
from acp_broker.wire.acp import Update


class _Cost(Struct):
    amount: float
    currency: str


class _Usage(Struct):
    cost: _Cost | None = None


class Costs:
    """Per backend and currency: what its earlier runtimes came to, and what the present one says."""

    def __init__(self) -> None:
        self._spent: dict[tuple[BackendId, str], tuple[float, float]] = {}

    def began(self, backend: BackendId) -> None:
        """A new runtime of it counts from nothing, whatever it says first."""
        for (name, currency), (before, last) in self._spent.items():
            if name == backend:
                self._spent[name, currency] = before + last, 0.0

    def summed(self, backend: BackendId, update: Update) -> None:
        """Rewrite a `usage_update` of a session that has cost money elsewhere too; all others stay as they are."""
        try:
            cost = msgspec.json.decode(update.params["update"], type=_Usage).cost
        except msgspec.DecodeError:
            return
        if cost is None:
            return
        before, last = self._spent.get((backend, cost.currency), (0.0, 0.0))
        if cost.amount < last:  # a new runtime counts from nothing; one that was resumed goes on
            before += last
        self._spent[backend, cost.currency] = before, cost.amount
        total = sum(sum(spent) for (_, currency), spent in self._spent.items() if currency == cost.currency)
        if total != cost.amount:
            body = msgspec.json.decode(update.params["update"], type=dict[str, Raw])
            body["cost"] = Raw(msgspec.json.encode(_Cost(total, cost.currency)))
            update.params["update"] = Raw(msgspec.json.encode(body))
