"""What a Config means: the chain, and for each backend its limits, its environment and how it is opened."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import partial

import msgspec

from acp_broker.app import references
from acp_broker.app.kinds import kind
from acp_broker.app.vault import Vault
from acp_broker.backend_config import BackendConfig, PhaseLimits
from acp_broker.broker.policy import Policy
from acp_broker.broker.runtime import Runtime
from acp_broker.config import Config, EnvSecret, OAuthProfile, child_variable, reference, source_variables
from acp_broker.config import Limits as ConfigLimits
from acp_broker.contract import Spawn
from acp_broker.core.names import BackendId, Candidate
from acp_broker.core.turnrules import Limits
from acp_broker.errors import Problem, UsageError

# Provider kinds answer faster than agents: an agent may read half a repository before its first word.
PROVIDER_FIRST_OUTPUT_S = 60.0
PROVIDER_IDLE_S = 300.0
_AGENT_KINDS = frozenset({"acp", "anthropic-cli", "scripted"})
# What names a credential in an agent's environment.
_CREDENTIAL = re.compile(r"(API_?KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_FILE)?$")


def policy(config: Config, spawn: Spawn, vault: Vault) -> Policy:
    """What the broker is run by. Raises UsageError for a kind that cannot be loaded."""
    limits = _limits(config.limits)
    order = (config.acp.backend, *config.acp.fallbacks)
    return Policy(
        order=order,
        runtimes={name: _runtime(config, name, limits, spawn, vault) for name in order},
        commit_point=config.acp.commit_point,
        notice=config.acp.notice,
        limits=limits,
        queued_prompts=config.limits.queued_prompts,
        session_new_s=config.limits.session_new_ms / 1000,
        learn_s=config.limits.learn_ms / 1000,
        session_busy_s=config.limits.session_busy_ms / 1000,
        unattended_s=config.limits.unattended_ms / 1000,
    )


def missing(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    """What the chain's backends and references need and this machine lacks; nothing is started to find out."""
    for name in (config.acp.backend, *config.acp.fallbacks):
        settings = config.backends[name]
        found = kind(str(settings.__struct_config__.tag)).check(settings, _environment(config, name, environ))
        if found is not None:
            yield Problem(f"backends.{name}", found)
    # A broker that runs has no use for it.
    from acp_broker.app.sources import unresolvable  # noqa: PLC0415

    yield from unresolvable(config, environ)
    tls = config.frontends.websocket.tls if config.frontends.websocket is not None else None
    if tls is not None:
        from acp_broker.edge.tls import server_context  # noqa: PLC0415 - as above

        try:
            server_context(tls.certificate, tls.key)
        except UsageError as error:
            where, _, why = str(error).partition(": ")
            yield Problem(where, why)


def _runtime(config: Config, name: BackendId, limits: Limits, spawn: Spawn, vault: Vault) -> Runtime:
    settings = _allowing(config.backends[name], child_variable(references.profile_of(config, name)))
    tag = str(settings.__struct_config__.tag)
    module = kind(tag)
    return Runtime(
        candidate=Candidate(name, settings.auth, settings.model),
        kind=tag,
        fingerprint=_fingerprint(config, name),
        lease=partial(vault.lease, config, name),
        credentials=max(1, len(references.wanted_by(config, name))),
        environment=partial(_environment, config, name),
        open=partial(module.open, settings),
        check=partial(module.check, settings),
        spawn=spawn,
        limits=_own_limits(limits, settings.limits, is_agent=tag in _AGENT_KINDS),
        known_limits=partial(_known_limits, limits, settings, is_agent=tag in _AGENT_KINDS),
        is_followed=_is_followed(config, name),
        modes=settings.modes,
        asks=None if settings.asks is None else msgspec.json.encode(settings.asks),
        window=settings.window,
        host=settings.host,
        max_message_bytes=config.limits.max_message_bytes,
    )


def _fingerprint(config: Config, name: BackendId) -> str:
    """Another one when a session must open the backend anew: its entry has changed, or its profile's.

    Its limits and modes are ours to follow: its agent knows nothing of them.
    """
    settings, profile = config.backends[name].as_opened, references.profile_of(config, name)
    decides = [settings, profile, *references.fingerprint(config, name)]
    if settings.heeds_its_place:
        decides.append(_is_followed(config, name))
    return hashlib.sha256(msgspec.json.encode(decides, enc_hook=str)).hexdigest()[:16]


def _is_followed(config: Config, name: BackendId) -> bool:
    return name != (config.acp.backend, *config.acp.fallbacks)[-1]


def _environment(
    config: Config, name: BackendId, environ: Mapping[str, str], credential: str | None = None
) -> dict[str, str]:
    """The user's environment, less the credentials that config gives to other backends, plus its profile's."""
    others = {variable for other in config.backends if other != name for variable in _variables(config, other)}
    hidden = (others - _variables(config, name)) | _brokers_own(config)
    found = {key: value for key, value in environ.items() if key not in hidden}
    env: Mapping[str, str] = getattr(config.backends[name], "env", {})
    found.update({variable: value for variable, value in env.items() if _CREDENTIAL.search(variable)})
    variable = child_variable(references.profile_of(config, name))
    if variable is not None and credential is not None:
        found[variable] = credential
    return found


def _allowing(settings: BackendConfig, variable: str | None) -> BackendConfig:
    """With `envPolicy: strict` too an agent is given what its profile is for."""
    allowed = getattr(settings, "env_allow", None)
    if variable is None or not isinstance(allowed, tuple):
        return settings
    return msgspec.structs.replace(settings, env_allow=(*allowed, variable))


def _variables(config: Config, name: BackendId) -> set[str]:
    """The credential variables of one backend's child: nobody else's child is given them."""
    profile, env = references.profile_of(config, name), getattr(config.backends[name], "env", {})
    own = {variable for variable in env if _CREDENTIAL.search(variable)}
    return own | {found for found in (*source_variables(profile), child_variable(profile)) if found is not None}


def _brokers_own(config: Config) -> set[str]:
    """The variables that are between the broker and token servers, or its clients: no child has a use for them.

    With the token of the WebSocket an agent could speak to the broker as the user does.
    """
    oauth = (profile for profile in config.auth.profiles.values() if isinstance(profile, OAuthProfile))
    websocket = config.frontends.websocket
    secrets = [profile.client_secret for profile in oauth] + [websocket.token if websocket is not None else None]
    found = [reference(secret) for secret in secrets if secret is not None]
    return {secret.id for secret in found if isinstance(secret, EnvSecret)}


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
    return _with(limits, own)


def _known_limits(limits: Limits, settings: BackendConfig, *, is_agent: bool) -> Limits:
    """The same; what is known of the agent counts more than `limits` of config.json, and less than its own there."""
    return _with(_with(_own_limits(limits, None, is_agent=is_agent), settings.known_limits()), settings.limits)


def _with(limits: Limits, own: PhaseLimits | None) -> Limits:
    if own is None:
        return limits
    said = {field: getattr(own, f"{field}_ms") for field in _OWN}
    return msgspec.structs.replace(limits, **{field: ms / 1000 for field, ms in said.items() if ms is not None})


_OWN = ("starting", "opening", "first_output", "retrying", "idle", "doubt", "cancelling", "stopping")


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
