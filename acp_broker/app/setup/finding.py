"""What is here: agents that are known by name, their logins, and model servers. Nothing is started to find out."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from msgspec import Struct
from msgspec.structs import replace

from acp_broker.app import logins, user_files
from acp_broker.app.logins import Seen
from acp_broker.app.setup import servers
from acp_broker.app.setup.providers import Provider, every_offer, providers
from acp_broker.app.setup.servers import Server
from acp_broker.edge import lookups
from backends.acp import rows
from backends.acp.row import Row

# A program that starts others is on every PATH: it says nothing of the agent.
_INTERPRETER = re.compile(r"python[\d.]*|node|bun|deno|env|sh|bash")
# npm's, PyPI's and others' folders for programs, which are not always on PATH.
_FOLDERS = (
    ("NPM_CONFIG_PREFIX", "bin"),
    ("npm_config_prefix", "bin"),
    ("PNPM_HOME", ""),
    ("BUN_INSTALL", "bin"),
    ("VOLTA_HOME", "bin"),
    ("PIPX_BIN_DIR", ""),
    ("UV_TOOL_BIN_DIR", ""),
    ("XDG_BIN_HOME", ""),
    ("CARGO_HOME", "bin"),
)
_USUAL = (
    "~/.local/bin",
    "~/.npm-global/bin",
    "~/.npm-packages/bin",
    "~/.local/share/pnpm",
    "~/.yarn/bin",
    "~/.bun/bin",
    "~/.volta/bin",
    "~/.cargo/bin",
    "~/.opencode/bin",
    "~/bin",
)
# How a package is installed, and what fetches it and runs a program of it. Several packages are for their user to add.
_FETCHERS = (
    (re.compile(r"npm (?:install|i) -g (\S+)"), ("npx", "-y"), False),
    (re.compile(r"uv tool install (\S+)"), ("uvx", "--from"), True),
    (re.compile(r"pipx install (\S+)"), ("pipx", "run", "--spec"), True),
)


class Agent(Struct, frozen=True):
    """One known agent on this machine. `command` starts it; None: it is not here, and nothing would fetch it.

    `program` is where it was found; None with a `command`: it is fetched at its first start. One of another kind than
    `acp` has its own `entry` of config.json.
    """

    name: str
    row: Row
    login: Seen
    command: tuple[str, ...] | None = None
    program: str | None = None
    entry: Mapping[str, object] = {}

    @property
    def is_logged_in(self) -> bool:
        return self.row.login is None or self.login.any


class Found(Struct, frozen=True):
    """Everything; `agents` in the order in which they are known, those that are not here too."""

    agents: tuple[Agent, ...]
    servers: tuple[Server, ...]
    providers: tuple[Provider, ...] = ()


async def found(known: Mapping[str, Row], environ: Mapping[str, str], *, may_ask: bool = False) -> Found:
    """Look everywhere, for some seconds at most; beyond this machine only if `may_ask`."""
    lookups.apart()
    elsewhere = os.pathsep.join(_elsewhere(environ))
    agents = [_agent(name, row, environ, elsewhere) for name, row in known.items()]
    agents += _offered(known, environ, elsewhere)
    distinct = tuple(_distinct(agents))
    answering = await servers.answering(environ, servers.KNOWN)
    return Found(distinct, answering, await providers(environ, _lived_on(distinct), may_ask=may_ask))


def _offered(known: Mapping[str, Row], environ: Mapping[str, str], elsewhere: str) -> Iterator[Agent]:
    """Those that kinds of their own run, and that are here with a login: each is much like a known one."""
    for offer in every_offer(environ):
        if offer.like not in known:
            continue
        row = replace(known[offer.like], command=offer.command, install="", title=offer.title)
        agent = _agent(offer.id, row, environ, elsewhere)
        if agent.command is not None and agent.is_logged_in:
            moved = {"command": list(agent.command)} if agent.command != offer.command else {}
            yield replace(agent, entry={**offer.entry, **moved})


def _lived_on(agents: Sequence[Agent]) -> frozenset[str]:
    """Variables that are all the login of an agent which is here: a backend with the same key would fail with it."""
    here = (agent.login for agent in agents if agent.program is not None and not agent.login.files)
    return frozenset(name for login in here for name in login.credentials)


def _agent(name: str, row: Row, environ: Mapping[str, str], elsewhere: str) -> Agent:
    login = logins.seen(row, environ)
    program, arguments = _program(row), row.command[1:]
    if program is None:
        return Agent(name, row, login)
    on_path = shutil.which(program, path=environ.get("PATH", os.defpath))
    if on_path is not None:
        return Agent(name, row, login, row.command, on_path)
    off_path = shutil.which(program, path=elsewhere)
    if off_path is not None:
        return Agent(name, row, login, (user_files.shown(Path(off_path), environ), *arguments), off_path)
    return Agent(name, row, login, _fetched(row, environ))


def _program(row: Row) -> str | None:
    """What must be on PATH; None where that would say nothing."""
    program = row.command[0] if row.command else None
    return None if program is None or _INTERPRETER.fullmatch(PurePath(program).name) else program


def _distinct(agents: Sequence[Agent]) -> Iterator[Agent]:
    """Of agents that have a program of one name, the one that it is; if it is not here, the first."""
    alike: dict[str, list[Agent]] = {}
    for agent in agents:
        alike.setdefault(_program(agent.row) or agent.name, []).append(agent)
    for group in alike.values():
        program = group[0].program
        names = [agent.name for agent in group]
        yield group[0] if program is None or len(group) == 1 else group[names.index(_owner(program, names))]


def _owner(program: str, names: Sequence[str]) -> str:
    """Which of these agents a program belongs to, told by the package that it is in; the first, if nothing tells."""
    told = rows.by_command((os.path.realpath(program),))
    return next((name for name in told if name in names), names[0])


def _fetched(row: Row, environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """A command that fetches its package at the first start, if the program that does so is here."""
    program, *arguments = row.command
    for installs, fetcher, names_program in _FETCHERS:
        package = installs.fullmatch(row.install)
        if package is not None and shutil.which(fetcher[0], path=environ.get("PATH", os.defpath)) is not None:
            return (*fetcher, package[1], *([program] if names_program else []), *arguments)
    return None


def _elsewhere(environ: Mapping[str, str]) -> Iterator[str]:
    """Folders that hold programs and need not be on PATH; relative ones are none of ours."""
    for variable, inside in _FOLDERS:
        if PurePath(environ.get(variable, "")).is_absolute():
            yield str(PurePath(environ[variable]) / inside)
    node = shutil.which("node", path=environ.get("PATH", os.defpath))
    if node is not None:  # npm's usual prefix is the one of its node; what is on PATH may be a link to that
        yield str(Path(node).resolve().parent)
    prefix = _npm_prefix(environ)
    if prefix is not None:
        yield str(prefix / "bin")
    yield from (str(user_files.place(folder, environ)) for folder in _USUAL)


def _npm_prefix(environ: Mapping[str, str]) -> Path | None:
    try:
        text = user_files.place("~/.npmrc", environ).read_text()
    except (OSError, ValueError):
        return None
    found = re.search(r"^\s*prefix\s*=\s*(.+?)\s*$", text, re.MULTILINE)
    path = user_files.place(found[1].replace("${HOME}", "~", 1), environ) if found is not None else None
    return path if path is not None and path.is_absolute() else None
