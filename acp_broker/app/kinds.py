"""The kinds of backends: modules that run them, imported when first used."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from acp_broker.backend_config import BackendConfig
from acp_broker.contract import Backend, Tools
from acp_broker.errors import UsageError
from backends import KINDS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

ENTRY_POINTS = "acp_broker.backends"


class Kind(Protocol):
    """contract.BackendKind, as a module."""

    config: type[BackendConfig]

    def check(self, config: BackendConfig, environment: Mapping[str, str]) -> str | None: ...

    def open(self, config: BackendConfig, tools: Tools) -> AbstractAsyncContextManager[Backend]: ...


def kind(name: str) -> Kind:
    """The kind's module, imported when first used. Raises UsageError for one that cannot be imported."""
    try:
        if name in KINDS:
            return cast("Kind", import_module(KINDS[name]))
        return cast("Kind", next(point for point in _entry_points() if point.name == name).load())
    except (ImportError, StopIteration, AttributeError) as error:
        raise UsageError(f"backend kind {name!r} cannot be loaded: {error}") from error


class Kinds(Mapping[str, type[BackendConfig]]):
    """Kind name -> the type of its config. Outside packages are looked at only for a kind that we do not know."""

    def __getitem__(self, name: str) -> type[BackendConfig]:
        if name in KINDS or name in _outside():
            return kind(name).config
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*KINDS, *_outside()))

    def __len__(self) -> int:
        return len(KINDS) + len(_outside())


def kinds() -> Mapping[str, type[BackendConfig]]:
    return Kinds()


def _outside() -> tuple[str, ...]:
    return tuple(point.name for point in _entry_points() if point.name not in KINDS)


def _entry_points() -> "EntryPoints":
    # A fifth of our start-up, for those alone who use it.
    from importlib.metadata import entry_points  # noqa: PLC0415

    return entry_points(group=ENTRY_POINTS)
