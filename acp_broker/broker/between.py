"""What an opened backend says outside of any attempt: settings reach the session, words belong to nobody."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Raw

from acp_broker.broker import settings
from acp_broker.broker.asks import ELICITATION
from acp_broker.core.names import Phase
from acp_broker.wire.acp import Answer, Update

if TYPE_CHECKING:
    from acp_broker.broker.asks import Ask
    from acp_broker.broker.attempt import Attempt
    from acp_broker.broker.session import Session
    from acp_broker.broker.standby import Standby


class Between:
    """The `contract.Client` of a backend between attempts."""

    def __init__(self, session: "Session", standby: "Standby") -> None:
        self._session = session
        self._standby = standby

    def reached(self, phase: Phase) -> None:
        """Nobody waits for it."""

    def show(self, updates: Sequence[Update]) -> None:
        """The serving backend's late words go to its turn; else the selected backend's settings are shown."""
        session, standby = self._session, self._standby
        attempt = self._answered()
        if attempt is not None:
            attempt.show_late(updates)
            return
        name = standby.runtime.candidate.backend
        # A fallback that is only being opened may fail yet: nothing of it is shown before it has answered.
        is_selected = name == session.settings.backend
        ours = settings.LASTING if standby.has_lost else settings.KINDS
        if session.fitting.is_behind(standby):
            ours = ours - settings.MODAL
        known = [one for one in updates if one.kind in ours] if is_selected else []
        taken = [shown for one in known for shown in session.selection.taken(name, one)]
        if not is_selected:
            session.selection.keep(name, updates)
        session.keep_choices()
        session.show(taken, standby.life)
        if len(known) < len(updates):
            kinds = sorted({one.kind for one in updates} - {one.kind for one in known})
            session.trace("words_outside_a_turn", session=session.id, backend=name, kinds=kinds)

    def ask(self, method: str, params: dict[str, Raw], answered: Callable[[Answer], None]) -> "AskedBetween":
        session = self._session
        if method == ELICITATION:
            self._standby.elicited()
        ask = session.desk.ask_between(session.frontend, self._standby.life, method, params, answered)
        session.log.commit()
        return AskedBetween(session, ask)

    def tell(self, method: str, params: dict[str, Raw] | None) -> None:
        attempt = self._answered()
        if attempt is not None:
            attempt.tell_late(method, params)
            return
        session = self._session
        session.desk.tell(session.frontend, self._standby.life, method, params)
        session.log.commit()

    def _answered(self) -> "Attempt | None":
        """The attempt that this life of the runtime answered last: what it says now comes behind that answer."""
        turn = self._session.turn or self._session.last
        attempt = turn.attempt if turn is not None else None
        is_of_this_life = attempt is not None and (attempt.standby, attempt.life) == (self._standby, self._standby.life)
        return attempt if is_of_this_life else None


class AskedBetween:
    """contract.Asked for a request outside of any turn."""

    def __init__(self, session: "Session", ask: "Ask | None") -> None:
        self._session = session
        self._ask = ask

    def withdraw(self) -> None:
        if self._ask is not None:
            self._session.desk.withdraw(self._ask)
            self._session.log.commit()
