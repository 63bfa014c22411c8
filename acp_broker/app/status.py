"""What `acp-broker status` is told by the daemon: its own state, its config's, and its broker's."""

from typing import Literal

from msgspec import Struct

from acp_broker.broker.status import Backend, Client, Process, Session, Turn
from acp_broker.errors import Problem


class _Shape(Struct, frozen=True, rename="camel"):
    pass


class Refused(_Shape, frozen=True):
    """An edit of config.json that cannot be used: the config from before it is still the one that holds."""

    at: float
    problems: tuple[Problem, ...]


class ConfigState(_Shape, frozen=True):
    """Which config.json holds, and since when; `refused` is the latest edit, where that does not.

    `needs_restart` are the paths in it that say something else than at the start, and hold from the next start on.
    """

    file: str
    loaded_at: float
    refused: Refused | None = None
    needs_restart: tuple[str, ...] = ()


class Status(_Shape, frozen=True):
    """Times in seconds since 1970. `websocket` is its address; None where config.json asks for none."""

    version: str
    pid: int
    state: Literal["running", "draining"]
    since: float
    home: str
    socket: str
    websocket: str | None
    config: ConfigState
    backends: tuple[Backend, ...] = ()
    sessions: tuple[Session, ...] = ()
    turns: tuple[Turn, ...] = ()
    clients: tuple[Client, ...] = ()
    processes: tuple[Process, ...] = ()
