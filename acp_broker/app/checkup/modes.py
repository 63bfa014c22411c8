"""The modes of a backend: what it may do unasked in each, and which of the primary's it has a counterpart of."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from acp_broker.broker.modes import Opened, mode_options
from acp_broker.contract import About
from backends.acp.row import Posture, Row

# From the narrowest to the widest.
POSTURES: tuple[Posture, ...] = ("reads", "asks", "edits", "acts")


class Modes(Struct, frozen=True, rename="camel"):
    """`posture` is that of the mode it opens in. The rest is a fallback's: modes of the primary in which it is passed
    over (`unmapped`), and modes that config maps to and that it does not offer (`unknown`).
    """

    current: str | None = None
    available: tuple[str, ...] = ()
    posture: Posture | None = None
    postures: dict[str, Posture] = {}
    unmapped: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """Those that it does not open in."""
        return tuple(mode for mode in self.available if mode != self.current)


def of(about: About, row: Row | None) -> Modes:
    """What it offers; a backend without modes, or that did not open, has none."""
    told = _told(about.opened)
    current = next((now for now, _ in told if now is not None), None)
    available = tuple(dict.fromkeys(mode for _, modes in told for mode in modes))
    known = row.modes if row is not None else {}
    posture = known.get(current) if current is not None else None
    if posture is None and row is not None:
        posture = row.posture
    return Modes(current, available, posture, {mode: known[mode] for mode in available if mode in known})


def beside(own: Modes, primary: Modes, mapped: Mapping[str, str]) -> Modes:
    """A fallback's modes, held against the primary's."""
    return msgspec.structs.replace(
        own,
        unmapped=tuple(mode for mode in primary.others if mode not in mapped),
        unknown=tuple(dict.fromkeys(mode for mode in mapped.values() if own.available and mode not in own.available)),
    )


def _told(opened: Raw) -> list[tuple[str | None, tuple[str, ...]]]:
    """By each way of telling modes: the one it is in, and all it offers."""
    try:
        said = msgspec.json.decode(opened, type=Opened)
        modes = said.session_modes()
    except msgspec.DecodeError:
        return []
    told: list[tuple[str | None, tuple[str, ...]]] = []
    if modes is not None:
        told.append((modes.current, tuple(mode.id for mode in modes.available)))
    for option in mode_options(said.options):
        now = option.value if isinstance(option.value, str) else None
        told.append((now, tuple(value for value in option.values() if isinstance(value, str))))
    return told
