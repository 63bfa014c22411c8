"""`acp-broker status`: what the daemon of this state folder does, asked over its unix socket."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from acp_broker import __version__
from acp_broker.app.status import ConfigState, Status
from acp_broker.broker.status import Backend, Client, Process, Session, Turn
from acp_broker.cli.terminal import plain, table_console
from acp_broker.config import find, state_dir
from acp_broker.edge import meeting
from acp_broker.errors import BrokerError, UsageError

# A daemon that lives answers within a millisecond; one that is busy, within a few.
LIMIT_S = 2.0
# More of one table than this is not read but searched, and for that there is --json.
MOST_ROWS = 20
_COLOURS = {"ready": "green", "resting": "red", "probing": "yellow"}


Row = tuple[str | Text, ...]


def run(path: Path | None, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Tables for a person, or the daemon's own words as JSON; 1 where nobody answers."""
    try:
        said = asked(find(path, environ), state_dir(environ))
        if as_json:
            print(json.dumps(said, indent=2))
            return 0
        table_console().print(told(_read(said), time.time()))
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1
    return 0


def asked(config: Path, home: Path) -> object:
    """The status of the daemon that serves this state folder. Raises UsageError that says why there is none."""
    greeting = meeting.hello(version=__version__, config=config, asks="status", environment={})
    nobody = f"no acp-broker serve runs for {home}"
    try:
        daemon = meeting.daemon(home)
    except meeting.Unmet as error:
        raise UsageError(nobody) from error
    try:
        sock, answer = meeting.met(daemon, greeting, LIMIT_S)
    except meeting.Unmet as error:
        why = f"acp-broker serve (pid {daemon.pid}) cannot be asked: {error.why}"
        raise UsageError(nobody if error.why is None else why) from error
    sock.close()
    if "status" not in answer:
        raise UsageError(f"acp-broker serve (pid {daemon.pid}) cannot be asked: {answer.get('refused', 'no status')}")
    return answer["status"]


def told(status: Status, now: float) -> Group:
    """What a person wants to see, the most important first; what is empty is left out."""
    sections: list[Table | Group] = [_head(status, now), _backends(status.backends, now)]
    if status.turns:
        sections.append(_turns(status.turns))
    if status.sessions:
        sections.append(_sessions(status.sessions))
    if status.clients:
        sections.append(_clients(status.clients))
    if status.processes:
        sections.append(_processes(status.processes))
    return Group(*(part for section in sections for part in (section, Text())))


def _read(said: object) -> Status:
    try:
        return msgspec.convert(said, Status)
    except msgspec.ValidationError as error:
        version = said.get("version") if isinstance(said, dict) else None
        raise UsageError(f"acp-broker serve is version {version}, this is {__version__}; --json shows it") from error


def _head(status: Status, now: float) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    state = f"{status.state}, version {status.version}, pid {status.pid}, for {_length(now - status.since)}"
    table.add_row("daemon", Text(state, "green" if status.state == "running" else "yellow"))
    table.add_row("socket", status.socket)
    table.add_row("websocket", status.websocket or Text("none; frontends.websocket in config.json", "dim"))
    table.add_row("config", _config(status.config, now))
    return table


def _config(config: ConfigState, now: float) -> Text:
    text = Text(f"{config.file}, loaded {_length(now - config.loaded_at)} ago")
    if config.refused is not None:
        text.append(
            f"\nan edit was refused {_length(now - config.refused.at)} ago, and the one before it holds:", "red"
        )
        for problem in config.refused.problems:
            text.append(f"\n  {problem.path}  {problem.finding}", "red")
    if config.needs_restart:
        text.append(f"\nrestart it, for these to hold: {', '.join(config.needs_restart)}", "yellow")
    return text


def _backends(backends: Sequence[Backend], now: float) -> Group:
    def row(one: Backend) -> Row:
        until = f", for {_length(one.until - now)} more" if one.until is not None else ""
        health = Text(f"{one.health}{until}", _COLOURS.get(one.health, ""))
        kind = " ".join(filter(None, (one.kind, one.model)))
        return one.id, kind, health, one.why or "", str(one.sessions)

    return _table("backends", ("id", "kind", "health", "why", "sessions"), list(map(row, backends)))


def _turns(turns: Sequence[Turn]) -> Group:
    """The longest first: it is the one that somebody wonders about."""

    def row(one: Turn) -> Row:
        client = one.client or "gone"
        return one.session, one.backend or "", str(one.attempt), one.state, _length(one.seconds), client

    rows = map(row, sorted(turns, key=lambda turn: -turn.seconds))
    return _table("running turns", ("session", "backend", "attempt", "state", "for", "client"), list(rows))


def _sessions(sessions: Sequence[Session]) -> Group:
    def row(one: Session) -> Row:
        opened = ", ".join(one.open) or ("closed" if one.is_closed else "")
        shown: str | Text = opened if one.fault is None else Text(plain(f"{opened} {one.fault}".lstrip()), "red")
        return one.id, one.cwd, shown, str(one.queued or ""), one.client or "gone"

    return _table("sessions", ("id", "folder", "open", "waiting", "client"), list(map(row, sessions)))


def _clients(clients: Sequence[Client]) -> Group:
    def row(one: Client) -> Row:
        program = " ".join(filter(None, (one.program, one.version)))
        return one.name, program, str(one.sessions), f"{one.unread_bytes} bytes" if one.unread_bytes else ""

    return _table("clients", ("name", "program", "sessions", "unread"), list(map(row, clients)))


def _processes(processes: Sequence[Process]) -> Group:
    def row(one: Process) -> Row:
        return str(one.pid), one.backend, one.session or "none: it is asked what it can do"

    return _table("processes", ("pid", "backend", "session"), list(map(row, processes)))


def _table(title: str, columns: Sequence[str], rows: Sequence[Row]) -> Group:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        # An id is there to be copied.
        table.add_column(column, header_style="dim", overflow="fold", no_wrap=column in ("id", "session"))
    for row in rows[:MOST_ROWS]:
        table.add_row(*(Text(plain(cell)) if isinstance(cell, str) else cell for cell in row))
    if len(rows) <= MOST_ROWS:
        return Group(table)
    return Group(table, Text(f"and {len(rows) - MOST_ROWS} more; --json has them all", "dim"))


def _length(seconds: float) -> str:
    """`3 s`, `5 min`, `2.5 h`, `12 d`: as exact as a person wants to know."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{max(0.0, seconds):.0f} s"
