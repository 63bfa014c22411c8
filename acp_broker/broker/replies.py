"""The JSON-RPC reply that each of our own exceptions and failures becomes, outside of a turn's story."""

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import (
    AUTH_REQUIRED,
    BROKER_FAULT,
    BUSY,
    EXHAUSTED,
    INTERNAL_ERROR,
    BackendFailure,
    BrokerError,
    RpcError,
    SessionInUse,
    StoreError,
)


def reply_to(error: BrokerError) -> RpcError:
    """The JSON-RPC reply that one of our exceptions becomes."""
    match error:
        case RpcError():
            return error
        case BackendFailure(failure=failure):
            return reply_to_failure(failure)
        case SessionInUse():
            return RpcError(BUSY, str(error))
        case StoreError():
            return RpcError(BROKER_FAULT, str(error))
        case _:
            return RpcError(INTERNAL_ERROR, str(error))


def reply_to_failure(failure: Failure) -> RpcError:
    """The same for a failure of a backend, or of ours, outside of any turn."""
    match failure.kind:
        case FailureKind.BROKER_FAULT:
            return RpcError(BROKER_FAULT, failure.text)
        case FailureKind.AUTH_MISSING | FailureKind.AUTH_REJECTED:
            return RpcError(AUTH_REQUIRED, failure.text)
        case _:
            return RpcError(EXHAUSTED, failure.text)
