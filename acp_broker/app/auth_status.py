"""What `acp-broker auth status` tells: each profile, its credentials, and what would keep a turn from using them.

Nothing is renewed, no program is started and no server asked. A keyring is, as a person asks for it: it may want its
password.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import anyio
import anyio.to_thread
from msgspec import Struct
from msgspec.structs import replace

from acp_broker.app.credentials import users
from acp_broker.app.references import from_environment, shown
from acp_broker.app.sources import source
from acp_broker.auth import google_file
from acp_broker.auth.aside import aside
from acp_broker.auth.lease import Logins
from acp_broker.auth.secret_file import SecretFile
from acp_broker.auth.secret_keyring import SET, SecretKeyring
from acp_broker.auth.secret_program import Child, SecretProgram
from acp_broker.auth.secrets import Source
from acp_broker.auth.tokens import Stored
from acp_broker.broker.health_file import HealthFile
from acp_broker.clock import Clock
from acp_broker.config import (
    AgentProfile,
    Config,
    EnvSecret,
    GoogleProfile,
    KeyringSecret,
    OAuthProfile,
    Profile,
    SecretRef,
    secrets_of,
    state_dir,
)
from acp_broker.core import health
from acp_broker.core.freshness import is_spent
from acp_broker.core.names import BackendId, ProfileId
from acp_broker.core.until import left
from acp_broker.errors import Problem, StoreError, Unresolved
from acp_broker.store.files import StateFolder

# `unknown`: it is looked up when it is needed, and nobody asks before.
State = Literal["ok", "missing", "expired", "refused", "unknown"]
_CHECK = "acp-broker check"
_GOOD: tuple[State, ...] = ("ok", "unknown")


class Rest(Struct, frozen=True, rename="camel"):
    """It is tried last until then. `why` is the failure that it rests for."""

    why: str
    left_s: float


class Credential(Struct, frozen=True, rename="camel", kw_only=True):
    """One credential of a profile. `why` says what is wrong with it, `fix` the command for that."""

    source: str
    state: State
    why: str | None = None
    fix: str | None = None
    rest: Rest | None = None


class Owner(Struct, frozen=True, rename="camel"):
    """Who renews a login, and what is made of it; `freeInS` is null for one that is never taken from its owner."""

    verdict: str
    text: str
    free_in_s: float | None


class ProfileStatus(Struct, frozen=True, rename="camel", kw_only=True):
    """One profile. Times are seconds since the epoch, and a login's: the others have none."""

    id: ProfileId
    type: str
    backends: tuple[BackendId, ...]
    credentials: tuple[Credential, ...]
    account: str | None = None
    expires_at: float | None = None
    refreshed_at: float | None = None
    is_renewed: bool | None = None
    owner: Owner | None = None

    @property
    def is_good(self) -> bool:
        """Whether it has a credential that can be tried."""
        return any(one.state in _GOOD for one in self.credentials)


class AuthStatus(Struct, frozen=True, rename="camel"):
    """`ok`: each profile of the chain has a credential that can be tried."""

    config: str
    ok: bool
    profiles: tuple[ProfileStatus, ...]
    warnings: tuple[Problem, ...]


async def auth_status(config: Config, environ: Mapping[str, str], clock: Clock) -> AuthStatus:
    """All of it. Takes as long as a keyring's `timeoutMs` where that hangs. Raises UsageError."""
    looking = _Looking(config, environ, clock)
    profiles = tuple([await looking.at(name, profile) for name, profile in config.auth.profiles.items()])
    chain = {config.backends[name].auth for name in (config.acp.backend, *config.acp.fallbacks)}
    ok = all(one.is_good for one in profiles if one.id in chain)
    return AuthStatus(str(config.source), ok, profiles, tuple(_shared(config, environ)))


