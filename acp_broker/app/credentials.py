"""What a person does with profiles: log in and out. A module of its own: a broker that runs has no use for it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import anyio.to_thread

from acp_broker.app.references import provider_of
from acp_broker.app.running import running
from acp_broker.app.sources import keyring_of
from acp_broker.app.token_sources import Resolve, client, endpoint
from acp_broker.app.vault import opened
from acp_broker.auth import device, loopback
from acp_broker.auth.aside import aside
from acp_broker.auth.device import Code
from acp_broker.auth.lease import Logins
from acp_broker.auth.loopback import Browser
from acp_broker.auth.oauth import revoke
from acp_broker.auth.secret_keyring import SecretKeyring
from acp_broker.auth.tokens import Stored
from acp_broker.clock import SystemClock
from acp_broker.config import Config, KeyringProvider, KeyringSecret, OAuthProfile, SecretRef, state_dir
from acp_broker.core.names import BackendId, ProfileId
from acp_broker.edge import lookups
from acp_broker.edge.household import Household
from acp_broker.errors import AuthRejected, AuthUnavailable, Unresolved, UsageError

How = Literal["browser", "device"]


def users(config: Config, profile: ProfileId) -> tuple[BackendId, ...]:
    """The backends that a profile is for, in the order of config.json."""
    return tuple(name for name, backend in config.backends.items() if backend.auth == profile)


def ways(profile: OAuthProfile) -> tuple[How, ...]:
    """How a person can log in by a profile."""
    browser: tuple[How, ...] = ("browser",) if profile.authorization_url is not None else ()
    return (*browser, "device") if profile.device_authorization_url is not None else browser


async def log_in(
    config: Config,
    environ: Mapping[str, str],
    name: ProfileId,
    profile: OAuthProfile,
    show: Callable[[str | Code], None],
    how: How,
) -> Stored:
    """The login, kept, once a person has used the address or the code that `show` is called with.

    Raises AuthRejected, AuthUnavailable, UsageError, StoreError.
    """
    clock = SystemClock()
    form = {**profile.parameters, **({"scope": " ".join(profile.scopes)} if profile.scopes else {})}
    async with _resolving(config, environ) as resolve:
        place = endpoint(profile, resolve, clock)
        if how == "device":
            assert profile.device_authorization_url is not None
            tokens = await device.log_in(place, profile.device_authorization_url, form, show)
        else:
            assert profile.authorization_url is not None
            browser = Browser(profile.authorization_url, profile.redirect_url, form)
            tokens = await loopback.log_in(place, browser, show)
    return await anyio.to_thread.run_sync(Logins(state_dir(environ), clock).put, name, tokens)


async def log_out(config: Config, environ: Mapping[str, str], name: ProfileId, profile: OAuthProfile) -> str | None:
    """Nobody is logged in afterwards. What is said of a server that could not be told; None: it was, or has no address.

    Raises UsageError where nobody was logged in, StoreError.
    """
    logins, trouble = Logins(state_dir(environ), SystemClock()), None
    try:
        stored = await anyio.to_thread.run_sync(logins.read, name)
    except Unresolved as error:
        stored, trouble = None, str(error)
    if stored is not None and stored.refused is None and profile.revocation_url is not None:
        try:
            async with _resolving(config, environ) as resolve:
                await revoke(profile.revocation_url, client(profile, resolve), stored.tokens)
        except (AuthRejected, AuthUnavailable) as error:
            trouble = str(error)
    if not await anyio.to_thread.run_sync(logins.remove, name):
        raise UsageError(f"nobody is logged in to {name}")
    return trouble


async def log_agent_out(config: Config, environ: Mapping[str, str], name: ProfileId) -> BackendId:
    """End the login that an agent keeps by itself, by the first backend of the chain that has it.

    Raises UsageError where none is there or it cannot; BackendFailure, RpcError.
    """
    chain = (config.acp.backend, *config.acp.fallbacks)
    backend = next((one for one in chain if config.backends[one].auth == name), None)
    if backend is None:
        raise UsageError(f"no backend of the chain has profile {name}; log out with the agent's own command")
    async with running(config, environ) as broker:
        if not await broker.reception.log_out(backend, environ):
            raise UsageError(f"the agent of {backend} cannot be asked to log out; use its own command")
    return backend


async def keep(config: Config, environ: Mapping[str, str], wanted: KeyringSecret, secret: str) -> Path | None:
    """Keep a secret where a reference finds it: in the keyring, or in the file that is returned.

    Waits for a person who is asked by their keyring. Raises Unresolved, StoreError.
    """
    place = _keyring(config, environ, wanted)
    return None if await aside(partial(place.put, wanted.id, secret), SecretKeyring) else place.store.path


async def forget(config: Config, environ: Mapping[str, str], wanted: KeyringSecret) -> bool:
    """Remove it; False where there was none. As `keep`."""
    return await aside(partial(_keyring(config, environ, wanted).remove, wanted.id), SecretKeyring)


def _keyring(config: Config, environ: Mapping[str, str], wanted: KeyringSecret) -> SecretKeyring:
    provider = provider_of(config, wanted)
    assert isinstance(provider, KeyringProvider)
    return keyring_of(provider, environ)


@asynccontextmanager
async def _resolving(config: Config, environ: Mapping[str, str]) -> AsyncIterator[Resolve]:
    lookups.apart()
    most_at_once, home = config.secrets.resolution.max_provider_concurrency, state_dir(environ)
    async with (
        Household(_unheard) as household,
        opened(household.spawn, environ, SystemClock(), most_at_once, home, _unheard) as vault,
    ):

        async def resolve(wanted: SecretRef) -> str:
            return await vault.resolve(config, wanted, environ)

        yield resolve


def _unheard(event: str, **fields: object) -> None:
    pass
