"""A session's commands, mode and options, as its *selected* backend has them: one owner, one merged view.

A fallback's lists are never shown, since `session/set_mode` and `session/set_config_option` go elsewhere. What a user
sets while the backend is away is kept as intent and applied when it opens.
"""

import msgspec
from msgspec import Raw, Struct

from acp_broker.broker.costs import Costs
from acp_broker.broker.modes import MODE_OPTION, SESSION, Boundary, Modes, Opened, Request, mode_options, request, ways
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId
from acp_broker.errors import INVALID_PARAMS, BackendFailure, RpcError
from acp_broker.wire import acp, jsonrpc
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


class _Choices(Struct):
    """Modes by way, and the other options."""

    modes: dict[str, object] = {}
    options: dict[str, Raw] = {}


class _Changed(Struct):
    """The members of the setting updates that are kept."""

    mode: str | None = msgspec.field(name="currentModeId", default=None)
    options: list[Raw] | None = msgspec.field(name="configOptions", default=None)
    commands: list[_Command] | None = msgspec.field(name="availableCommands", default=None)


class Settings:
    """What is known of the selected backend, and what the user wants of it."""

    def __init__(self, selected: BackendId, *, shows_booleans: bool) -> None:
        self.selected = selected
        # ACP v1, session config options: boolean ones are for clients that said that they know them.
        self.shows_booleans = shows_booleans
        self.modes: Modes | None = None
        self.options: list[Raw] | None = None
        self.commands: frozenset[str] = frozenset()
        self._boundary = Boundary()
        # What the user set besides the mode.
        self._wanted: dict[str, Raw] = {}
        self._costs = Costs()

    @property
    def chosen_mode(self) -> str | None:
        """The session's mode if it is another than the default one, else None."""
        return self._boundary.name

    def opened(self, result: Raw) -> None:
        """The selected backend's `session/new` result: its lists become the session's, the user's choices stay."""
        try:
            opened = _decode(result, type=Opened)
            said = opened.session_modes()
        except msgspec.DecodeError:
            return
        # ACP v1: load and resume may leave either out.
        self.modes = said or self.modes
        self.options = self.options if opened.options is None else opened.options
        self._boundary.opened(ways(said, opened.options))
        # Even where it is not there any more: setting it is refused then, and no boundary falls unseen.
        for way, mode in self._boundary.chosen.items():
            self._show(way, jsonrpc.encode(mode))
        for option, value in self._wanted.items():
            self._show(option, value)

    def choices(self) -> Raw:
        """What the user has set, for `restore` in another life of the broker."""
        return jsonrpc.encode(_Choices(self._boundary.chosen, self._wanted))

    def restore(self, choices: Raw) -> None:
        """What `choices` gave. Raises msgspec.DecodeError for anything else."""
        chosen = _decode(choices, type=_Choices)
        self._boundary.chosen, self._wanted = chosen.modes, chosen.options
        for way, mode in chosen.modes.items():
            self._show(way, jsonrpc.encode(mode))
        for option, value in chosen.options.items():
            self._show(option, value)

    def wanted(self) -> list[Request]:
        """What a newly opened backend has to be asked, so that it follows the user's choices."""
        chosen = [request(way, mode) for way, mode in self._boundary.chosen.items()]
        return [*chosen, *(request(option, value) for option, value in self._wanted.items())]

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
        shown = self.options
        if shown and not self.shows_booleans and any(map(_is_boolean, shown)):
            shown = [option for option in shown if not _is_boolean(option)]
        if not shown or self.modes is None or self._tells_mode():
            return shown
        return [*shown, self.modes.as_option()]

    def sets_mode(self, option: str) -> bool:
        """Whether this option is the one that `shown_options` made of the modes."""
        return option == MODE_OPTION and self.modes is not None and not self._tells_mode()

    def taken(self, backend: BackendId, update: Update) -> tuple[Update, ...]:
        """Keep what an update of one of KINDS says; what a frontend is shown of it: a fallback's lists never."""
        if update.kind == "usage_update":
            self._costs.summed(backend, update)
            return (update,)
        if backend != self.selected:
            return ()
        told = self.shown_options()
        if update.kind != "session_info_update":
            self._keep(update)
        # The option that we made of the modes is in every list, and follows the mode; of its own the backend tells.
        match update.kind:
            case "config_option_update":
                return (update if self.shown_options() is self.options else self.options_update(),)
            case "current_mode_update" if not self._tells_mode() and self.shown_options() != told:
                return (update, self.options_update())
            case _:
                return (update,)

    def options_update(self) -> Update:
        """The whole list of options, as a `config_option_update`."""
        return acp.update("config_option_update", configOptions=self.shown_options() or [])

    def choose_mode(self, mode: str) -> None:
        """The user's choice while the backend cannot be asked. Raises RpcError for a mode it does not have."""
        if self.modes is None or not self.modes.offers(mode):
            known = ", ".join(one.id for one in self.modes.available) if self.modes is not None else "none"
            raise RpcError(INVALID_PARAMS, f"no mode is called {mode!r}; known: {known}")
        self.mode_set(mode)

    def choose_option(self, option: str, value: Raw) -> None:
        """As `choose_mode`, for an option."""
        if not any(_id(one) == option for one in self.options or ()):
            raise RpcError(INVALID_PARAMS, f"no config option is called {option!r}")
        self.option_set(Raw(b"{}"), option, value)

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
            self.commands = frozenset(command.name for command in changed.commands)

    def _listed(self, options: list[Raw]) -> None:
        """The backend's whole list: the mode that it tells is the session's."""
        self.options = options
        self._boundary.said(ways(None, options))
        option = next(mode_options(options), None)
        if option is not None and self.modes is not None and self.modes.offers(option.value):
            self._turned(option.id, option.value)

    def _chosen(self, way: str, mode: object) -> None:
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
            self.options = [_with_value(one, value) if _id(one) == way else one for one in self.options]

    def _tells_mode(self) -> bool:
        return next(mode_options(self.options), None) is not None


def _options_in(result: Raw) -> list[Raw] | None:
    """The list in an answer to `session/set_config_option`. Raises BackendFailure for an answer of another shape."""
    if result == jsonrpc.NULL:
        return None
    try:
        return _decode(result, type=Opened).options
    except msgspec.DecodeError as error:
        text = f"answered a config option with something else: {error}"
        raise BackendFailure(Failure(FailureKind.GARBLED, text, seen_at="opening")) from error


def _id(option: Raw) -> object:
    return _member(option, "id")


def _is_boolean(option: Raw) -> bool:
    return _member(option, "type") == "boolean"


def _member(option: Raw, name: str) -> object:
    members = _decode(option)
    return members.get(name) if isinstance(members, dict) else None


def _with_value(option: Raw, value: Raw) -> Raw:
    return jsonrpc.encode({**_decode(option, type=dict[str, Raw]), "currentValue": value})


# Room for what a client may write before the text of the first block.
_START_BYTES = 4096


class _Block(Struct):
    type: str = ""
    text: str = ""


def slash_command(prompt: Raw) -> str | None:
    """The command that a prompt starts with (`/name ...`), or None."""
    # A prompt may be megabytes: whether its first text can be a command shows in its first bytes.
    if b'"/' not in bytes(memoryview(prompt)[:_START_BYTES]):
        return None
    try:
        blocks = _decode(prompt, type=list[_Block])
    except msgspec.DecodeError:
        return None
    text = blocks[0].text if blocks and blocks[0].type == "text" else ""
    name = text[1:].split(maxsplit=1) if text.startswith("/") else []
    return name[0] if name else None
