"""Whom a backend is opened for, and who listens where nobody does."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Raw, Struct

from acp_broker.broker.asks import unattended_answer
from acp_broker.core.names import BackendId, Phase
from acp_broker.wire.acp import Answer, Update


class Whom(Struct, frozen=True):
    """Whom a backend is opened for: the frontend's `clientCapabilities` and `clientInfo`, and the logins that hold.

    `environ` is the environment that its agents are started in.
    """

    capabilities: Raw = Raw(b"{}")
    info: Raw | None = None
    logins: Mapping[BackendId, str] = {}
    environ: Mapping[str, str] = {}


class Nobody:
    """The `contract.Client` of a runtime that is opened without a session."""

    def reached(self, phase: Phase) -> None:
        """Nobody waits for it."""

    def show(self, updates: Sequence[Update]) -> None:
        """There is nobody to show it to."""

    def ask(self, method: str, params: dict[str, Raw], answered: Callable[[Answer], None]) -> "Nobody":  # noqa: ARG002
        answered(unattended_answer(method))
        return self

    def withdraw(self) -> None:
        """It was answered at once."""

    def tell(self, method: str, params: dict[str, Raw] | None) -> None:
        """There is nobody to tell."""