class _Looking:
    def __init__(self, config: Config, environ: Mapping[str, str], clock: Clock) -> None:
        self._config = config
        self._environ = environ
        self._clock = clock
        home = state_dir(environ)
        self._logins = Logins(home, clock)
        # Those of accounts hold whatever became of the backends.
        self._health = HealthFile(StateFolder(home), _unheard).read({})

    async def at(self, name: ProfileId, profile: Profile) -> ProfileStatus:
        status = ProfileStatus(
            id=name, type=str(profile.__struct_config__.tag), backends=users(self._config, name), credentials=()
        )
        match profile:
            case OAuthProfile():
                return await anyio.to_thread.run_sync(self._login, status)
            case GoogleProfile():
                found = await anyio.to_thread.run_sync(self._google, profile)
            case AgentProfile():
                text = "its agent's own login"
                found = Credential(source=text, state="unknown", why="its agent says when it is started", fix=_CHECK)
            case _:
                several = [await self._secret(wanted, name) for wanted in secrets_of(profile)]
                rested = tuple(replace(one, rest=self._rest(name, index)) for index, one in enumerate(several))
                return replace(status, credentials=rested)
        return replace(status, credentials=(replace(found, rest=self._rest(name, 0)),))

    def _rest(self, profile: ProfileId, credential: int) -> Rest | None:
        scope, now, wall = health.Profile(profile, credential), self._clock.now(), self._clock.wall()
        record = next((one for one in self._health.records if one.scope == scope), None)
        left_s = left(record.rest, now, wall) if record is not None else 0.0
        return Rest(record.last.value, left_s) if record is not None and left_s > 0 else None

    def _login(self, status: ProfileStatus) -> ProfileStatus:
        name, fix = status.id, f"acp-broker login {status.id}"
        source = f"login in {self._logins.path(name)}"
        try:
            stored, verdict = self._logins.read(name), self._logins.owner(name)
        except (Unresolved, StoreError) as error:
            return replace(status, credentials=(Credential(source=source, state="missing", why=str(error), fix=fix),))
        owner = Owner(verdict.kind.value, verdict.text, verdict.free_in_s) if verdict is not None else None
        state, why = _state(stored, self._clock.wall())
        good = state == "ok"
        found = Credential(source=source, state=state, why=why, fix=None if good else fix, rest=self._rest(name, 0))
        status = replace(status, credentials=(found,), owner=owner)
        if stored is None:
            return status
        return replace(
            status,
            account=stored.tokens.account,
            expires_at=stored.tokens.expires_at,
            refreshed_at=stored.tokens.obtained_at,
            is_renewed=stored.tokens.refresh is not None,
        )

    def _google(self, profile: GoogleProfile) -> Credential:
        path, named_by = google_file.place(profile.credentials_file, self._environ)
        source = f"{path}" + (f", which {named_by} names" if named_by.startswith("$") else "")
        try:
            found = google_file.read(path)
        except Unresolved as error:
            return Credential(source=source, state="missing", why=str(error))
        match found:
            case google_file.ServiceAccount(client_email=account):
                return Credential(source=f"{account} in {source}", state="ok")
            case google_file.AuthorizedUser():
                return Credential(source=f"application default credentials in {source}", state="ok")
            case None if profile.metadata_server and not named_by:
                why = "this machine is asked when it is needed"
                return Credential(source="the metadata server", state="unknown", why=why)
            case None:
                fix = google_file.LOGIN if not named_by else None
                return Credential(source=source, state="missing", why="is not there", fix=fix)

    async def _secret(self, wanted: SecretRef, profile: ProfileId) -> Credential:
        name = shown(self._config, wanted)
        try:
            asks = await self._looked(wanted)
        except Unresolved as error:
            fix = f"acp-broker auth set {profile}" if isinstance(wanted, KeyringSecret) else None
            return Credential(source=name, state="missing", why=str(error).removesuffix(SET), fix=fix)
        if not asks:
            return Credential(source=name, state="ok")
        return Credential(source=name, state="unknown", why="the program is started when it is needed")

    async def _looked(self, wanted: SecretRef) -> bool:
        """Whether there is more to it than could be looked at. Raises Unresolved."""
        if isinstance(wanted, EnvSecret):
            from_environment(self._config, wanted, self._environ)
            return False
        place = source(self._config, wanted, _nothing_is_started, self._environ)
        look = place.distrust if isinstance(place, SecretProgram) else partial(_read, place, wanted.id)
        with anyio.move_on_after(place.limit_s) as limit:
            await aside(look, type(place))
        if limit.cancelled_caught:
            raise Unresolved(f"no answer within {place.limit_s:g} s", is_late=True)
        return isinstance(place, SecretProgram)


def _state(stored: Stored | None, wall: float) -> tuple[State, str | None]:
    """How a login is, and why it is not well."""
    if stored is None:
        return "missing", "nobody has logged in"
    if stored.refused is not None:
        return "refused", stored.refused.why
    tokens = stored.tokens
    if tokens.refresh is None and is_spent(tokens.obtained_at, tokens.expires_at, wall):
        return "expired", "it has ended, and its server gave no refresh token"
    return "ok", None


def _shared(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Fallbacks that have a credential of one before them: what is refused to one is refused to the other."""
    seen: dict[str, BackendId] = {}
    for index, name in enumerate((config.acp.backend, *config.acp.fallbacks), start=-1):
        for credential in _credentials(config, name, environ):
            other = seen.setdefault(credential, name)
            if other != name:
                found = f"{name} has a credential of {other}, {credential}: when it is refused, both are"
                yield Problem(f"acp.fallbacks[{index}]", f"{found}; a fallback needs one of its own")


def _credentials(config: Config, name: BackendId, environ: Mapping[str, str]) -> Iterator[str]:
    auth = config.backends[name].auth
    profile = config.auth.profiles[auth] if auth is not None else None
    match profile:
        case None:
            return
        case OAuthProfile() | AgentProfile():
            yield f"the login of {auth}"
        case GoogleProfile(credentials_file=file):
            yield str(google_file.place(file, environ)[0])
        case _:
            yield from (shown(config, wanted) for wanted in secrets_of(profile))


def _read(place: Source, name: str) -> None:
    match place:
        case SecretFile():
            place.read(name)
        case SecretKeyring():
            place.get(name)


async def _nothing_is_started(*_: object, **__: object) -> Child:
    raise AssertionError("only looked at")


def _unheard(event: str, **fields: object) -> None:
    pass
