"""The shape of config.json: what may be written in it, its ranges and defaults. docs/config.md explains every key."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from acp_broker.backend_config import BackendConfig, Milliseconds
from acp_broker.config.credentials import Auth, Secret, Secrets
from acp_broker.core.names import BackendId, CommitPoint
from acp_broker.errors import Problem

Notice = Literal["off", "meta", "message"]
LogLevel = Literal["debug", "info", "warning", "error"]


class _Shape(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class Acp(_Shape, frozen=True):
    """Which backend answers, and which ones stand in for it, in order."""

    backend: BackendId
    fallbacks: tuple[BackendId, ...] = ()
    commit_point: Annotated[CommitPoint, Meta(description="After which no other backend may be tried.")] = (
        "first_output"
    )
    notice: Annotated[Notice, Meta(description="How a frontend is told of a failover.")] = "meta"


class Limits(_Shape, frozen=True):
    """How long and how much. Times in milliseconds; null turns a limit off where it is allowed."""

    leasing_ms: Annotated[Milliseconds, Meta(description="To get the credential.")] = 10_000
    starting_ms: Annotated[Milliseconds, Meta(description="To start and initialize.")] = 60_000
    opening_ms: Annotated[Milliseconds, Meta(description="To open, load or resume the session.")] = 30_000
    first_output_ms: Annotated[Milliseconds, Meta(description="From the prompt to the first output.")] = 120_000
    retrying_ms: Annotated[Milliseconds, Meta(description="The same, once the agent says it retries.")] = 2_000
    idle_ms: Annotated[Milliseconds | None, Meta(description="Of silence after the first output.")] = None
    doubt_ms: Annotated[Milliseconds, Meta(description="A first chunk that looks like a failure is held.")] = 1_000
    cancelling_ms: Annotated[Milliseconds, Meta(description="For a cancelled backend to end its turn.")] = 5_000
    stopping_ms: Annotated[Milliseconds, Meta(description="From asking a backend to stop to killing it.")] = 500
    chain_ms: Annotated[Milliseconds | None, Meta(description="For all attempts of a turn, to first output.")] = 240_000
    reserve_ms: Annotated[Milliseconds, Meta(description="Of chainMs, kept for each later backend.")] = 20_000
    session_new_ms: Annotated[Milliseconds, Meta(description="session/new waits for the primary.")] = 3_000
    learn_ms: Annotated[Milliseconds, Meta(description="initialize waits for an unknown primary.")] = 2_000
    max_message_bytes: Annotated[int, Meta(ge=65_536, le=1_073_741_824, description="Of one message.")] = 33_554_432
    queued_prompts: Annotated[int, Meta(ge=0, le=1_000, description="That wait per session.")] = 16
    session_busy_ms: Annotated[Milliseconds, Meta(description="For another process's turn in a session.")] = 60_000
    drain_ms: Annotated[Milliseconds, Meta(description="For turns to end once serve is told to stop.")] = 30_000
    unattended_ms: Annotated[Milliseconds, Meta(description="An agent's question waits for a lost frontend.")] = 60_000
    stalled_ms: Annotated[Milliseconds, Meta(description="After which a client that takes nothing is cut off.")] = (
        30_000
    )
    connections: Annotated[int, Meta(ge=1, le=100_000, description="Clients of serve at once.")] = 256
    sessions_per_client: Annotated[int, Meta(ge=1, le=100_000, description="That one connection may open.")] = 1_000
    queued_bytes: Annotated[int, Meta(ge=65_536, le=1_073_741_824, description="Untaken, then not listened to.")] = (
        8_388_608
    )
    messages_per_second: Annotated[int, Meta(ge=1, le=1_000_000, description="Of one client; more must wait.")] = 2_000


class Tls(_Shape, frozen=True):
    """A certificate chain and its private key, both PEM files."""

    certificate: Path
    key: Path


class WebSocket(_Shape, frozen=True):
    """The WebSocket frontend. On any address but loopback it needs `tls`; a token it needs everywhere."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8765
    token: Secret | None = None
    tls: Tls | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A token is always asked for: ours, where none is configured.
        if not _is_loopback(self.host) and self.tls is None:
            raise ValueError('other machines can reach this host; set "tls", or write "127.0.0.1"')


class Unix(_Shape, frozen=True):
    """The unix socket, by which `acp-broker stdio` reaches `acp-broker serve`. It is always there."""

    environment: Annotated[
        tuple[str, ...],
        Meta(description="Which of an editor's variables its agents are started with; * stands for anything."),
    ] = ("*",)


class Frontends(_Shape, frozen=True):
    """Ways in, besides stdio."""

    unix: Unix = Unix()
    websocket: WebSocket | None = None


Days = Annotated[float, Meta(ge=0, le=36_500)]
Bytes = Annotated[int, Meta(ge=0, le=2**53)]


class Sessions(_Shape, frozen=True):
    """How long conversations are kept on the disk; null: until somebody deletes them."""

    keep_days: Annotated[Days | None, Meta(description="After the last word.")] = None
    keep_bytes: Annotated[Bytes | None, Meta(description="Of all together; the oldest go.")] = None


class Log(_Shape, frozen=True):
    """The broker's own log: JSON lines."""

    level: LogLevel = "info"
    file: Path | None = None


BackendKey = Annotated[
    BackendId,
    Meta(
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        extra={"expected": "an id of letters, digits and ._- (64 at most)"},
    ),
]


class Document(_Shape, frozen=True, kw_only=True):
    """Configuration of ACP Broker."""

    schema: str | None = field(default=None, name="$schema")
    acp: Acp
    backends: dict[BackendKey, BackendConfig]
    auth: Auth = Auth()
    secrets: Secrets = Secrets()
    frontends: Frontends = Frontends()
    limits: Limits = Limits()
    sessions: Sessions = Sessions()
    log: Log = Log()


class Config(Struct, frozen=True, kw_only=True):
    """A config.json that holds together: every name resolves, paths are absolute, the chain has no repetitions.

    `warnings` are worth telling and stop nothing.
    """

    source: Path
    acp: Acp
    backends: dict[BackendId, BackendConfig]
    auth: Auth
    secrets: Secrets
    frontends: Frontends
    limits: Limits
    sessions: Sessions
    log: Log
    warnings: tuple[Problem, ...] = ()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
