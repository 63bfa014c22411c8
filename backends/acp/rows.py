"""Finds the row of an agent: by name, by the command that starts it, or by what it calls itself.

Read when a backend is opened, never at the start of the broker.
"""

import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Literal, cast

import msgspec
from msgspec import Raw, Struct, structs

from acp_broker.core.failures import FailureKind
from acp_broker.core.habits import UNKNOWN, Habits, Pattern
from backends.acp import RowName
from backends.acp.row import Row

# `env A=1 PROGRAM`, `npx -y PACKAGE`, `python -m MODULE`: the agent's name is the first one behind these.
_WRAPPERS = frozenset({"env", "exec", "nice", "nohup"})
_RUNNERS = frozenset({"npx", "npm", "pnpx", "pnpm", "yarn", "bunx", "bun", "deno", "uvx", "uv", "pipx"})
_INTERPRETERS = re.compile(r"(?:node|nodejs|tsx|python[\d.]*|pypy[\d.]*)")
_SUBCOMMANDS = frozenset({"dlx", "exec", "x", "run", "tool"})
# Editors that the desktop started have no shell's PATH: people put one around their agent.
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "fish"})
_SCRIPT = re.compile(r"-[a-z]*c")
_ENDS = ("&&", ";", "||")
# Options of runners and interpreters whose value is a word of its own.
_VALUED = frozenset({"-p", "--package", "--from", "--with", "--python", "--require", "-r"})
# Of a package that is to be fetched.
_VERSION = re.compile(r"(?<=.)(?:@[^/@]*|\[.*|[=<>~!].*)$")
# Members that `like` adds to; all others it replaces.
_ADDED = ("packages", "programs", "info_names", "settings", "notices", "retrying", "asides")


@cache
def known() -> Mapping[str, Row]:
    """The rows of rows.json, by name."""
    return msgspec.json.decode(Path(__file__).with_name("rows.json").read_bytes(), type=dict[str, Row])


def by_command(command: Sequence[str]) -> tuple[str, ...]:
    """The names of the rows that start so; more than one where two agents share a program's name."""
    named = set(_names(command))
    return tuple(name for name, row in known().items() if named & {*row.packages, *row.programs})


def by_info(info_name: str) -> str | None:
    """The name of the row whose agent calls itself so in `initialize`."""
    folded = info_name.casefold()
    return next((name for name, row in known().items() if folded in map(str.casefold, row.info_names)), None)


class Found(Struct, frozen=True):
    """Which row holds for an agent, and by what it was found. `name` is None for a row of the user's own."""

    row: Row
    name: RowName | None
    by: Literal["config", "command", "info"]


def find(
    agent: str | Mapping[str, Raw] | None,
    command: Sequence[str],
    info_name: str | None = None,
    *,
    path: str | None = None,
) -> Found | None:
    """The row that holds: the one config names or writes, else the one it calls itself by, else its command's.

    `agent` is a row's name, a row as it is written in config.json, or "none" for no row at all. Where two rows share
    a program's name, the place of the program on `path` settles it, else the first is taken.
    """
    match agent:
        case "none":
            return None
        case str(name):
            return _found(name, "config")
        case None:
            named = by_info(info_name) if info_name is not None else None
            if named is not None:
                return _found(named, "info")
            told = by_command(command)
            if len(told) > 1:
                told = by_command(_resolved(command, path)) or told
            return _found(told[0], "command") if told else None
        case written:
            own = msgspec.json.decode(msgspec.json.encode(written), type=Row)
            return Found(merged(known()[own.like], own) if own.like is not None else own, own.like, "config")


def _found(name: str, by: Literal["config", "command", "info"]) -> Found:
    return Found(known()[name], cast("RowName", name), by)


def _resolved(command: Sequence[str], path: str | None) -> tuple[str, ...]:
    """Where the program really is: npm puts a link into a folder of PATH."""
    where = shutil.which(command[0], path=path)
    return (os.path.realpath(where),) if where is not None else ()


def merged(base: Row, more: Row) -> Row:
    """`more`, and what it leaves out from `base`: lists are added to, maps key by key, other members replaced."""
    said: dict[str, object] = {"like": None}
    for field in structs.fields(Row):
        ours, theirs = getattr(base, field.name), getattr(more, field.name)
        if field.name in _ADDED:
            said[field.name] = (*theirs, *ours)
        elif isinstance(theirs, dict):
            said[field.name] = {**ours, **theirs}
        elif field.name != "like" and theirs != field.default:
            said[field.name] = theirs
    return structs.replace(base, **said)


def habits(row: Row | None) -> Habits:
    """Its agent's own words, compiled."""
    if row is None:
        return UNKNOWN
    return Habits(
        notices=tuple(Pattern(re.compile(one.pattern, re.DOTALL), FailureKind(one.means)) for one in row.notices),
        retrying=tuple(map(re.compile, row.retrying)),
        asides=tuple(map(re.compile, row.asides)),
        reports_usage=row.reports_usage,
        renews_usage=row.renews_usage,
    )


def _names(command: Sequence[str]) -> Iterator[str]:
    """What the agent may be called by its command: a program, a package or a module."""
    words = list(_scripted(command))
    while words and (PurePath(words[0]).name in _WRAPPERS or "=" in words[0]):
        words.pop(0)
    if not words:
        return
    program = PurePath(words[0]).name
    if program not in _RUNNERS and not _INTERPRETERS.fullmatch(program):
        yield from _named(words[0])
        return
    is_value = False
    for word in words[1:]:
        if word.startswith("-"):
            # --package=NAME, --from=NAME
            yield from _named(word.partition("=")[2])
            is_value = word in _VALUED
        elif word not in _SUBCOMMANDS:
            yield from _named(word)
            if not is_value:  # what follows the agent's own name is for the agent
                return
            is_value = False


def _scripted(command: Sequence[str]) -> Sequence[str]:
    """Of `bash -lc "cd ~ && npx PACKAGE"` what comes last; any other command as it is."""
    if not command or PurePath(command[0]).name not in _SHELLS:
        return command
    option = next((index for index, word in enumerate(command) if _SCRIPT.fullmatch(word)), len(command))
    try:
        words = [word for text in command[option + 1 : option + 2] for word in shlex.split(text)]
    except ValueError:  # quotes that do not close
        return ()
    last = max((index for index, word in enumerate(words) if word.endswith(_ENDS)), default=-1)
    return words[last + 1 :]


def _named(word: str) -> Iterator[str]:
    """`.../node_modules/@scope/name/dist/index.js`, `@scope/name@1.2`, `name[extra]==1.2`, `/usr/bin/name`."""
    path = PurePath(word)
    if "node_modules" in path.parts:
        inside = path.parts[len(path.parts) - path.parts[::-1].index("node_modules") :]
        if inside and inside[0] != ".bin":
            yield "/".join(inside[: 2 if inside[0].startswith("@") else 1])
            return
    bare = _VERSION.sub("", word)
    if not bare.startswith("@"):
        bare = PurePath(bare).name
    yield bare.removesuffix(".exe")
