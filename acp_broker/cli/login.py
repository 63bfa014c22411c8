"""`acp-broker login BACKEND METHOD`: run an agent's own login in this terminal.

ACP v1, authentication, "Terminal Authentication": a client runs the agent's command line with the method's arguments.
To a client we are the agent, so our command line leads here, and from here to the agent.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import msgspec
from msgspec import Raw, Struct

from acp_broker.app import kinds, running
from acp_broker.config import Config, load
from acp_broker.core.names import BackendId
from acp_broker.errors import BrokerError, UsageError


class _Variable(Struct):
    name: str
    value: str = ""


class _Method(Struct):
    id: str
    type: str = ""
    args: list[str] = []
    env: dict[str, str] | list[_Variable] = {}


def run(path: Path | None, environ: Mapping[str, str], backend: str, method: str | None) -> int:
    """Replace this process by the agent's login; returns only when that cannot be done, or no method is named: 1."""
    try:
        config = load(kinds(), path=path, environ=environ)
        command, extra, environment = anyio.run(_find, config, environ, BackendId(backend), method)
        os.execvpe(command[0], [*command, *extra], environment)  # noqa: S606 - what config.json names
    except (BrokerError, OSError) as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1


async def _find(
    config: Config, environ: Mapping[str, str], backend: BackendId, method: str | None
) -> tuple[list[str], list[str], dict[str, str]]:
    settings = config.backends.get(backend)
    command = getattr(settings, "command", None)
    if settings is None or not command:
        known = ", ".join(name for name, one in config.backends.items() if hasattr(one, "command"))
        raise UsageError(f"no agent is called {backend!r} in {config.source}; known: {known}")
    async with running(config, environ) as broker:
        runtime = broker.policy.runtimes.get(backend)
        if runtime is None:
            raise UsageError(f"{backend} is neither acp.backend nor in acp.fallbacks of {config.source}")
        offered: list[str] = []
        for raw in await broker.reception.auth_methods(backend, environ):
            found = _read(raw)
            offered += [found.id] if found is not None else []
            if found is not None and found.id == method:
                env = found.env if isinstance(found.env, dict) else {one.name: one.value for one in found.env}
                configured: Mapping[str, str] = getattr(settings, "env", {})
                own = runtime.environment(environ, (await runtime.lease(environ)).secret)
                return list(command), found.args, {**own, **configured, **env}
    if not offered:
        raise UsageError(f"{backend} offers no terminal login; log in with the agent's own command")
    known = ", ".join(offered)
    if method is None:
        raise UsageError(f"name the login too: acp-broker login {backend} METHOD; it offers: {known}")
    raise UsageError(f"{backend} has no terminal login called {method!r}; it offers: {known}")


def _read(raw: Raw) -> _Method | None:
    try:
        method = msgspec.json.decode(raw, type=_Method)
    except msgspec.DecodeError:
        return None
    return method if method.type == "terminal" else None
