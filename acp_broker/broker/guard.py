"""The one place where `except Exception` stands: a bug of ours, or of a kind's module, becomes a broker fault.

It ends the turn with our name on it, never walks the chain, and leaves its traceback in the log.
"""

import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from anyio.abc import TaskGroup

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure, StoreError
from acp_broker.observe.log import Log

T = TypeVar("T")


def call(log: Log, work: Callable[..., None], *arguments: object) -> Failure | None:
    """Call `work` on this very stack; what it raises comes back as a Failure."""
    try:
        work(*arguments)
    except Exception as error:  # noqa: BLE001 - this is the place
        return _fault(error, log)
    return None


async def guarded(work: Awaitable[T], log: Log) -> T | Failure:
    """Await `work`; what it raises comes back as a Failure. Cancellation passes through."""
    try:
        return await work
    except BackendFailure as error:
        return error.failure
    except StoreError as error:
        return Failure(FailureKind.BROKER_FAULT, str(error))
    except Exception as error:  # noqa: BLE001 - this is the place
        return _fault(error, log)


class Tasks:
    """A task group in which a fault ends the task that it is in and no other: else it would end every session."""

    def __init__(self, group: TaskGroup, log: Log) -> None:
        self._group = group
        self._log = log

    def start_soon(self, work: Callable[..., Awaitable[object]], *arguments: object) -> None:
        name = getattr(work, "__qualname__", repr(work))
        self._group.start_soon(self._run, name, work, arguments, name=name)

    async def _run(self, name: str, work: Callable[..., Awaitable[object]], arguments: Sequence[object]) -> None:
        outcome = await guarded(work(*arguments), self._log)
        if isinstance(outcome, Failure):
            self._log("task_failed", task=name, why=outcome.text)


def _fault(error: Exception, log: Log) -> Failure:
    log("broker_fault", error=repr(error), traceback=traceback.format_exc())
    return Failure(FailureKind.BROKER_FAULT, f"a fault of ACP Broker itself: {error!r}; its log has the traceback")
