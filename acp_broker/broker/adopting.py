"""A session follows what the operator decided anew, between two turns."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acp_broker.broker.session import Session
    from acp_broker.broker.standbys import Standbys


def adopt(session: "Session", standbys: "Standbys") -> None:
    """No turn runs. Whoever is open as somebody else than config has now is closed, and the selected one kept warm."""
    before, policy = session.policy, session.broker.policy
    old, new = session.settings.backend, policy.order[0]
    was_awake = not session.standby(old).is_asleep
    session.policy = policy
    standbys.adopt(policy.runtimes)
    if old != new or session.settings.drawn_by != new:
        session.selection.select(new, policy.runtimes[new].modes)
    if old != new:
        session.fitting.selected(old)
        session.served_by = new
    if not session.repose.is_closed:  # the log of one that sleeps stays closed
        session.keep_choices()
        session.log.commit()
    standby = session.standby(new)
    session.selection.introduce(standby)
    is_changed = old != new or before.runtimes[old].fingerprint != policy.runtimes[new].fingerprint
    if not is_changed or not was_awake or session.repose.is_closed or session.broker.is_stopping:
        return
    if session.is_announced:
        session.broker.warming.soon(session)
    else:  # its frontend waits for it
        session.warm()
