"""Kind `acp`: an agent that speaks ACP v1, one process per session over stdio, or one connection over WebSocket.

{"kind": "acp", "command": ["claude-agent-acp"], "env": {"NAME": "value"}}
{"kind": "acp", "url": "wss://build-box:8765/acp", "auth": "box", "cwd": "/srv/work"}

What is known of an agent is its row (`row`, `rows`): read when it is opened.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Raw
from msgspec.structs import replace

from acp_broker.backend_config import BackendConfig, Milliseconds, PhaseLimits
from acp_broker.contract import Backend, Tools

# What a child gets under `envPolicy: strict`, beside `envAllow`, `env` and its profile: enough to find its files.
STRICT = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER", "XDG_RUNTIME_DIR")


# The rows of rows.json. Written out, so that config.json is checked, and completed by editors, without reading them.
RowName = Literal[
    "auggie",
    "claude",
    "cline",
    "codex",
    "codex-zed",
    "deepagents",
    "gemini",
    "goose",
    "opencode",
    "openhands",
    "pi",
    "qoder",
    "qwen",
    "vibe",
]
# What the names of those rows' agents contain that have an `env`: told without reading the rows. One too many costs
# an agent that is opened anew when the chain is edited.
_HEEDING = ("claude", "goose")


def _row() -> type:
    from backends.acp.row import Row  # noqa: PLC0415 - for those alone who write one

    return Row


class AcpLimits(PhaseLimits, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """`connectMs` is for one connection to `url`, `reconnectMs` to find a broker again that was lost in a turn."""

    connect_ms: Milliseconds | None = None
    reconnect_ms: Milliseconds | None = None


class AcpConfig(BackendConfig, frozen=True, tag="acp", rename="camel", kw_only=True):
    """An ACP agent: started as a child process by `command`, an argument list that no shell reads, or reached at `url`.

    `envPolicy: strict` starts it with a short list of variables, those named in `envAllow`, and its own.
    `agent` is a known one by name, `none`, or one of the user's own description.
    `cwd` is the folder where an agent at `url` works, in place of the session's own.
    """

    one_of: ClassVar[tuple[str, ...]] = ("command", "url")

    command: tuple[str, ...] | None = None
    url: str | None = None
    cwd: str | None = None
    limits: AcpLimits | None = None
    agent: (
        Literal[RowName, "none"]
        | Annotated[dict[str, Raw], Meta(extra={"shape": _row}, extra_json_schema={"$ref": "#/$defs/Row"})]
        | None
    ) = None
    env: dict[str, str] = msgspec.field(default_factory=dict)
    env_policy: Literal["inherit", "strict"] = "inherit"
    env_allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.command is None) == (self.url is None):
            raise ValueError('expected either "command", which starts an agent, or "url", where one is reached')
        if self.url is None:
            if self.cwd is not None:
                raise ValueError('"cwd" is for an agent at a "url": one that is started works in the session\'s folder')
            return
        if self.env or self.env_policy != "inherit":
            raise ValueError('"env" and "envPolicy" are for an agent that is started by "command"')
        _check_url(self.url, has_token=self.auth is not None)
        if self.cwd is not None and not self.cwd.startswith("/"):
            raise ValueError(f'"cwd" is a folder of the other machine, such as "/srv/work", got {self.cwd!r}')

    def known_limits(self) -> PhaseLimits | None:
        from backends.acp import rows  # noqa: PLC0415 - read when an agent is about to be used

        found = rows.find(self.agent, self.command or ())
        return found.row.limits if found is not None else None

    @property
    def provider(self) -> str | None:
        return f"wss://{urlsplit(self.url).netloc}" if self.url is not None else None

    @property
    def asks(self) -> BackendConfig | None:
        """Of one elsewhere: where, as whom, and in which folder."""
        return replace(self, limits=None, modes={}, model=None) if self.url is not None else None

    @property
    def takes_credential(self) -> bool:
        return self.url is not None

    @property
    def as_opened(self) -> BackendConfig:
        """The limits of its connection are read when it is opened."""
        own = self.limits
        kept = AcpLimits(connect_ms=own.connect_ms, reconnect_ms=own.reconnect_ms) if own and self.url else None
        return replace(self, limits=kept, modes={})

    @property
    def heeds_its_place(self) -> bool:
        if self.command is None:
            return True
        if isinstance(self.agent, dict):
            return not self.agent.keys().isdisjoint(("env", "like"))
        words = self.command if self.agent is None else (self.agent,)
        return any(name in word for word in words for name in _HEEDING)


config = AcpConfig

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def _check_url(url: str, *, has_token: bool) -> None:
    """Raises ValueError for an address that is none, holds a secret, or would send one in the clear."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None or parts.query:
        raise ValueError('an address with a secret in it: keep the token in a profile, and name it in "auth"')
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.fragment or parts.port == 0:
        raise ValueError(f"expected an address such as wss://host:8765/acp, got {url!r}")
    if has_token and parts.scheme == "ws" and parts.hostname not in _LOOPBACK:
        raise ValueError(f'{url!r} would send the token in the clear; write "wss://", or reach it through a tunnel')


def environment(
    settings: AcpConfig, inherited: Mapping[str, str], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The child's environment; `inherited` holds no other backend's credentials, `known` what counts least."""
    names = inherited if settings.env_policy == "inherit" else (*STRICT, *settings.env_allow)
    theirs = {name: inherited[name] for name in names if name in inherited}
    return {**(known or {}), **theirs, **settings.env}


def check(settings: AcpConfig, inherited: Mapping[str, str]) -> str | None:
    """Whether the command is there; nothing is started, and nobody is connected to."""
    if settings.command is None:
        return None
    program = settings.command[0]
    path = environment(settings, inherited).get("PATH", os.defpath)
    if shutil.which(program, path=path) is None:
        return f"{program!r} is not an executable on PATH; install the agent, or write its full path in `command`"
    return None


def open(settings: AcpConfig, tools: Tools) -> AbstractAsyncContextManager[Backend]:  # noqa: A001 - the contract's name
    """Start or reach the agent and open the session in it. Raises BackendFailure; nothing of it is left then."""
    if settings.command is None:
        from backends.acp.remote import reached  # noqa: PLC0415

        return reached(settings, tools)
    # With the tables by which failures are recognised: `initialize` does not wait for them to be built.
    from backends.acp import rows  # noqa: PLC0415
    from backends.acp.local import started  # noqa: PLC0415

    path = environment(settings, tools.environment).get("PATH")
    found = rows.find(settings.agent, settings.command, path=path)
    row = found.row if found is not None else None
    # An agent that nobody follows keeps its own retries: they are all that its turns have.
    known = row.env if row is not None and tools.is_followed else {}
    return started(settings, row, environment(settings, tools.environment, known), tools)
