"""One backend's commands, mode and options in a session, and what the user wants of them.

Those of the *selected* one are the session's (see `selection`). What a user sets while the backend is away is kept as
intent and applied when it opens.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from acp_broker.broker.modes import (
    SESSION,
    Boundary,
    Opened,
    Request,
    mode_options,
    option_id,
    request,
    ways,
    with_value,
)
from acp_broker.broker.shown import Held, Shown
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId
from acp_broker.errors import INVALID_PARAMS, BackendFailure, RpcError
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Update

# Updates that tell of what a user can set.
MODAL = frozenset({"current_mode_update", "config_option_update"})
# Those that replace what a frontend knows of the session's settings.
LASTING = MODAL | {"available_commands_update"}
# Those, and what speaks of the turns that a backend has had.
KINDS = LASTING | {"session_info_update", "usage_update"}

_decode = msgspec.json.decode


class _Command(Struct):
    name: str


class Choices(Struct):
    """What the user has set of one backend: modes by way, and the other options. Without a backend: the primary's."""

    modes: dict[str, object] = {}
    options: dict[str, Raw] = {}
    backend: BackendId | None = None
    # A mode that nobody knows yet how to set.
    intended: str | None = None


class _Changed(Struct):
    """The members of the setting updates that are kept."""

    mode: str | None = msgspec.field(name="currentModeId", default=None)
    options: list[Raw] | None = msgspec.field(name="configOptions", default=None)
    commands: list[Raw] | None = msgspec.field(name="availableCommands", default=None)


