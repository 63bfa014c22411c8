"""The import table of the house, and what else may stand only in one place, read from sources with `ast`.

A violation is one line, `file:line what`. Imports count wherever they stand: in functions and under TYPE_CHECKING too.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]
PACKAGES = ("acp_broker", "backends")

# Room -> what it may import beside itself. `stdlib` is all of the standard library but what has an owner in OWNED.
TABLE: dict[str, frozenset[str]] = {
    "acp_broker": frozenset(),
    "acp_broker.core": frozenset({"msgspec", "enum", "typing", "collections.abc", "re"}),
    "acp_broker.errors": frozenset({"stdlib", "msgspec", "acp_broker.core"}),
    "acp_broker.clock": frozenset({"stdlib"}),
    "acp_broker.home": frozenset({"stdlib"}),
    "acp_broker.contract": frozenset(
        {"stdlib", "anyio", "msgspec", "acp_broker.clock", "acp_broker.core", "acp_broker.wire"}
    ),
    "acp_broker.backend_config": frozenset({"stdlib", "msgspec", "acp_broker.core"}),
    "acp_broker.config": frozenset(
        {"stdlib", "msgspec", "acp_broker.core", "acp_broker.backend_config", "acp_broker.errors", "acp_broker.home"}
    ),
    "acp_broker.wire": frozenset({"stdlib", "msgspec", "acp_broker.core", "acp_broker.errors"}),
    "acp_broker.edge": frozenset(
        {"stdlib", "anyio", "msgspec", "websockets", "acp_broker.core", "acp_broker.wire", "acp_broker.errors"}
        | {"aiohappyeyeballs", "httptools"}
        # Deadlines of peers, and of those that stall: tests let hours of them pass.
        | {"acp_broker.clock"}
    ),
    "acp_broker.auth": frozenset(
        {"stdlib", "anyio", "cryptography", "msgspec", "keyring", "filelock", "httpx2"}
        | {"acp_broker.core", "acp_broker.errors", "acp_broker.clock"}
    ),
    "acp_broker.store": frozenset(
        {"stdlib", "sqlite3", "anyio", "msgspec", "acp_broker.core", "acp_broker.errors", "acp_broker.clock"}
    ),
    "acp_broker.observe": frozenset({"stdlib", "msgspec", "acp_broker.core", "acp_broker.errors", "acp_broker.clock"}),
    "acp_broker.broker": frozenset(
        {"stdlib", "anyio", "msgspec", "acp_broker", "acp_broker.core", "acp_broker.wire", "acp_broker.auth"}
        | {"acp_broker.store", "acp_broker.observe", "acp_broker.contract", "acp_broker.edge.channel"}
        | {"acp_broker.clock", "acp_broker.errors"}
    ),
    "backends": frozenset(
        {"stdlib", "anyio", "msgspec", "httpx2", "acp_broker", "acp_broker.clock", "acp_broker.contract"}
        | {"acp_broker.backend_config", "acp_broker.core", "acp_broker.edge", "acp_broker.errors", "acp_broker.wire"}
    ),
    "acp_broker.app": frozenset(
        {"stdlib", "anyio", "msgspec", "backends", "acp_broker", "acp_broker.broker", "acp_broker.config"}
        | {"acp_broker.contract", "acp_broker.core", "acp_broker.edge", "acp_broker.auth", "acp_broker.store"}
        | {"acp_broker.backend_config", "acp_broker.observe", "acp_broker.wire", "acp_broker.clock"}
        | {"acp_broker.errors"}
    ),
    "acp_broker.cli": frozenset(
        {"stdlib", "anyio", "msgspec", "rich", "acp_broker", "acp_broker.app", "acp_broker.broker", "acp_broker.config"}
        | {"acp_broker.contract", "acp_broker.core", "acp_broker.edge", "acp_broker.wire", "acp_broker.store"}
        | {"acp_broker.observe", "acp_broker.auth", "acp_broker.clock", "acp_broker.errors", "acp_broker.home"}
    ),
}
# Parts of the standard library that not every room with `stdlib` may use.
OWNED = frozenset({"sqlite3"})
# wire is bytes to messages, the broker is told the time and handed its channels: neither touches the world by itself.
# asyncio is what the broker waits with, where anyio's own would cost a turn more.
FORBIDDEN_STDLIB: dict[str, frozenset[str]] = {
    "acp_broker.wire": frozenset({"asyncio", "io", "os", "pathlib", "socket", "subprocess", "threading", "time"}),
    "acp_broker.broker": frozenset({"os", "random", "select", "socket", "subprocess", "threading", "time"}),
}

# Rule -> the one file where it may be broken.
MAY_CATCH_ALL = "acp_broker/broker/guard.py"
MAY_SAY_ANY = "acp_broker/wire/jsonrpc.py"
# It must say on stderr that it cannot write anywhere else.
MAY_PRINT = ("acp_broker/cli/", "acp_broker/observe/log.py")

# A path of one person's machine. Docs and comments name places as `~/...` or by their variable.
MACHINE_PATH = re.compile(r"(?<![\w.~}:])/(?:work/(?:main|shared)|root|Users|home|tmp|var/folders)/[\w.]")


def sources() -> Iterator[tuple[str, str]]:
    """Every module that is shipped: its path from the top of the repository, and its text."""
    for package in PACKAGES:
        for path in sorted((TOP / package).rglob("*.py")):
            yield path.relative_to(TOP).as_posix(), path.read_text()


def violations(path: str, text: str) -> list[str]:
    """Everything in one module that the house does not allow, in the order of the lines."""
    tree = ast.parse(text, path)
    found = [
        *_wrong_imports(path, tree),
        *_wrong_words(path, tree),
        *((number, "an absolute path of some machine") for number in _machine_paths(text)),
    ]
    if tree.body and ast.get_docstring(tree) is None:
        found.append((1, "no docstring"))
    return [f"{path}:{line} {what}" for line, what in sorted(found)]


def room_of(path: str) -> str:
    """The row of the table that a file belongs to: `acp_broker/core/turn.py` is of `acp_broker.core`."""
    parts = path.removesuffix(".py").split("/")
    name = parts[0] if parts[0] == "backends" or parts[1:] == ["__init__"] else ".".join(parts[:2])
    if name not in TABLE:
        raise KeyError(f"{path}: no row in the import table")
    return name


def _wrong_imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    room = room_of(path)
    for line, module, name in _imports(tree):
        if not _may_import(room, module, name):
            yield line, f"{room} may not import {module}"


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Each import as (line, module, name in it)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def _may_import(room: str, module: str, name: str) -> bool:
    allowed = TABLE[room]
    # `from acp_broker import core` imports the package acp_broker.core; `from acp_broker import __version__` does not.
    full = f"{module}.{name}" if module in PACKAGES and not name.startswith("__") else module
    if f"{module}.{name}" in allowed or _is_within(full, {room} - {"acp_broker"}):
        return True
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names and "stdlib" in allowed:
        return (top not in OWNED or top in allowed) and top not in FORBIDDEN_STDLIB.get(room, ())
    return full in allowed or _is_within(full, allowed - {"acp_broker"})


def _is_within(module: str, packages: frozenset[str] | set[str]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def _wrong_words(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=None):
                yield node.lineno, "a bare except"
            case ast.ExceptHandler(type=caught) if "Exception" in _names(caught) and path != MAY_CATCH_ALL:
                yield node.lineno, f"except Exception; only {MAY_CATCH_ALL} may"
            case ast.Call(func=ast.Name("print")) if not path.startswith(MAY_PRINT):
                yield node.lineno, "print; only cli may"
            case ast.Call(func=func, args=args) if "suppress" in _names(func) and "Exception" in _names(*args):
                yield node.lineno, "suppress(Exception)"
            case ast.Name("Any") | ast.Attribute(attr="Any") if path != MAY_SAY_ANY:
                yield node.lineno, f"Any; only {MAY_SAY_ANY} may"


def _names(*nodes: ast.expr | None) -> set[str]:
    """The last words of all names in these expressions: `Exception` of `(OSError, builtins.Exception)`."""
    every = [inner for node in nodes if node is not None for inner in ast.walk(node)]
    return {node.id for node in every if isinstance(node, ast.Name)} | {
        node.attr for node in every if isinstance(node, ast.Attribute)
    }


def _machine_paths(text: str) -> Iterator[int]:
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE_PATH.search(line):
            yield number
