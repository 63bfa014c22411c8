"""Lines of an agent that are no messages: some are logged and skipped, many mean that it speaks something else."""

from typing import Protocol

from acp_broker.core import redact
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from acp_broker.wire.framing import Overlong

# An agent may print a banner or a warning on stdout; one that prints more than this speaks something else.
MOST = 200
# Of such a line, in bytes: enough to show what its agent speaks.
_MOST_READ = 1024


class Log(Protocol):
    def __call__(self, event: str, **fields: str | float | None) -> None: ...


class OddLines:
    """Those of one agent, which was to speak `protocol`."""

    def __init__(self, protocol: str, log: Log) -> None:
        self._protocol = protocol
        self._log = log
        self._count = 0

    def add(self, line: bytes) -> None:
        """One more; it is never answered. Raises BackendFailure (garbled) for one too many, or too long."""
        self._count += 1
        # Made plain before it is cut: half a key no longer looks like one.
        start = redact.plain(line[:_MOST_READ].decode(errors="replace"), 200)
        if isinstance(line, Overlong):
            text = f"sent a message longer than `limits.maxMessageBytes` of config.json: {start[:80]}..."
            raise BackendFailure(Failure(FailureKind.GARBLED, text))
        if self._count > MOST:
            text = f"does not speak {self._protocol}; it says {start[:80]!r}"
            raise BackendFailure(Failure(FailureKind.GARBLED, text))
        self._log("agent_odd_line", line=start)
