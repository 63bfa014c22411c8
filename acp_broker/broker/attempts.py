"""The task that runs a session's attempts: there from the first one on, until it is told to stop."""

from asyncio import Queue

from anyio import CancelScope

from acp_broker.broker.attempt import Attempt
from acp_broker.broker.guard import Tasks, call, guarded
from acp_broker.contract import Finished
from acp_broker.core.failures import Failure
from acp_broker.observe.log import Log


class Attempts:
    """Runs each attempt to its very end before the next. To wake a task costs a fifth of starting another."""

    def __init__(self, tasks: Tasks, log: Log) -> None:
        self._tasks = tasks
        self._log = log
        # A session without a turn needs neither task nor queue.
        self._queue: Queue[Attempt | None] | None = None

    def put_nowait(self, attempt: Attempt) -> None:
        if self._queue is None:
            self._queue = Queue()
            self._tasks.start_soon(self._run, self._queue)
        self._queue.put_nowait(attempt)

    def stop(self) -> None:
        """End the task once it has run what it was given; the next attempt starts another."""
        if self._queue is not None:
            self._queue.put_nowait(None)
            self._queue = None

    async def _run(self, queue: "Queue[Attempt | None]") -> None:
        attempt: Attempt | None = None
        outcome: Finished | Failure | None = None
        while True:
            # Shared by all attempts up to the first that is broken off: nearly none is, and a scope costs 30 calls.
            with CancelScope() as scope:
                while (attempt := await queue.get()) is not None:
                    outcome = None  # and that it stays if it is broken off
                    outcome = await guarded(attempt.run(scope), self._log)
                    if scope.cancel_called:
                        break
                    call(self._log, attempt.over, outcome)
            if attempt is None:
                return
            await guarded(attempt.broken_off(outcome), self._log)