class Settings(Shown):
    """What is known of one backend, and what the user wants of it."""

    def __init__(self, backend: BackendId, *, shows_booleans: bool) -> None:
        super().__init__(backend, shows_booleans=shows_booleans)
        self.commands: frozenset[str] = frozenset()
        self._has_opened = False
        self._boundary = Boundary()
        # Its own mode to be in, chosen before it was known by which way it is set.
        self._intended: str | None = None
        # What the user set besides the mode.
        self._wanted: dict[str, Raw] = {}

    @property
    def chosen_mode(self) -> str | None:
        """The session's mode if it is another than the default one, else None."""
        if self.held is not None:
            return self.held.mode
        return self._intended or self._boundary.name

    @property
    def drawn_by(self) -> BackendId:
        """Which backend's mode `chosen_mode` is."""
        return self.held.backend if self.held is not None else self.backend

    def take_over(self, before: "Settings", counterparts: Mapping[str, str]) -> None:
        """Its backend is selected instead of another: the session's mode becomes its counterpart here.

        A mode is a permission boundary: one that has none is held, and with it every turn that this backend would run,
        until the user chooses anew.
        """
        mode, owner = before.chosen_mode, before.drawn_by
        self.tells_modes_as_option = True
        self.held = None
        if owner == self.backend:  # it is in it still
            return
        if mode is None:
            self.go_home()
        elif mode in counterparts:
            self.go_to(counterparts[mode])
        else:
            self.held = Held(mode, owner)

    def go_to(self, mode: str) -> None:
        """It is brought to this mode of its own, when it opens or is fitted next."""
        if not self._has_opened:
            self._intended = mode
            return
        option = next((one for one in mode_options(self.options) if one.offers(mode)), None)
        # One that it does not have is asked for all the same, and refused: no boundary falls unseen.
        is_option = option is not None and not (self.modes is not None and self.modes.offers(mode))
        self._chosen(option.id if option is not None and is_option else SESSION, mode)

    def go_home(self) -> None:
        """As `go_to`, for the mode that it opens in."""
        self._intended = None
        for way, mode in self._boundary.go_home().items():
            self._show(way, jsonrpc.encode(mode))

    def opened(self, result: Raw, *, is_another: bool = False) -> None:
        """The backend's `session/new` result: its lists hold, the user's choices stay.

        `is_another`: config has put another in its place since, whose lists need not be those that frontends know.
        """
        try:
            opened = _decode(result, type=Opened)
            said = opened.session_modes()
        except msgspec.DecodeError:
            opened, said = Opened(), None
        if is_another:
            self.modes, self.options, self.tells_modes_as_option = None, None, True
            self.commands, self.listed_commands = frozenset(), []
        # ACP v1: load and resume may leave either out.
        self.modes = said or self.modes
        self.options = self.options if opened.options is None else opened.options
        self._boundary.opened(ways(said, opened.options), ways(self.modes, self.options))
        self._has_opened = True
        if self._intended is not None:
            self.go_to(self._intended)
        # Even where it is not there any more: setting it is refused then, and no boundary falls unseen.
        for way, mode in self._boundary.chosen.items():
            self._show(way, jsonrpc.encode(mode))
        for option, value in self._wanted.items():
            self._show(option, value)

    def choices(self) -> Choices:
        """What the user has set, for `restore` in another life of the broker."""
        return Choices(self._boundary.chosen, self._wanted, self.backend, self._intended)

    def restore(self, chosen: Choices) -> None:
        """What `choices` gave, in an earlier life or in another process, which may have left modes of ours."""
        self.held = self._intended = None
        left, self._wanted = self._boundary.restore(chosen.modes), chosen.options
        if chosen.intended is not None:
            self.go_to(chosen.intended)
        for way, mode in {**left, **chosen.modes}.items():
            self._show(way, jsonrpc.encode(mode))
        for option, value in chosen.options.items():
            self._show(option, value)

    def wanted(self) -> list[Request]:
        """What a newly opened backend has to be asked, so that it follows the user's choices."""
        modes = [request(way, mode) for way, mode in self._boundary.due.items()]
        return [*modes, *(request(option, value) for option, value in self._wanted.items())]

    def taken(self, update: Update) -> tuple[Update, ...]:
        """Keep what an update of one of LASTING, or a title, says; what a frontend is shown of it."""
        told = self.shown_options()
        if update.kind != "session_info_update":
            self._keep(update)
        # The option that we made of the modes is in every list, and follows the mode; of its own the backend tells.
        match update.kind:
            case "config_option_update":
                return (update if self.shown_options() is self.options else self.options_update(),)
            case "current_mode_update" if self.held is not None:  # it moves its own mode, not the session's
                return ()
            case "current_mode_update" if not self.tells_mode and self.shown_options() != told:
                return (update, self.options_update())
            case _:
                return (update,)

    def check_mode(self, mode: str) -> None:
        """While the backend cannot be asked. Raises RpcError for a mode it does not have."""
        if self.modes is None or not self.modes.offers(mode):
            known = ", ".join(one.id for one in self.modes.available) if self.modes is not None else "none"
            raise RpcError(INVALID_PARAMS, f"no mode is called {mode!r}; known: {known}")

    def check_option(self, option: str) -> None:
        """As `check_mode`, for an option."""
        if not any(option_id(one) == option for one in self.options or ()):
            raise RpcError(INVALID_PARAMS, f"no config option is called {option!r}")

    def mode_set(self, mode: str) -> None:
        """The user's choice, which holds from now on: by every way in which the backend tells of this mode."""
        self._chosen(SESSION, mode)

    def option_set(self, result: Raw, option: str, value: Raw) -> None:
        """As `mode_set`; `result` is the backend's answer. Raises BackendFailure for one of another shape."""
        said = _options_in(result)
        self._show(option, value)
        if any(one.id == option for one in mode_options(self.options)):
            self._chosen(option, _decode(value))
        else:
            self._wanted[option] = value
        if said is not None:
            self._listed(said)

    def answered(self, result: Raw) -> None:
        """What a backend answers when it is given the user's choices again: its whole list, where it sends one."""
        options = _options_in(result)
        if options is not None:
            self._listed(options)

    def _keep(self, update: Update) -> None:
        try:
            changed = _decode(update.params["update"], type=_Changed)
        except msgspec.DecodeError:
            return
        if changed.mode is not None and self.modes is not None:
            self._turned(SESSION, changed.mode)
        if changed.options is not None:
            self._listed(changed.options)
        if changed.commands is not None:
            self.listed_commands = changed.commands
            self.commands = frozenset(_decode(one, type=_Command).name for one in changed.commands)

    def _listed(self, options: list[Raw]) -> None:
        """The backend's whole list: the mode that it tells is the session's."""
        self.options = options
        self._boundary.said(ways(None, options))
        option = next(mode_options(options), None)
        if option is not None and self.modes is not None and self.modes.offers(option.value):
            self._turned(option.id, option.value)

    def _chosen(self, way: str, mode: object) -> None:
        self.held = self._intended = None
        self._boundary.left_for(ways(self.modes, self.options))
        self._turned(way, mode)

    def _turned(self, way: str, mode: object) -> None:
        """The session is in this mode by one way: the other follows where it knows the mode."""
        option = next(mode_options(self.options), None)
        follows = {way}
        if self.modes is not None and self.modes.offers(mode):
            follows.add(SESSION)
        if option is not None and option.offers(mode):
            follows.add(option.id)
        for one in follows:
            self._boundary.turned(one, mode)
            self._show(one, jsonrpc.encode(mode))

    def _show(self, way: str, value: Raw) -> None:
        """What frontends are told of a way to set the mode, or of another option."""
        if way == SESSION:
            if self.modes is not None:
                self.modes.current = _decode(value, type=str)
            return
        if self.options is not None:
            self.options = [with_value(one, value) if option_id(one) == way else one for one in self.options]


def _options_in(result: Raw) -> list[Raw] | None:
    """The list in an answer to `session/set_config_option`. Raises BackendFailure for an answer of another shape."""
    if result == jsonrpc.NULL:
        return None
    try:
        return _decode(result, type=Opened).options
    except msgspec.DecodeError as error:
        text = f"answered a config option with something else: {error}"
        raise BackendFailure(Failure(FailureKind.GARBLED, text, seen_at="opening")) from error
