"""What an agent's error reply means for the turn; and what another broker's means, whose chain is behind it."""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from acp_broker.core import classify, retry_after
from acp_broker.core.failures import Failure, FailureKind, Spends, spends
from acp_broker.core.names import Phase
from acp_broker.core.redact import plain
from acp_broker.errors import (
    BROKER_FAULT,
    BUSY,
    EXHAUSTED,
    FAILED_AFTER_COMMIT,
    INTERRUPTED,
    RpcError,
)

_OF_BROKER = {
    EXHAUSTED: FailureKind.SERVER_ERROR,
    FAILED_AFTER_COMMIT: FailureKind.CRASHED,
    BUSY: FailureKind.OVERLOADED,
    BROKER_FAULT: FailureKind.SERVER_ERROR,
    INTERRUPTED: FailureKind.CRASHED,
}


_KINDS = frozenset(kind.value for kind in FailureKind)


class _Tried(Struct):
    failure: str | None = None


class _Data(Struct):
    code: str = ""
    wait_s: float | None = msgspec.field(name="retryAfter", default=None)
    attempts: tuple[_Tried, ...] = ()

    def own(self, code: int) -> str | None:
        """The failure of the one that decided: the only backend, or the last, which failed behind words."""
        if code == EXHAUSTED:
            return self.code
        return self.attempts[-1].failure if code == FAILED_AFTER_COMMIT and self.attempts else None


def of_reply(error: RpcError, phase: Phase, *, is_broker: bool) -> Failure:
    """An agent's error reply as a failure."""
    if is_broker and error.code in _OF_BROKER:
        return _of_broker(error, phase)
    data = bytes(error.data) if error.data is not None else None
    failure = classify.from_rpc_error(error.code, error.message, data, seen_at=phase)
    if failure.kind is FailureKind.BAD_REQUEST:
        # A provider's 400 is about the request that this agent wrote; another agent writes one of its own.
        return replace(failure, kind=FailureKind.UNSUPPORTED)
    return failure


def _of_broker(error: RpcError, phase: Phase) -> Failure:
    """By its code alone: the words are those of agents behind it, and speak of logins that are not ours."""
    data = _Data()
    if error.data is not None:
        try:
            data = msgspec.json.decode(error.data, type=_Data)
        except msgspec.DecodeError:  # another version's
            data = _Data()
    kind = _OF_BROKER[error.code]
    if (name := data.own(error.code)) in _KINDS:
        own = FailureKind(name)
        kind = own if spends(own) is Spends.BACKEND or own is FailureKind.CONTEXT_OVERFLOW else kind
    wait_s = retry_after.sane(data.wait_s) if data.wait_s is not None else None
    return Failure(kind, plain(error.message) or f"error {error.code}", str(error.code), wait_s, phase)
