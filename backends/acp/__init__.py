"""Kind `acp`: an agent that speaks ACP v1 over stdio, one process per session.

{"kind": "acp", "command": ["claude-agent-acp"], "env": {"NAME": "value"}}

What is known of an agent is its row (`row`, `rows`): read when it is opened.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from acp_broker.contract import Backend, BackendConfig, PhaseLimits, Tools

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


class AcpConfig(BackendConfig, frozen=True, tag="acp", rename="camel", kw_only=True):
    """An ACP agent started as a child process. `command` is an argument list: no shell reads it.

    `envPolicy: strict` starts it with a short list of variables, those named in `envAllow`, and its own.
    `agent` is a known one by name, `none`, or one of the user's own description.
    """

    command: tuple[str, ...]
    agent: (
        Literal[RowName, "none"]
        | Annotated[dict[str, Raw], Meta(extra={"shape": _row}, extra_json_schema={"$ref": "#/$defs/Row"})]
        | None
    ) = None
    env: dict[str, str] = msgspec.field(default_factory=dict)
    env_policy: Literal["inherit", "strict"] = "inherit"
    env_allow: tuple[str, ...] = ()

    def known_limits(self) -> PhaseLimits | None:
        from backends.acp import rows  # noqa: PLC0415 - read when an agent is about to be used

        found = rows.find(self.agent, self.command)
        return found.row.limits if found is not None else None

    @property
    def heeds_its_place(self) -> bool:
        if isinstance(self.agent, dict):
            return not self.agent.keys().isdisjoint(("env", "like"))
        words = self.command if self.agent is None else (self.agent,)
        return any(name in word for word in words for name in _HEEDING)


config = AcpConfig


def environment(
    settings: AcpConfig, inherited: Mapping[str, str], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The child's environment; `inherited` holds no other backend's credentials, `known` what counts least."""
    names = inherited if settings.env_policy == "inherit" else (*STRICT, *settings.env_allow)
    theirs = {name: inherited[name] for name in names if name in inherited}
    return {**(known or {}), **theirs, **settings.env}


def check(settings: AcpConfig, inherited: Mapping[str, str]) -> str | None:
    """Whether the command is there; nothing is started."""
    program = settings.command[0]
    path = environment(settings, inherited).get("PATH", os.defpath)
    if shutil.which(program, path=path) is None:
        return f"{program!r} is not an executable on PATH; install the agent, or write its full path in `command`"
    return None


def open(settings: AcpConfig, tools: Tools) -> AbstractAsyncContextManager[Backend]:  # noqa: A001 - the contract's name
    """Start the agent and open the session in it. Raises BackendFailure; nothing of it is left then."""
    # With the tables by which failures are recognised: `initialize` does not wait for them to be built.
    from backends.acp import rows  # noqa: PLC0415
    from backends.acp.life import living  # noqa: PLC0415

    path = environment(settings, tools.environment).get("PATH")
    found = rows.find(settings.agent, settings.command, path=path)
    row = found.row if found is not None else None
    # An agent that nobody follows keeps its own retries: they are all that its turns have.
    known = row.env if row is not None and tools.is_followed else {}
    return living(settings, row, environment(settings, tools.environment, known), tools)
