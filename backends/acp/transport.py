"""What carries the lines between us and an agent: the pipes of its process, or a connection to where it runs."""

from collections.abc import Callable
from typing import Protocol

from acp_broker.core.failures import Failure
from acp_broker.core.names import Phase
from backends.acp.row import Leaves


class Transport(Protocol):
    @property
    def has_ended(self) -> bool:
        """Whether nobody reads any more what is written."""

    def write(self, data: bytes) -> None:
        """Send whole lines, in order, without waiting; dropped once nobody reads."""

    async def run(self, on_lines: Callable[[list[bytes]], None]) -> None:
        """Hand over what arrives, in order, to its end. To be called once."""

    def kill(self) -> None:
        """End it now: `run` returns soon."""

    async def ended(self, seen_at: Phase) -> Failure:
        """Once `run` has returned: end what is left of it, and say why it ended."""

    async def leave(self, how: Leaves) -> None:
        """End it, as politely as `how` says; nothing of it is left then. Right, too, for what has ended."""
