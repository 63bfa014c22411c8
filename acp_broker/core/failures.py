"""What went wrong, and what it uses up.

A failure is data. What matters is not whether to retry but what the failure *spends*: this BACKEND (try the next
candidate), this PROFILE (skip every candidate that uses it), or the whole TURN (nobody can help, or it is our fault).
"""

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from acp_broker.core.names import Phase


class Spends(Enum):
    BACKEND = "backend"
    PROFILE = "profile"
    TURN = "turn"


class FailureKind(Enum):
    UNREACHABLE = "unreachable"
    CRASHED = "crashed"
    SILENT = "silent"
    GARBLED = "garbled"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    MODEL_NOT_FOUND = "model_not_found"
    EMPTY_TURN = "empty_turn"
    UNSUPPORTED = "unsupported"
    GUARDRAIL = "guardrail"
    QUALITY = "quality"
    UNCLASSIFIED = "unclassified"
    AUTH_MISSING = "auth_missing"
    AUTH_REJECTED = "auth_rejected"
    BILLING = "billing"
    PROFILE_BUSY = "profile_busy"
    ACCOUNT_RATE_LIMITED = "account_rate_limited"
    BAD_REQUEST = "bad_request"
    CONTEXT_OVERFLOW = "context_overflow"
    CANCELLED = "cancelled"
    BROKER_FAULT = "broker_fault"


class Failure(Struct, frozen=True, omit_defaults=True):
    """One attempt's failure. `text` is what the runtime said, shortened; `code` is the provider's or peer's own.

    `retry_after_s` is in seconds from when it was seen; `seen_at` is the phase the attempt had reached.
    """

    kind: FailureKind
    text: str
    code: str | None = None
    retry_after_s: float | None = None
    seen_at: Phase | None = None


_SPENDS: Mapping[FailureKind, Spends] = {
    FailureKind.UNREACHABLE: Spends.BACKEND,
    FailureKind.CRASHED: Spends.BACKEND,
    FailureKind.SILENT: Spends.BACKEND,
    FailureKind.GARBLED: Spends.BACKEND,
    FailureKind.OVERLOADED: Spends.BACKEND,
    FailureKind.SERVER_ERROR: Spends.BACKEND,
    # A model's limit: another backend, or another model, has room.
    FailureKind.RATE_LIMITED: Spends.BACKEND,
    FailureKind.MODEL_NOT_FOUND: Spends.BACKEND,
    FailureKind.EMPTY_TURN: Spends.BACKEND,
    FailureKind.UNSUPPORTED: Spends.BACKEND,
    FailureKind.GUARDRAIL: Spends.BACKEND,
    FailureKind.QUALITY: Spends.BACKEND,
    # What nothing recognises moves on: staying would end a turn that another backend could have served.
    FailureKind.UNCLASSIFIED: Spends.BACKEND,
    FailureKind.AUTH_MISSING: Spends.PROFILE,
    FailureKind.AUTH_REJECTED: Spends.PROFILE,
    FailureKind.BILLING: Spends.PROFILE,
    FailureKind.PROFILE_BUSY: Spends.PROFILE,
    FailureKind.ACCOUNT_RATE_LIMITED: Spends.PROFILE,
    FailureKind.BAD_REQUEST: Spends.TURN,
    # But for those that are known to take more: turnrules.
    FailureKind.CONTEXT_OVERFLOW: Spends.TURN,
    FailureKind.CANCELLED: Spends.TURN,
    FailureKind.BROKER_FAULT: Spends.TURN,
}


# The code of a failure that says that nobody at its provider's address took a connection.
NO_CONNECTION = "no_connection"


def spends(kind: FailureKind) -> Spends:
    """What a failure of this kind uses up."""
    return _SPENDS[kind]
