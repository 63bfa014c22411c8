"""A session's commands, mode and options, as its *selected* backend has them: one owner, one merged view.

A fallback's lists are never shown, since `session/set_mode` and `session/set_config_option` go elsewhere. What a user
sets while the backend is away is kept as intent and applied when it opens.
"""

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from acp_broker.broker.costs import Costs
from acp_broker.core.names import BackendId
from acp_broker.errors import INVALID_PARAMS, RpcError
from acp_broker.wire import acp, jsonrpc
from acp_broker.wire.acp import Update

# Updates that replace what a frontend knows of the session's settings.
LASTING = frozenset({"available_commands_update", "current_mode_update", "config_option_update"})
# Those, and what speaks of the turns that a backend has had.
KINDS = LASTING | {"session_info_update", "usage_update"}

_decode = msgspec.json.decode
_encode = msgspec.json.encode


class _Mode(Struct):
    id: str
    name: str = ""


class _Modes(Struct):
    current: str = msgspec.field(name="currentModeId", default="")
    available: tuple[_Mode, ...] = msgspec.field(name="availableModes", default=())


class Modes:
    """ACP v1, session modes: SessionModeState, with all that the backend said of it. `current` is the session's."""

    def __init__(self, raw: Raw) -> None:
        known = _decode(raw, type=_Modes)
        self.current = known.current
        self.available = known.available
        self._members = _decode(raw, type=dict[str, Raw])

    def shown(self) -> dict[str, object]:
        return {**self._members, "currentModeId": self.current}


class _Option(Struct):
    id: str
    category: str | None = None


class _Opened(Struct):
    modes: Raw | UnsetType = UNSET
    options: list[Raw] | None = msgspec.field(name="configOptions", default=None)


class _Command(Struct):
    name: str


class _Changed(Struct):
    """The members of the setting updates that are kept."""

    mode: str | None = msgspec.field(name="currentModeId", default=None)
    options: list[Raw] | None = msgspec.field(name="configOptions", default=None)
    commands: list[_Command] | None = msgspec.field(name="availableCommands", default=None)


MODE_OPTION = "mode"


