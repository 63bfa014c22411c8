"""The ways to an agent that an SDK has: a command on whose pipes it is spoken to, or an address.

with way_in("websocket", folder, chain(primary=..., spare=...)) as way: ...
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from tests.support.config import write
from tests.support.daemon import WEBSOCKET, Daemon
from tests.support.run import ENVIRONMENT

Kind = Literal["stdio", "relay", "websocket", "browser"]
# The origin of a browser's page.
PAGE = "https://chat.example"


class Command(NamedTuple):
    """A program that speaks ACP on its stdin and stdout; `env` is all of its environment."""

    argv: list[str]
    env: Mapping[str, str] = ENVIRONMENT


class Address(NamedTuple):
    """A WebSocket, and what its client must show there: a header, or a subprotocol where it cannot choose headers."""

    url: str
    headers: Mapping[str, str]
    protocols: tuple[str, ...] = ()


Way = Command | Address


def direct(script: Mapping[str, object]) -> Command:
    """A scripted agent that is spoken to without a broker."""
    return Command([sys.executable, "-m", "backends.scripted", "--script", json.dumps(script)])


def brokered(folder: Path, config: Mapping[str, object]) -> Command:
    """`acp-broker stdio`, with a state folder of its own in `folder`."""
    command = [sys.executable, "-m", "acp_broker.cli.main", "--config", str(write(folder, config)), "stdio"]
    return Command(command, {**ENVIRONMENT, "ACP_BROKER_HOME": str(folder / "state")})


@contextmanager
def way_in(kind: Kind, folder: Path, config: Mapping[str, object]) -> Iterator[Way]:
    """A broker with this config that can be reached in this way; `relay` is stdio with a daemon behind it."""
    if kind == "stdio":
        yield brokered(folder, config)
        return
    frontends = {"relay": {}, "websocket": WEBSOCKET, "browser": {"websocket": {"port": 0, "origins": [PAGE]}}}
    with Daemon(folder, {**config, "frontends": frontends[kind]}) as daemon:
        match kind:
            case "relay":
                yield Command(daemon.command("stdio"), daemon.env)
            case "websocket":
                yield Address(daemon.url, {"Authorization": f"Bearer {daemon.token}"})
            case "browser":
                yield Address(daemon.url, {"Origin": PAGE}, ("acp", f"bearer.{daemon.token}"))
        # A broker within `stdio` would have done as well, but it is not what was asked for.
        assert daemon.log("turn_over") != []
