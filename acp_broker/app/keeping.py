"""Deletes the sessions that config says are old enough, at the start and then every few hours."""

from collections.abc import Callable

import anyio.to_thread

from acp_broker.broker.broker import Broker
from acp_broker.config import Config
from acp_broker.errors import StoreError
from acp_broker.store.retention import Keep, sweep

# A session is kept for days: whether it goes some hours later is nobody's concern.
EVERY_S = 6 * 3600.0
_DAY_S = 86_400


async def keep_within(broker: Broker, config: Callable[[], Config]) -> None:
    """Runs until it is cancelled. `config` is asked each time: it may have been edited.

    A session that somebody attends stays, here or in another process: it may have been open in an editor, without a
    word, for weeks.
    """
    log = broker.log
    while True:
        said = config().sessions
        keep = Keep(None if said.keep_days is None else said.keep_days * _DAY_S, said.keep_bytes)
        if keep != Keep():
            try:
                attended = {name for name, session in broker.sessions.items() if session.log.readers}
                gone, faults = await anyio.to_thread.run_sync(sweep, broker.folder, keep, broker.clock.wall(), attended)
            except StoreError as error:
                gone, faults = [], [str(error)]
            for why in faults:
                log("not_deleted", why=why)
            if gone:
                log("sessions_deleted", sessions=[*gone])
        await broker.clock.sleep(EVERY_S)
