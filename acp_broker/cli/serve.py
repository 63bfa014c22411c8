"""`acp-broker serve`: the daemon in the foreground, until a signal ends it."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
from anyio import Event
from rich.console import Console

from acp_broker.app import kinds
from acp_broker.app.serving import Daemon, serving
from acp_broker.config import Config, load
from acp_broker.edge.signals import caught
from acp_broker.errors import BrokerError

_ERR = Console(stderr=True, emoji=False, highlight=False, markup=False, soft_wrap=True)


def run(path: Path | None, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT. 1, with the reason on stderr, when it cannot start."""
    try:
        config = load(kinds(), path=path, environ=environ)
        anyio.run(_serve, config, environ)
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1
    return 0


class _Told:
    """What signals want: SIGHUP a reload; of the others the first that running turns end, the second that none is
    waited for."""

    def __init__(self) -> None:
        self.stop, self.at_once = Event(), Event()
        self.daemon: Daemon | None = None

    def hear(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            if self.daemon is not None:  # before that it is about to read everything anyway
                self.daemon.reload()
        elif self.stop.is_set():
            self.at_once.set()
        else:
            self.stop.set()


async def _serve(config: Config, environ: Mapping[str, str]) -> None:
    told = _Told()
    # To the very end: no further signal may keep us from ending our agents.
    with caught(told.hear, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        async with serving(config, environ) as daemon:
            told.daemon = daemon
            if sys.stderr.isatty():
                _ERR.print(_ready(daemon), style="green")
            await told.stop.wait()
            told.daemon = None
            await daemon.drain(told.at_once)


def _ready(daemon: Daemon) -> str:
    """What a person wants to know next. The token itself would stay in the terminal's history."""
    ways = f"ready: acp-broker stdio finds it by itself ({daemon.socket})"
    if daemon.url is None:
        return ways
    return f"{ways}; bridges connect to {daemon.url} with the token of `acp-broker token show`"
