"""Every exception we raise, as a tree, and the JSON-RPC reply each becomes.

    BrokerError
    |-- ConfigError          config.json: every problem at once, each with path, finding and fix
    |-- UsageError           a command line or an environment that we cannot work with
    |-- WireError            a peer broke the framing; its connection is spent
    |-- StoreError           our own disk: full, read-only, a log we cannot read. Never walks the chain
    |   `-- SessionInUse     a turn of the session runs in another process
    |-- Unresolved           a secret cannot be had; the message says why, and never holds a secret
    |-- AuthRejected         a provider refuses a login: only a new login helps
    |-- AuthUnavailable      a provider gives no newer token now; later it may
    |-- ProfileBusy          somebody else is getting a newer token, and is not done yet
    |-- BackendFailure       an attempt failed; carries a core.failures.Failure
    `-- RpcError             an error reply, sent or received

Foreign exceptions are translated once, at the edge, `from` their cause.
"""

from collections.abc import Sequence

from msgspec import Raw, Struct

from acp_broker.core.failures import Failure

# JSON-RPC 2.0, section 5.1.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# ACP v1 schema, ErrorCode.
AUTH_REQUIRED = -32000
RESOURCE_NOT_FOUND = -32002
REQUEST_CANCELLED = -32800
# Ours: outside the range that ACP reserves (-32000 to -32099), and not -32603, which acpx re-runs.
EXHAUSTED = -33001
FAILED_AFTER_COMMIT = -33002
BUSY = -33003
BROKER_FAULT = -33004
INTERRUPTED = -33005


class BrokerError(Exception):
    """The root: catching it catches what we raise on purpose and nothing else."""


class Problem(Struct, frozen=True):
    """One thing wrong in config.json: where, what was found, and what to write instead."""

    path: str
    finding: str


class ConfigError(BrokerError):
    """config.json cannot be used; `problems` lists everything that is wrong with it, not only the first."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        width = max((len(problem.path) for problem in self.problems), default=0)
        lines = [f"  {problem.path:<{width}}  {problem.finding}" for problem in self.problems]
        super().__init__("\n".join([f"{source}: {count}", *lines]))


class UsageError(BrokerError):
    """The command line or the environment asks for something that cannot be done; the message says what to change."""


class WireError(BrokerError):
    """The peer broke the framing in a way that cannot be skipped; its connection must be closed."""


class StoreError(BrokerError):
    """The state folder failed us. A local fault: it ends the turn and never walks the chain."""


class SessionInUse(StoreError):  # noqa: N818 - what it says, not what went wrong
    """A turn of the session runs in another process; its log can be written here when that is over."""


class Unresolved(BrokerError):  # noqa: N818 - what it says, not what went wrong
    """A secret cannot be had: one sentence on why, and on what to do. `is_late`: nobody answered in time."""

    def __init__(self, why: str, *, is_late: bool = False) -> None:
        self.is_late = is_late
        super().__init__(why)


class AuthRejected(BrokerError):  # noqa: N818 - what happened
    """A provider refuses what a profile has: what it said, without secrets; `code` is the provider's own.

    `is_final`: it refuses the stored token (`invalid_grant`), and will until there is another. Else it refuses
    something in config, such as the client.
    """

    def __init__(self, why: str, *, code: str | None = None, is_final: bool = True) -> None:
        self.code = code
        self.is_final = is_final
        super().__init__(why)


class AuthUnavailable(BrokerError):  # noqa: N818 - what happened
    """A provider gives no newer token now: one sentence on why, without secrets.

    `is_unanswered`: it was asked, and may have replaced the old token although no answer came.
    """

    def __init__(self, why: str, *, retry_after_s: float | None = None, is_unanswered: bool = False) -> None:
        self.retry_after_s = retry_after_s
        self.is_unanswered = is_unanswered
        super().__init__(why)


class ProfileBusy(BrokerError):  # noqa: N818 - what happened
    """Somebody else is getting a newer token, and was not done in time: who, since when, and what settles it."""


class BackendFailure(BrokerError):  # noqa: N818 - it is an outcome as much as an error
    """Raised by a backend for a failure that it can name."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(f"{failure.kind.value}: {failure.text}")


class RpcError(BrokerError):
    """A JSON-RPC error reply. `data`, when present, is raw JSON and is passed on untouched."""

    def __init__(self, code: int, message: str, data: Raw | None = None) -> None:
        self.code = code
        self.message = message
        self.data = data
        super().__init__(f"{message} ({code})")
