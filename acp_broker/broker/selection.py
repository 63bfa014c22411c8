"""Which backend a session is bound to: its settings are the session's, the others' are kept for the day it is one of
them.

A fallback's lists are never shown, since `session/set_mode` and `session/set_config_option` go elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from acp_broker.broker.costs import Costs
from acp_broker.broker.settings import LASTING, Choices, Settings
from acp_broker.broker.standby import Standby
from acp_broker.contract import Backend
from acp_broker.core.names import BackendId
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Update

if TYPE_CHECKING:
    from acp_broker.broker.session import Session


class Selection:
    """One per session. `settings` are those of the selected backend."""

    def __init__(self, session: "Session", selected: BackendId, *, shows_booleans: bool) -> None:
        self._session = session
        self._shows_booleans = shows_booleans
        self._known: dict[BackendId, Settings] = {}
        self._costs = Costs()
        # Per backend the life whose lists its settings are, and the fingerprint of that.
        self._heard: dict[BackendId, tuple[int, str]] = {}
        # What frontends know of another than the selected one, which may not have opened yet; None: they know it.
        self._outdated: frozenset[str] | None = None
        self.settings = self.of(selected)

    def of(self, backend: BackendId) -> Settings:
        settings = self._known.get(backend)
        if settings is None:
            settings = self._known[backend] = Settings(backend, shows_booleans=self._shows_booleans)
        return settings

    def select(self, backend: BackendId, counterparts: Mapping[str, str]) -> None:
        """Bind the session to this backend; `counterparts` are its modes by those of the session."""
        before, mode = self.settings, self.settings.chosen_mode
        self.settings = self.of(backend)
        self.settings.take_over(before, counterparts)
        if before is not self.settings or mode != self.settings.chosen_mode:
            self._outdate(before)

    def choices(self) -> Raw:
        """What the user has set, for `restore` in another life of the broker."""
        return jsonrpc.encode(self.of(self.settings.drawn_by).choices())

    def restore(self, choices: Raw, counterparts: Mapping[str, str]) -> None:
        """What `choices` gave. Config may have another primary by now, with these counterparts of the old one's modes.

        Raises msgspec.DecodeError for anything else.
        """
        chosen = msgspec.json.decode(choices, type=Choices)
        before = self.of(chosen.backend or self.settings.backend)
        before.restore(chosen)
        if before is not self.settings:
            self.settings.take_over(before, counterparts)

    def taken(self, backend: BackendId, update: Update) -> tuple[Update, ...]:
        """Keep what an update of one of `settings.KINDS` says; what a frontend is shown of it."""
        if update.kind == "usage_update":
            self._costs.summed(backend, update)
            return (update,)
        shown = self.of(backend).taken(update)
        return shown if backend == self.settings.backend else ()

    def keep(self, fallback: BackendId, updates: Sequence[Update]) -> None:
        """What a fallback says of itself while no turn runs: nothing is shown of it."""
        for update in updates:
            if update.kind in LASTING:
                self.of(fallback).taken(update)

    def opened(self, standby: Standby, backend: Backend) -> None:
        """Take over what this life of a backend said when it opened, if that was not done yet."""
        name = standby.runtime.candidate.backend
        heard = standby.life, standby.runtime.fingerprint
        if self._heard.get(name) == heard:
            return
        is_another = self._is_another(standby)
        if is_another and name == self.settings.backend:
            self._outdate(self.settings)
        self._heard[name] = heard
        self.of(name).opened(backend.about.opened, is_another=is_another)

    def heard(self, standby: Standby, backend: Backend) -> None:
        """A backend has opened: a fallback's lists are kept, those of one that frontends do not know are told."""
        is_selected = standby.runtime.candidate.backend == self.settings.backend
        if backend.about.has_no_memory:  # nor of what it has cost
            self._costs.began(standby.runtime.candidate.backend)
        if not is_selected or self._outdated is not None or self._is_another(standby):
            self.opened(standby, backend)
        self.introduce(standby)

    def _is_another(self, standby: Standby) -> bool:
        """Whether config has put another in its place since it was heard."""
        heard = self._heard.get(standby.runtime.candidate.backend)
        return heard is not None and heard[1] != standby.runtime.fingerprint

    def introduce(self, standby: Standby) -> None:
        """Tell frontends of the backend that was selected instead of the one they know, once it has opened."""
        is_selected = standby.runtime.candidate.backend == self.settings.backend
        outdated = self._outdated
        if is_selected and outdated is not None and standby.backend is not None:
            self._outdated = None
            self._session.show(self.settings.introduction(outdated), standby.life)

    def _outdate(self, known: Settings) -> None:
        self._outdated = (self._outdated or frozenset()) | known.shown
