"""Kind `acp`: an agent that speaks ACP v1 over stdio, one process per session.

{"kind": "acp", "command": ["claude-agent-acp"], "env": {"NAME": "value"}}
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal

import msgspec

from acp_broker.contract import Backend, BackendConfig, Tools

# What a child gets under `envPolicy: strict`, beside `envAllow`, `env` and its profile: enough to find its files.
STRICT = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER", "XDG_RUNTIME_DIR")


class AcpConfig(BackendConfig, frozen=True, tag="acp", rename="camel", kw_only=True):
    """An ACP agent started as a child process. `command` is an argument list: no shell reads it.

    `envPolicy: strict` starts it with a short list of variables, those named in `envAllow`, and its own.
    """

    command: tuple[str, ...]
    env: dict[str, str] = msgspec.field(default_factory=dict)
    env_policy: Literal["inherit", "strict"] = "inherit"
    env_allow: tuple[str, ...] = ()


config = AcpConfig


def environment(settings: AcpConfig, inherited: Mapping[str, str]) -> dict[str, str]:
    """The child's environment; `inherited` holds no other backend's credentials."""
    names = inherited if settings.env_policy == "inherit" else (*STRICT, *settings.env_allow)
    return {**{name: inherited[name] for name in names if name in inherited}, **settings.env}


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
    from backends.acp.life import living  # noqa: PLC0415

    return living(settings.command, environment(settings, tools.environment), tools)
