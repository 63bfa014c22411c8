"""How one backend's settings look to frontends: its modes, options and commands, in the words of ACP v1."""

from msgspec import Raw, Struct

from acp_broker.broker.modes import MODE_OPTION, Modes, is_boolean, mode_options, option_id, with_value
from acp_broker.core.names import BackendId
from acp_broker.wire import acp, jsonrpc
from acp_broker.wire.acp import Update


class Held(Struct, frozen=True):
    """A mode that the session is in, and the backend that it is one of."""

    mode: str
    backend: BackendId


class Shown:
    """What one backend has to set, as it said itself; `settings` keeps it."""

    def __init__(self, backend: BackendId, *, shows_booleans: bool) -> None:
        self.backend = backend
        # ACP v1, session config options: boolean ones are for clients that said that they know them.
        self.shows_booleans = shows_booleans
        self.modes: Modes | None = None
        self.options: list[Raw] | None = None
        self.listed_commands: list[Raw] = []
        # ACP v1 tells of modes when a session opens, and of options at any time.
        self.tells_modes_as_option = False
        # The mode of another backend, chosen before this one was selected, which nobody said that this one can draw.
        self.held: Held | None = None

    @property
    def shown_mode(self) -> str:
        """The session mode that frontends are told of; empty where there are none."""
        if self.held is not None:
            return self.held.mode
        return self.modes.current if self.modes is not None else ""

    def members(self) -> dict[str, object]:
        """`modes` and `configOptions` for a `session/new`, load or resume result."""
        members: dict[str, object] = {}
        if self.modes is not None:
            members["modes"] = {**self.modes.shown(), "currentModeId": self.shown_mode}
        options = self.shown_options()
        if options is not None:
            members["configOptions"] = options
        return members

    def shown_options(self) -> list[Raw] | None:
        """The options, with one for the mode where the backend has modes but no such option.

        ACP v1, session config options: a client that gets options ignores `modes`.
        """
        shown = self.options
        if shown and not self.shows_booleans and any(map(is_boolean, shown)):
            shown = [option for option in shown if not is_boolean(option)]
        if self.modes is not None and not self.tells_mode and (shown or self.tells_modes_as_option):
            shown = [*(shown or ()), self.modes.as_option()]
        if self.held is not None and shown:
            told, mode = {one.id for one in mode_options(shown)}, jsonrpc.encode(self.held.mode)
            shown = [with_value(one, mode) if option_id(one) in told else one for one in shown]
        return shown

    def sets_mode(self, option: str) -> bool:
        """Whether this option is the one that `shown_options` made of the modes."""
        return option == MODE_OPTION and self.modes is not None and not self.tells_mode

    @property
    def shown(self) -> frozenset[str]:
        """Of which LASTING kinds there is something to tell."""
        told = {
            "available_commands_update": bool(self.listed_commands),
            "current_mode_update": self.modes is not None,
            "config_option_update": bool(self.shown_options()),
        }
        return frozenset(kind for kind, is_told in told.items() if is_told)

    def introduction(self, known: frozenset[str]) -> list[Update]:
        """What frontends are told, who know something of these kinds from another backend."""
        commands = acp.update("available_commands_update", availableCommands=self.listed_commands)
        mode = acp.update("current_mode_update", currentModeId=self.shown_mode)
        # ACP v1 has no way to say that there are no modes any more.
        due = known - {mode.kind} | self.shown
        return [one for one in (commands, mode, self.options_update()) if one.kind in due]

    @property
    def told(self) -> "tuple[str, list[Raw] | None]":
        """What frontends are told of by now, for `news`."""
        return self.shown_mode, self.shown_options()

    def news(self, told: "tuple[str, list[Raw] | None]") -> list[Update]:
        """What there is to tell to who was told this."""
        mode, options = told
        news: list[Update] = []
        if self.shown_mode != mode:
            news.append(acp.update("current_mode_update", currentModeId=self.shown_mode))
        if self.shown_options() != options:
            news.append(self.options_update())
        return news

    def options_update(self) -> Update:
        """The whole list of options, as a `config_option_update`."""
        return acp.update("config_option_update", configOptions=self.shown_options() or [])

    @property
    def tells_mode(self) -> bool:
        return next(mode_options(self.options), None) is not None
