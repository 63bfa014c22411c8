"""A frontend is gone: what becomes of what it had asked, and of the sessions that it leaves alone."""

from typing import TYPE_CHECKING

from acp_broker.broker.limit import within
from acp_broker.broker.runtime import REAP_AFTER_S

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.frontend import Frontend
    from acp_broker.broker.runner import Turn
    from acp_broker.broker.session import Session


async def leave(broker: "Broker", frontend: "Frontend") -> None:
    """Cancel its prompts, unless its turns go on, and wait `leave_s` for their end; others answer what it owed."""
    frontend.has_left = True
    working = [str(session.id) for session in broker.busy.values() if session.frontend == frontend.number]
    if working:
        broker.log("frontend_left", frontend=frontend.name, sessions=working)
    ending: list[tuple[Session, Turn]] = []
    if not frontend.terms.turns_go_on:
        for session in tuple(broker.busy.values()):
            turn = session.prompts.cancel_of(frontend.number)
            ending += [] if turn is None else [(session, turn)]
    broker.asks.left(frontend.number)
    with within(broker.clock, broker.policy.leave_s):
        for session, turn in ending:
            await session.over(turn)


def disconnect(broker: "Broker", frontend: "Frontend") -> None:
    """Show it nothing more. A closed editor window leaves no agent behind; a bridge's agents wait for its return.

    But for sessions that had no turn yet: who opens them and leaves, again and again, would have agents without end.
    """
    names = {*frontend.outbox.sessions, *frontend.sessions}
    frontend.close()
    for session in [broker.sessions[name] for name in names if name in broker.sessions]:
        is_its_own = session.frontend == frontend.number and not frontend.terms.turns_go_on
        session.repose.after(0 if is_its_own or not session.memory.turns else REAP_AFTER_S)