class Settings:
    """What is known of the selected backend, and what the user wants of it."""

    def __init__(self, selected: BackendId) -> None:
        self.selected = selected
        self.modes: Modes | None = None
        self.options: list[Raw] | None = None
        self.commands: frozenset[str] = frozenset()
        # The mode that the selected backend opens in: leaving it is a user's choice, and a permission boundary.
        self.default_mode: str | None = None
        self.wanted_options: dict[str, Raw] = {}
        self._costs = Costs()

    @property
    def chosen_mode(self) -> str | None:
        """The session's mode if it is another than the default one, else None."""
        current = self.modes.current if self.modes is not None else None
        return current if current != self.default_mode else None

    def opened(self, result: Raw) -> None:
        """The selected backend's `session/new` result: its lists become the session's, the user's choices stay."""
        try:
            opened = _decode(result, type=_Opened)
            modes = _modes(opened)
        except msgspec.DecodeError:
            return
        if opened.options is not None:
            self.options = opened.options
        if modes is None:  # ACP v1: load and resume may leave it out
            return
        chosen, self.modes = self.chosen_mode, modes
        if chosen is None:
            self.default_mode = modes.current
        else:
            # Even where it is not there any more: setting it is refused then, and no boundary falls unseen.
            modes.current = chosen

    def members(self) -> dict[str, object]:
        """`modes` and `configOptions` for a `session/new`, load or resume result."""
        members: dict[str, object] = {}
        if self.modes is not None:
            members["modes"] = self.modes.shown()
        options = self.shown_options()
        if options is not None:
            members["configOptions"] = options
        return members

    def shown_options(self) -> list[Raw] | None:
        """The options, with one for the mode where the backend has modes but no such option.

        ACP v1, session config options: a client that gets options ignores `modes`.
        """
        if not self.options or self.modes is None or any(_is_mode(option) for option in self.options):
            return self.options
        return [*self.options, self._mode_option(self.modes)]

    def sets_mode(self, option: str) -> bool:
        """Whether this option is the one that `shown_options` made of the modes."""
        own = self.options or []
        return option == MODE_OPTION and self.modes is not None and not any(_is_mode(one) for one in own)

    def taken(self, backend: BackendId, update: Update) -> tuple[Update, ...]:
        """Keep what an update of one of KINDS says; what a frontend is shown of it: a fallback's lists never."""
        if update.kind == "usage_update":
            self._costs.summed(backend, update)
            return (update,)
        if backend != self.selected:
            return ()
        if update.kind != "session_info_update":
            self._keep(update)
        if self.shown_options() is self.options:
            return (update,)
        # There is an option of our making for the mode: it is in every list, and follows the mode.
        match update.kind:
            case "config_option_update":
                return (self.options_update(),)
            case "current_mode_update":
                return (update, self.options_update())
            case _:
                return (update,)

    def options_update(self) -> Update:
        """The whole list of options, as a `config_option_update`."""
        return acp.update("config_option_update", configOptions=self.shown_options() or [])

    def choose_mode(self, mode: str) -> None:
        """The user's choice while the backend cannot be asked. Raises RpcError for a mode it does not have."""
        if self.modes is None or not self._has_mode(mode):
            known = ", ".join(one.id for one in self.modes.available) if self.modes is not None else "none"
            raise RpcError(INVALID_PARAMS, f"no mode is called {mode!r}; known: {known}")
        self.modes.current = mode

    def choose_option(self, option: str, value: Raw) -> None:
        """As `choose_mode`, for an option."""
        for index, one in enumerate(self.options or []):
            members = _decode(one, type=dict[str, Raw])
            if _decode(members.get("id", Raw(b"null"))) == option:
                members["currentValue"] = value
                assert self.options is not None
                self.options[index] = Raw(_encode(members))
                self.wanted_options[option] = value
                return
        raise RpcError(INVALID_PARAMS, f"no config option is called {option!r}")

    def answered(self, result: Raw, option: str, value: Raw) -> None:
        """The backend's answer to a `session/set_config_option`: its whole list, where it sent one."""
        options = _decode(result, type=_Opened).options
        if options is not None:
            self.options = options
            self.wanted_options[option] = value

    def _keep(self, update: Update) -> None:
        try:
            changed = _decode(update.params["update"], type=_Changed)
        except msgspec.DecodeError:
            return
        if changed.mode is not None and self.modes is not None:
            self.modes.current = changed.mode
        if changed.options is not None:
            self.options = changed.options
        if changed.commands is not None:
            self.commands = frozenset(command.name for command in changed.commands)

    def _has_mode(self, mode: str) -> bool:
        return self.modes is not None and any(one.id == mode for one in self.modes.available)

    def _mode_option(self, modes: Modes) -> Raw:
        values = [{"value": mode.id, "name": mode.name or mode.id} for mode in modes.available]
        option = {
            "id": MODE_OPTION,
            "name": "Mode",
            "category": "mode",
            "type": "select",
            "currentValue": modes.current,
            "options": values,
        }
        return Raw(_encode(option))


def mode_of(opened: Raw) -> str | None:
    """The mode that a `session/new` result says its session is in."""
    try:
        modes = _modes(_decode(opened, type=_Opened))
    except msgspec.DecodeError:
        return None
    return modes.current if modes is not None else None


def _modes(opened: _Opened) -> Modes | None:
    said = jsonrpc.given(opened.modes)
    return Modes(said) if said is not None else None


def _is_mode(option: Raw) -> bool:
    try:
        known = _decode(option, type=_Option)
    except msgspec.DecodeError:
        return False
    return known.category == "mode" or known.id == MODE_OPTION


class _Block(Struct):
    type: str = ""
    text: str = ""


def slash_command(prompt: Raw) -> str | None:
    """The command that a prompt starts with (`/name ...`), or None."""
    if b'"/' not in bytes(prompt):
        return None
    try:
        blocks = _decode(prompt, type=list[_Block])
    except msgspec.DecodeError:
        return None
    text = blocks[0].text if blocks and blocks[0].type == "text" else ""
    name = text[1:].split(maxsplit=1) if text.startswith("/") else []
    return name[0] if name else None
