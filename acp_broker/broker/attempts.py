"""The task that runs a session's attempts: there from the first one on, until it is told to stop."""

from asyncio import Queue

from acp_broker.broker.attempt import Attempt
from acp_broker.broker.guard import Tasks, guarded
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
        while (attempt := await queue.get()) is not None:
            await guarded(attempt.run(), self._log)
