"""Whether an agent asks its own failing provider again and again, for minutes, while others could answer."""

import json
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from acp_broker.app import user_files
from backends.acp.row import Row, Setting


class Edit(Struct, frozen=True, rename="camel"):
    """A line in a file of the user's that would serve them: `key` should be `value`; `now` is what it is, as JSON."""

    file: str
    key: str
    value: str
    now: str | None
    why: str


class Retries(Struct, frozen=True, rename="camel"):
    """`off` and `on` as far as is known; `environment`: the variables that decide, as the agent gets them.

    `lasts_ms`: for how long it asks a provider that is overloaded, as it comes.
    """

    state: Literal["off", "on", "unknown"] = "unknown"
    lasts_ms: int | None = None
    environment: dict[str, str] = {}
    edits: tuple[Edit, ...] = ()


def of(row: Row | None, environment: Mapping[str, str]) -> Retries:
    """`environment` is the agent's own, with what we have set in it."""
    if row is None:
        return Retries()
    if not (row.env or row.settings):
        return Retries("on" if row.retries_ms else "unknown", row.retries_ms)
    edits = tuple(edit for setting in row.settings if (edit := _edit(setting, environment)) is not None)
    is_off = not edits and all(environment.get(name) == wanted for name, wanted in row.env.items())
    said = {name: environment[name] for name in row.env if name in environment}
    return Retries("off" if is_off else "on", row.retries_ms, said, edits)


def _edit(setting: Setting, environment: Mapping[str, str]) -> Edit | None:
    """None where the user has it so already."""
    path = user_files.place(setting.file, environment)
    document = user_files.settings(path)
    found = [_canonical(value) for value in user_files.values(document, setting.key)]
    wanted = _canonical(_read(setting.value))
    if found and found == [wanted] * user_files.count(document, setting.key):
        return None
    now = next((value for value in found if value != wanted), None)
    return Edit(user_files.shown(path, environment), setting.key, setting.value, now, setting.why)


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _canonical(value: object) -> str:
    if isinstance(value, float) and value.is_integer():  # TOML and JSON both have 0 and 0.0, and mean the same
        value = int(value)
    return json.dumps(value, sort_keys=True, default=str)
