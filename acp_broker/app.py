"""The composition root: a Config becomes a running broker. The only module that imports backends."""

import asyncio
import hashlib
import re
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

import msgspec

from acp_broker.broker.broker import Broker
from acp_broker.broker.policy import Policy
from acp_broker.broker.runtime import Runtime
from acp_broker.clock import Clock, SystemClock
from acp_broker.config import (
    ApiKeyProfile,
    Config,
    TokenProfile,
    child_variable,
    source_variable,
    state_dir,
)
from acp_broker.config import Limits as ConfigLimits
from acp_broker.contract import Backend, BackendConfig, PhaseLimits, Spawn, Tools
from acp_broker.core.names import BackendId, Candidate
from acp_broker.core.turnrules import Limits
from acp_broker.edge.household import Household
from acp_broker.errors import Problem, UsageError
from acp_broker.observe.log import Log, to_file, to_stderr
from acp_broker.store.files import StateFolder
from backends import KINDS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

ENTRY_POINTS = "acp_broker.backends"
# Provider kinds answer faster than agents: an agent may read half a repository before its first word.
PROVIDER_FIRST_OUTPUT_S = 60.0
PROVIDER_IDLE_S = 300.0
_AGENT_KINDS = frozenset({"acp", "scripted"})
# What names a credential in an agent's environment.
_CREDENTIAL = re.compile(r"(API_?KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_FILE)?$")


class Kind(Protocol):
    """contract.BackendKind, as a module."""

    config: type[BackendConfig]

    def check(self, config: BackendConfig, environment: Mapping[str, str]) -> str | None: ...

    def open(self, config: BackendConfig, tools: Tools) -> AbstractAsyncContextManager[Backend]: ...


def kind(name: str) -> Kind:
    """The kind's module, imported when first used. Raises UsageError for one that cannot be imported."""
    try:
        if name in KINDS:
            return cast("Kind", import_module(KINDS[name]))
        return cast("Kind", next(point for point in _entry_points() if point.name == name).load())
    except (ImportError, StopIteration, AttributeError) as error:
        raise UsageError(f"backend kind {name!r} cannot be loaded: {error}") from error


class Kinds(Mapping[str, type[BackendConfig]]):
    """Kind name -> the type of its config. Outside packages are looked at only for a kind that we do not know."""

    def __getitem__(self, name: str) -> type[BackendConfig]:
        if name in KINDS or name in _outside():
            return kind(name).config
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*KINDS, *_outside()))

    def __len__(self) -> int:
        return len(KINDS) + len(_outside())


def kinds() -> Mapping[str, type[BackendConfig]]:
    return Kinds()


def policy(config: Config, environ: Mapping[str, str], spawn: Spawn) -> Policy:
    """What the broker is run by. Raises UsageError for a kind that cannot be loaded."""
    limits = _limits(config.limits)
    order = (config.acp.backend, *config.acp.fallbacks)
    return Policy(
        order=order,
        runtimes={name: _runtime(config, name, environ, limits, spawn) for name in order},
        commit_point=config.acp.commit_point,
        notice=config.acp.notice,
        limits=limits,
        queued_prompts=config.limits.queued_prompts,
        session_new_s=config.limits.session_new_ms / 1000,
        learn_s=config.limits.learn_ms / 1000,
    )


@asynccontextmanager
async def running(
    config: Config, environ: Mapping[str, str], *, log_to_stderr: bool = False, clock: Clock | None = None
) -> AsyncIterator[Broker]:
    """A broker of this config, in this process; ended, with all its agents, on the way out. Raises StoreError."""
    clock = clock or SystemClock()
    home = state_dir(environ)
    path, level = config.log.file or home / "log" / "broker.jsonl", config.log.level
    log = to_stderr(clock, level) if log_to_stderr else to_file(clock, path, level)
    for warning in config.warnings:
        log("config_warning", path=warning.path, why=warning.finding)
    _log_loop_faults(log)
    async with Household(log) as household:
        spawn = partial(household.spawn, max_line_bytes=config.limits.max_message_bytes)
        broker = Broker(policy(config, environ, spawn), StateFolder(home), clock, log)
        async with broker:
            broker.tasks.start_soon(household.sweep)
            yield broker


