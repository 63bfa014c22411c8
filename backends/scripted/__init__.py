"""The `scripted` kind: a public, deterministic runtime whose script says what to emit, when to stall, fail, lie or die.

The same script also runs as a real ACP agent process (`python -m backends.scripted`), which starts without the kind
and its event loop: hence the names below are looked up when first used. docs/scripted.md teaches the language.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backends.scripted.kind import ScriptedConfig, check, config, open  # noqa: A004 - the contract's name

__all__ = ["ScriptedConfig", "check", "config", "open"]


def __getattr__(name: str) -> object:
    # Measured, spawn to `initialize` answered: 70 ms without the kind's imports, 120 ms with them.
    if name in __all__:
        return getattr(import_module("backends.scripted.kind"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
