"""`acp-broker stdio`: the broker in this process, speaking ACP on stdin and stdout."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio

from acp_broker.app import kinds, running_and_following
from acp_broker.broker.terms import Terms
from acp_broker.config import Config, load
from acp_broker.edge.signals import caught
from acp_broker.edge.stdio import StdioChannel
from acp_broker.errors import BrokerError

# The log is open, and so is the only connection.
_FIXED = ("log", "limits.maxMessageBytes")


def run(path: Path | None, environ: Mapping[str, str], read_fd: int, write_fd: int) -> int:
    """Serve one frontend until it closes its side, or until a signal ends us. Problems are said on stderr: 1."""
    try:
        config = load(kinds(), path=path, environ=environ)
        anyio.run(_serve, config, environ, read_fd, write_fd)
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config, environ: Mapping[str, str], read_fd: int, write_fd: int) -> None:
    channel = StdioChannel(read_fd, write_fd, config.limits.max_message_bytes)

    def leave(_number: signal.Signals) -> None:
        """SIGTERM and its like are the frontend's way of closing its side."""
        channel.close("the broker was told to stop")

    # To the very end: a second signal, or one behind the end of stdin, must not keep us from ending our agents.
    with caught(leave, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        async with running_and_following(config, environ, fixed=_FIXED) as following:
            await following.broker.serve(channel, Terms("stdio", environ))
            await channel.drained()