def _log_loop_faults(log: Log) -> None:
    """What raises in a callback of the event loop has no caller to tell: it goes to the log, not to a lost stderr."""

    def fault(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        trace = traceback.format_exception(error) if isinstance(error, BaseException) else []
        log("loop_fault", message=str(context.get("message")), error=repr(error), traceback="".join(trace))

    asyncio.get_running_loop().set_exception_handler(fault)


def missing(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    """What the chain's backends need and this machine lacks; nothing is started to find out."""
    for name in (config.acp.backend, *config.acp.fallbacks):
        settings = config.backends[name]
        found = kind(str(settings.__struct_config__.tag)).check(settings, _environment(config, name, environ))
        if found is not None:
            yield Problem(f"backends.{name}", found)


def _runtime(config: Config, name: BackendId, environ: Mapping[str, str], limits: Limits, spawn: Spawn) -> Runtime:
    settings = config.backends[name]
    tag = str(settings.__struct_config__.tag)
    module = kind(tag)
    environment = _environment(config, name, environ)
    return Runtime(
        candidate=Candidate(name, settings.auth, settings.model),
        kind=tag,
        fingerprint=hashlib.sha256(msgspec.json.encode(settings)).hexdigest()[:16],
        environment=environment,
        open=partial(module.open, settings),
        check=partial(module.check, settings, environment),
        spawn=spawn,
        limits=_own_limits(limits, settings.limits, is_agent=tag in _AGENT_KINDS),
        modes=settings.modes,
    )


def _environment(config: Config, name: BackendId, environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, less the credentials that config gives to other backends, plus its profile's."""
    own = _credentials(config, name, environ)
    mine = {*own, *_sources(config, name)}
    others = {
        variable
        for other in config.backends
        if other != name
        for variable in (*_credentials(config, other, environ), *_sources(config, other))
    }
    return {**{key: value for key, value in environ.items() if key not in others - mine}, **own}


def _credentials(config: Config, name: BackendId, environ: Mapping[str, str]) -> dict[str, str]:
    """The credential variables of one backend's child: from its profile, and those among its own `env`."""
    settings = config.backends[name]
    env: Mapping[str, str] = getattr(settings, "env", {})
    found = {variable: value for variable, value in env.items() if _CREDENTIAL.search(variable)}
    profile = config.auth.profiles.get(settings.auth) if settings.auth is not None else None
    if isinstance(profile, ApiKeyProfile | TokenProfile):
        variable = child_variable(profile)
        for source in _sources(config, name):
            if variable is not None and source in environ:
                found[variable] = environ[source]
    return found


def _sources(config: Config, name: BackendId) -> tuple[str, ...]:
    """The user's variables that a backend's profile is read from: nobody else's child is given them."""
    profile = config.backends[name].auth
    variable = source_variable(config.auth.profiles[profile]) if profile is not None else None
    return () if variable is None else (variable,)


def _limits(limits: ConfigLimits) -> Limits:
    return Limits(
        leasing=limits.leasing_ms / 1000,
        starting=limits.starting_ms / 1000,
        opening=limits.opening_ms / 1000,
        first_output=limits.first_output_ms / 1000,
        retrying=limits.retrying_ms / 1000,
        idle=_seconds(limits.idle_ms),
        doubt=limits.doubt_ms / 1000,
        cancelling=limits.cancelling_ms / 1000,
        stopping=limits.stopping_ms / 1000,
        chain=_seconds(limits.chain_ms),
        reserve=limits.reserve_ms / 1000,
    )


def _own_limits(limits: Limits, own: PhaseLimits | None, *, is_agent: bool) -> Limits:
    if not is_agent:
        first, idle = limits.first_output, limits.idle
        limits = msgspec.structs.replace(
            limits,
            first_output=PROVIDER_FIRST_OUTPUT_S if first is None else min(first, PROVIDER_FIRST_OUTPUT_S),
            idle=PROVIDER_IDLE_S if idle is None else idle,
        )
    if own is None:
        return limits
    said = {field: getattr(own, f"{field}_ms", None) for field in _OWN}
    return msgspec.structs.replace(limits, **{field: ms / 1000 for field, ms in said.items() if ms is not None})


_OWN = ("starting", "opening", "first_output", "idle", "cancelling", "stopping")


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _outside() -> tuple[str, ...]:
    return tuple(point.name for point in _entry_points() if point.name not in KINDS)


def _entry_points() -> "EntryPoints":
    # A fifth of our start-up, for those alone who use it.
    from importlib.metadata import entry_points  # noqa: PLC0415

    return entry_points(group=ENTRY_POINTS)
