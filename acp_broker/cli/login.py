"""`acp-broker login`: a person logs in by a profile, or an agent's own login is run in this terminal.

ACP v1, authentication, "Terminal Authentication": a client runs the agent's command line with the method's arguments.
To a client we are the agent, so our command line leads here, and from here to the agent.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec
from msgspec import Raw, Struct

from acp_broker.app import kinds, running
from acp_broker.config import Config, OAuthProfile, load
from acp_broker.core.names import BackendId, ProfileId
from acp_broker.errors import BrokerError, UsageError

if TYPE_CHECKING:
    from acp_broker.app.credentials import How


class _Variable(Struct):
    name: str
    value: str = ""


class _Method(Struct):
    id: str
    type: str = ""
    args: list[str] = []
    env: dict[str, str] | list[_Variable] = {}


def run(path: Path | None, environ: Mapping[str, str], name: str, method: str | None, how: "How | None" = None) -> int:
    """0 once a person has logged in by the profile of that name; `how` is how, None: as it fits.

    For a backend this process is replaced by the agent's login: returns only when that cannot be done, or no method is
    named: 1.
    """
    try:
        config = load(kinds(), path=path, environ=environ)
        if _is_profile(config, name, method, how):
            # Here alone: an agent's login needs none of it.
            from acp_broker.cli import profile_login  # noqa: PLC0415

            profile_login.log_in(config, environ, ProfileId(name), how)
            return 0
        command, extra, environment = anyio.run(_find, config, environ, BackendId(name), method)
        print(f"acp-broker: {name} is a backend; this is its agent's own login", file=sys.stderr, flush=True)
        os.execvpe(command[0], [*command, *extra], environment)  # noqa: S606 - what config.json names
    except (BrokerError, OSError) as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1


def _is_profile(config: Config, name: str, method: str | None, how: "How | None") -> bool:
    """Raises UsageError where nobody could say."""
    is_profile, is_backend = name in config.auth.profiles, name in config.backends
    if how is not None and not is_profile:
        raise UsageError(f"--{how} is for profiles; no profile is called {name!r} in {config.source}")
    if is_profile and is_backend and method is None and how is None:
        found = f"{name!r} is a backend and a profile of {config.source}"
        raise UsageError(f"{found}: name a METHOD for its agent's own login, or say --browser or --device")
    return is_profile and method is None


async def _find(
    config: Config, environ: Mapping[str, str], backend: BackendId, method: str | None
) -> tuple[list[str], list[str], dict[str, str]]:
    settings = config.backends.get(backend)
    command = getattr(settings, "command", None)
    if settings is None or not command:
        known = ", ".join(name for name, one in config.backends.items() if hasattr(one, "command"))
        profiles = ", ".join(name for name, one in config.auth.profiles.items() if isinstance(one, OAuthProfile))
        others = f"; profiles: {profiles}" if profiles else ""
        raise UsageError(f"no agent is called {backend!r} in {config.source}; known: {known}{others}")
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
                own = runtime.environment(environ, (await runtime.lease(environ, 0)).secret)
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
