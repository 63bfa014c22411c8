"""Deletes the sessions that config says are old enough, at the start and then every few hours."""

from collections.abc import Callable

import anyio.to_thread

from acp_broker.clock import Clock
from acp_broker.config import Config
from acp_broker.errors import StoreError
from acp_broker.observe.log import Log
from acp_broker.store.files import StateFolder
from acp_broker.store.retention import Keep, sweep

# A session is kept for days: whether it goes some hours later is nobody's concern.
EVERY_S = 6 * 3600.0
_DAY_S = 86_400


async def keep_within(folder: StateFolder, config: Callable[[], Config], clock: Clock, log: Log) -> None:
    """Runs until it is cancelled. `config` is asked each time: it may have been edited."""
    while True:
        said = config().sessions
        keep = Keep(None if said.keep_days is None else said.keep_days * _DAY_S, said.keep_bytes)
        if keep != Keep():
            try:
                gone = await anyio.to_thread.run_sync(sweep, folder, keep, clock.wall())
            except StoreError as error:
                log("not_deleted", why=str(error))
            else:
                if gone:
                    log("sessions_deleted", sessions=list(gone))
        await clock.sleep(EVERY_S)
