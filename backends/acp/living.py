"""An agent from its start to its very end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CancelScope, create_task_group
from msgspec import Raw

from acp_broker.contract import Tools
from acp_broker.errors import BackendFailure
from backends.acp import AcpConfig
from backends.acp.life import Again, Life
from backends.acp.row import Row
from backends.acp.transport import Transport


@asynccontextmanager
async def living(
    transport: Transport,
    tools: Tools,
    settings: AcpConfig,
    row: Row | None,
    capabilities: Raw,
    again: Again | None = None,
) -> AsyncIterator[Life]:
    """The agent, initialized and with its session open; ended, with all that belongs to it, on the way out.

    `again` finds a broker elsewhere once more, that was lost in the middle of a turn.
    """
    life = Life(transport, tools, settings, row, capabilities, again)
    failure: BackendFailure | None = None
    was_open = False
    try:
        async with create_task_group() as tasks:
            tasks.start_soon(life.read)
            try:
                await life.begin()
            except BackendFailure as error:
                failure = error
            else:
                yield life
                was_open = True
                await life.take_leave()
            tasks.cancel_scope.cancel()
    finally:
        # An agent that served may leave politely; one that hangs or failed while it opened is killed at once.
        with CancelScope(shield=True):
            await life.transport.leave(life.opening.leaves if was_open else "kill")
    if failure is not None:
        raise failure
