"""The user's own files of agents: where they are, and what a setting in them is. They are read, never written."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from acp_broker.config.place import at_home

# Folders that a variable moves, as each agent documents it.
_MOVED = {
    "~/.claude/": "CLAUDE_CONFIG_DIR",
    "~/.codex/": "CODEX_HOME",
    "~/.vibe/": "VIBE_HOME",
    "~/.config/": "XDG_CONFIG_HOME",
    "~/.local/share/": "XDG_DATA_HOME",
}
# Stands in a key for any name at its place: `model_providers.NAME.retries`.
ANY = "NAME"
# A settings file is a few pages; what is longer is none.
_LONGEST = 4 * 1024 * 1024
_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def place(file: str, environ: Mapping[str, str]) -> Path:
    """Where a file is that a row names as `~/...`."""
    for folder, variable in _MOVED.items():
        moved = environ.get(variable)
        if moved and file.startswith(folder):
            return Path(at_home(moved, environ)) / file.removeprefix(folder)
    return Path(at_home(file, environ))


def shown(path: Path, environ: Mapping[str, str]) -> str:
    """The path as a person writes it: `~/...` where it is below their home."""
    home = environ.get("HOME")
    if home and path.is_absolute() and path.is_relative_to(home) and path != Path(home):
        return f"~/{path.relative_to(home)}"
    return str(path)


def is_there(file: str, environ: Mapping[str, str]) -> bool:
    """Whether such a file has anything in it."""
    try:
        found = place(file, environ)
        return found.is_file() and found.stat().st_size > 0
    except (OSError, ValueError):
        return False


def settings(path: Path) -> object:
    """What stands in a JSON (comments allowed) or TOML file; None where it is not there or cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST).decode("utf-8-sig")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        return json.loads(_STRING_OR_COMMENT.sub(lambda found: found[0] if found[0][0] == '"' else " ", text))
    except (OSError, ValueError, RecursionError):
        return None


def values(document: object, key: str) -> list[object]:
    """Every value at a dotted key, ANY standing for each member of its object; none where it is not set."""
    return _values(document, key.split("."))


def _values(document: object, keys: Sequence[str]) -> list[object]:
    if not keys:
        return [document]
    if not isinstance(document, dict):
        return []
    members = document.values() if keys[0] == ANY else [document[keys[0]]] if keys[0] in document else []
    return [value for member in members for value in _values(member, keys[1:])]


def count(document: object, key: str) -> int:
    """At how many places a key could stand: 1, or as many as there are members where it has ANY in it."""
    before, any_name, _ = f".{key}.".partition(f".{ANY}.")
    return len(_values(document, [*before.strip(".").split("."), ANY])) if any_name else 1
