"""A backend's modes, by both ways in which ACP v1 tells of them: session modes, and config options of category `mode`.

Leaving the mode that a backend opens in is a permission boundary, whichever way it is left by.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from acp_broker.wire import jsonrpc

# The id of the option that is made of the modes of a backend which has no such option itself.
MODE_OPTION = "mode"
# The way of telling a mode that is no option, beside the options' ids.
SESSION = ""

Request = tuple[str, dict[str, Raw]]

_decode = msgspec.json.decode


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

    def offers(self, mode: object) -> bool:
        return any(one.id == mode for one in self.available)

    def shown(self) -> dict[str, object]:
        return {**self._members, "currentModeId": self.current}

    def as_option(self) -> Raw:
        """ACP v1, session config options: the same as an option, for clients that ignore modes."""
        values = [{"value": mode.id, "name": mode.name or mode.id} for mode in self.available]
        return jsonrpc.encode(
            {
                "id": MODE_OPTION,
                "name": "Mode",
                "category": "mode",
                "type": "select",
                "currentValue": self.current,
                "options": values,
            }
        )


class _Choice(Struct):
    """One value, or a group of values."""

    value: object = None
    options: "list[_Choice]" = []


class Option(Struct):
    """What is read of a config option."""

    id: str
    category: str | None = None
    type: str = "select"
    value: object = msgspec.field(name="currentValue", default=None)
    choices: Raw = msgspec.field(name="options", default=Raw(b"[]"))

    def offers(self, value: object) -> bool:
        return value in self.values()

    def values(self) -> list[object]:
        """All that can be chosen, and None for each group of them; nothing where the choices have another shape."""
        try:
            choices = _decode(self.choices, type=list[_Choice])
        except msgspec.DecodeError:
            return []
        return [one.value for choice in choices for one in (choice, *choice.options)]


class Opened(Struct):
    """A `session/new` result, or that of a set option, as far as it tells of settings."""

    modes: Raw | UnsetType = UNSET
    options: list[Raw] | None = msgspec.field(name="configOptions", default=None)

    def session_modes(self) -> Modes | None:
        """Raises msgspec.DecodeError for modes of another shape."""
        said = jsonrpc.given(self.modes)
        return Modes(said) if said is not None else None


class Boundary:
    """The modes that a session is in and its backend did not open in, by way: an option's id, or SESSION."""

    def __init__(self) -> None:
        self.chosen: dict[str, object] = {}
        # The defaults of those that it was in before: one that comes back may still be in them.
        self.leaving: dict[str, object] = {}
        self._default: dict[str, object] = {}

    @property
    def name(self) -> str | None:
        """What config maps it by: the mode, or several that hold together; None in the default mode."""
        if not self.chosen:
            return None
        names = [one if isinstance(one, str) else bytes(jsonrpc.encode(one)).decode() for one in self.chosen.values()]
        return " + ".join(dict.fromkeys(names))

    @property
    def due(self) -> dict[str, object]:
        """What a new life of the backend has to be asked to be in."""
        return self.leaving | self.chosen

    def go_home(self) -> dict[str, object]:
        """Back to the modes that the backend opened in; those that are left."""
        self.leaving |= {way: self._default[way] for way in self.chosen if way in self._default}
        self.chosen = {}
        return self.leaving

    def restore(self, chosen: Mapping[str, object]) -> dict[str, object]:
        """The user has chosen these elsewhere; as `go_home`. A way back that nobody knows is not taken: it stays."""
        kept = {way: mode for way, mode in self.chosen.items() if way not in self._default}
        left = self.go_home()
        self.chosen = kept | dict(chosen)
        return {way: mode for way, mode in left.items() if way not in self.chosen}

    def opened(self, ways: Mapping[str, object], known: Mapping[str, object]) -> None:
        """The backend opened in these modes, and can be asked in the `known` ways. What was chosen stays chosen."""
        self.leaving = {way: mode for way, mode in self.leaving.items() if way in known}
        self._default |= {way: mode for way, mode in ways.items() if way not in self.due}

    def said(self, ways: Mapping[str, object]) -> None:
        """The backend is in these modes now. A way that it never told of before was at its default until now."""
        for way, mode in ways.items():
            self._default.setdefault(way, mode)
            self.turned(way, mode)

    def turned(self, way: str, mode: object) -> None:
        if way in self._default and self._default[way] == mode:
            self.chosen.pop(way, None)
        else:
            self.chosen[way] = mode

    def left_for(self, ways: Mapping[str, object]) -> None:
        """The user chose anew among these: a way that is there no more holds nobody."""
        self.chosen = {way: mode for way, mode in self.chosen.items() if way in ways}


def mode_options(options: Sequence[Raw] | None) -> Iterator[Option]:
    """The options that tell the mode; one of another shape tells nothing."""
    for raw in options or ():
        try:
            option = _decode(raw, type=Option)
        except msgspec.DecodeError:
            continue
        if option.category == "mode" or option.id == MODE_OPTION:
            yield option


def ways(modes: Modes | None, options: Sequence[Raw] | None) -> dict[str, object]:
    """The mode by each way in which it is told."""
    own: dict[str, object] = {} if modes is None else {SESSION: modes.current}
    return own | {option.id: option.value for option in mode_options(options)}


def request(way: str, mode: object) -> Request:
    """What to ask a backend, so that it tells this mode by this way."""
    value = jsonrpc.encode(mode)
    if way == SESSION:
        return "session/set_mode", {"modeId": value}
    kind = {"type": jsonrpc.encode("boolean")} if bytes(value) in (b"true", b"false") else {}
    return "session/set_config_option", {"configId": jsonrpc.encode(way), **kind, "value": value}


def option_id(option: Raw) -> object:
    return _member(option, "id")


def is_boolean(option: Raw) -> bool:
    return _member(option, "type") == "boolean"


def _member(option: Raw, name: str) -> object:
    members = _decode(option)
    return members.get(name) if isinstance(members, dict) else None


def with_value(option: Raw, value: Raw) -> Raw:
    return jsonrpc.encode({**_decode(option, type=dict[str, Raw]), "currentValue": value})
