"""`acp-broker serve`: the daemon in the foreground, until a signal ends it."""

import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
from anyio import Event, create_task_group
from rich.console import Console

from acp_broker.app import kinds
from acp_broker.app.serving import Daemon, serving
from acp_broker.config import Config, load
from acp_broker.errors import BrokerError

_ERR = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def run(path: Path | None, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT. 1, with the reason on stderr, when it cannot start."""
    try:
        config = load(kinds(), path=path, environ=environ)
        anyio.run(_serve, config, environ)
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config, environ: Mapping[str, str]) -> None:
    # Caught to the very end: no further signal may keep us from ending our agents.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with serving(config, environ) as daemon, create_task_group() as tasks:
            if sys.stderr.isatty():
                _ERR.print(_ready(daemon), style="green")
            stop, at_once = Event(), Event()
            tasks.start_soon(_obey, signals, daemon, stop, at_once)
            await stop.wait()
            await daemon.drain(at_once)
            tasks.cancel_scope.cancel()


async def _obey(signals: AsyncIterator[signal.Signals], daemon: Daemon, stop: Event, at_once: Event) -> None:
    """SIGHUP reloads. Of the others the first lets running turns end, the second waits for none of them."""
    async for number in signals:
        if number is signal.SIGHUP:
            daemon.reload()
        elif stop.is_set():
            at_once.set()
        else:
            stop.set()


def _ready(daemon: Daemon) -> str:
    """What a person wants to know next. The token itself would stay in the terminal's history."""
    ways = f"ready: acp-broker stdio finds it by itself ({daemon.socket})"
    if daemon.url is None:
        return ways
    return f"{ways}; bridges connect to {daemon.url} with the token of `acp-broker token show`"
