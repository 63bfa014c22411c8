"""A first config.json: made of a chain, and put where none is."""

import json
import os
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from acp_broker.app.setup.choosing import Chosen
from acp_broker.errors import UsageError

# A list, or an object, with nothing in it that has parts; a line break stands only between what JSON has.
_FLAT = re.compile(r"\[\n[^][{}]*\]|\{\n[^][{}]*\}")
_BREAK = re.compile(r"\n\s*")
_WIDTH = 100


def document(chain: Sequence[Chosen], beyond: Sequence[Chosen] = ()) -> dict[str, object]:
    """What config.json says of a chain, and of backends beside it. Variables are named: it holds no secret."""
    primary, *fallbacks = chain
    acp: dict[str, object] = {"backend": primary.id}
    if fallbacks:
        acp["fallbacks"] = [one.id for one in fallbacks]
    everybody = (*chain, *beyond)
    profiles: dict[str, dict[str, object]] = {
        _profile_id(one.variable): _profile(one.variable)
        for one in everybody
        if one.variable is not None and one.is_alone
    }
    profiles |= {one.profile[0]: dict(one.profile[1]) for one in everybody if one.profile is not None}
    return {
        "$schema": Path(str(files("acp_broker") / "config.schema.json")).as_uri(),
        "acp": acp,
        "backends": {one.id: _backend(one) for one in everybody},
        **({"auth": {"profiles": profiles}} if profiles else {}),
    }


def text(written: dict[str, object]) -> str:
    """As it stands in the file: what is short on one line, as people write it."""
    whole = json.dumps(written, indent=2, ensure_ascii=False)
    return _FLAT.sub(lambda found: _on_one_line(found[0]), whole) + "\n"


def _on_one_line(flat: str) -> str:
    line = _BREAK.sub(" ", flat)
    line = f"{line[0]}{line[1:-1].strip()}{line[-1]}"
    return line if len(line) <= _WIDTH else flat


def is_there(path: Path) -> bool:
    """Whether anything is; a link that leads nowhere is somebody's too. Where nobody may look, `write` says so."""
    return os.path.lexists(path)


def write(path: Path, content: str) -> None:
    """Put it there, for its owner alone. Raises UsageError where something is there already, or nothing can be."""
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if is_there(path):
            raise UsageError(f"{path} is there already, and stays as it is") from error
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            os.fchmod(file, 0o600)
            opened.write(content)
            opened.flush()
            os.fsync(file)
    except OSError as error:
        path.unlink()
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _backend(one: Chosen) -> dict[str, object]:
    entry: dict[str, object] = dict(one.entry) or {"kind": "acp", "command": list(one.command)}
    if one.profile is not None:
        entry["auth"] = one.profile[0]
    if one.variable is not None and one.is_alone:
        entry["auth"] = _profile_id(one.variable)
    if one.env:
        entry["env"] = one.env
    if one.modes:
        entry["modes"] = one.modes
    return entry


def _profile_id(variable: str) -> str:
    return variable.lower().replace("_", "-")


def _profile(variable: str) -> dict[str, object]:
    kind, key = ("api_key", "key") if "KEY" in variable else ("token", "token")
    return {"type": kind, key: f"${{{variable}}}", "env": variable}
