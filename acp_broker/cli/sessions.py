"""`acp-broker sessions`: what is kept of earlier conversations, read from their logs; no broker has to run."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from acp_broker.cli import export
from acp_broker.cli.terminal import plain, table_console
from acp_broker.config import state_dir
from acp_broker.core.names import SessionId
from acp_broker.errors import BrokerError, UsageError
from acp_broker.store import owned
from acp_broker.store.files import StateFolder
from acp_broker.store.index import Index
from acp_broker.store.past import Listed
from acp_broker.store.reading import read_records
from acp_broker.store.told import told

_DAY_S = 86_400


def run(environ: Mapping[str, str], words: list[str], wall: Callable[[], float] = time.time) -> int | None:
    """1 where something is wrong with what was asked for; None where the words are none of its commands."""
    try:
        folder = StateFolder(state_dir(environ))
        match words:
            case ["list"]:
                return _list(folder.sessions())
            case ["list", "--json"]:
                return _list_json(folder.sessions())
            case ["reindex"]:
                Index(folder.path).remove()
                return _print(f"{len(folder.sessions())} sessions")
            case ["show", name]:
                return _show(_log(folder, name))
            case ["export", name] | ["export", name, "--markdown"]:
                text = export.markdown(_log(folder, name))
                return _print(plain(text) if sys.stdout.isatty() else text)
            case ["export", name, "--json"] | ["export", "--json", name]:
                return _print(export.as_json(_log(folder, name)))
            case ["delete", "--older-than", days]:
                return _delete(folder, _unattended(folder, _older(folder.sessions(), days, wall())))
            case ["delete", *names] if names and not names[0].startswith("-"):
                return _delete(folder, names)
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1
    return None


def _list(sessions: list[Listed]) -> int:
    table = Table(box=None, pad_edge=False)
    for heading in ("session", "last written", "turns", "size", "folder", "title"):
        justify: Literal["left", "right"] = "right" if heading in ("turns", "size") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading not in ("folder", "title"))
    for one in sessions:
        # Folded into what a narrow terminal leaves them, folder and title would take ten lines.
        cut = (Text(plain(said), no_wrap=True, overflow="ellipsis") for said in (one.cwd, one.title or ""))
        table.add_row(one.session, _when(one.at), str(one.turns), _size(one.size), *cut)
    table_console().print(table if sessions else "no sessions are kept yet")
    return 0


def _list_json(sessions: list[Listed]) -> int:
    return _print(json.dumps(msgspec.to_builtins(sessions), indent=2))


def _show(path: Path) -> int:
    console = Console(emoji=False, highlight=False, markup=False, soft_wrap=True)
    for turn in told(read_records(path)):
        console.print(Text(f"\n> {plain(turn.prompt)}", style="bold"))
        for tool in turn.tools:
            where = f" ({', '.join(tool.paths)})" if tool.paths else ""
            console.print(Text(plain(f"[{tool.title}{where}: {tool.status or 'status unknown'}]"), style="cyan"))
        console.print(Text(plain(turn.answer)))
        end = "" if turn.end == "end_turn" else f", {turn.end}{': ' if turn.why else ''}{turn.why}"
        after = f", after {', '.join(turn.before)}" if turn.before else ""
        console.print(Text(plain(f"{turn.by or 'nobody'}{after}{end}"), style="dim"))
    return 0


def _delete(folder: StateFolder, names: Iterable[str]) -> int:
    """Each by itself: one that is in use, or not there, is said, and the others go all the same."""
    failed = False
    for name in names:
        try:
            owned.remove(_log(folder, name))
        except BrokerError as error:
            failed = True
            print(f"acp-broker: {name}: {error}", file=sys.stderr)
        else:
            print(f"deleted {name}")
    return 1 if failed else 0


def _older(sessions: Iterable[Listed], days: str, now: float) -> list[SessionId]:
    try:
        age_s = float(days) * _DAY_S
    except ValueError:
        raise UsageError(f"--older-than takes a number of days, not {days!r}") from None
    return [one.session for one in sessions if now - one.at > age_s]


def _unattended(folder: StateFolder, names: Iterable[SessionId]) -> Iterator[SessionId]:
    """Those that nobody has open: one may have been in an editor, without a word, for weeks."""
    for name in names:
        if folder.attended.is_elsewhere(name):
            print(f"kept {name}: a client has it open; to delete it all the same, name it")
        else:
            yield name


def _log(folder: StateFolder, name: str) -> Path:
    path = folder.log_path(SessionId(name))
    if path is None:
        raise UsageError(f"no session is called {name!r}; see them with: acp-broker sessions list")
    return path


def _print(text: str) -> int:
    print(text)
    return 0


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"
