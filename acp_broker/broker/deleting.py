"""A session is deleted: what runs in it is answered, who attends it is told, and then its log goes."""

from typing import TYPE_CHECKING

from anyio import CancelScope, to_thread

from acp_broker.store import owned

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.session import Session


async def delete(broker: "Broker", session: "Session") -> None:
    """End a session that nobody finds any more, and delete its log. Cancelling does nothing: it is done to the end.

    Raises StoreError where that cannot be deleted; SessionInUse while a turn of another process runs in it.
    """
    with CancelScope(shield=True):
        try:
            await _delete(broker, session)
        finally:
            broker.revival.going.discard(session.id)


async def _delete(broker: "Broker", session: "Session") -> None:
    await session.repose.begin().wait()
    for frontend in tuple(broker.frontends.values()):
        if frontend.outbox.is_attached(session.id):
            await frontend.caught_up(session.id)
    await session.end()
    for frontend in broker.frontends.values():
        frontend.outbox.detach(session.id)
    # It takes a file system milliseconds to let go of what was just synced, and longer the longer the log.
    await to_thread.run_sync(owned.remove, session.log.path)
