"""From references in config.json to the secrets that they stand for: in memory, for who is to have them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import CancelScope
from msgspec.structs import replace

from acp_broker.app.references import from_environment, profile_of, shown, takes_secret, wanted_by
from acp_broker.broker.runtime import Leased
from acp_broker.clock import Clock
from acp_broker.config import Config, EnvSecret, GoogleProfile, OAuthProfile, SecretRef, TokenProfile
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, ProfileId
from acp_broker.errors import BackendFailure, Unresolved
from acp_broker.observe.log import Log

if TYPE_CHECKING:
    from acp_broker.app.renewed import RenewedLogins
    from acp_broker.auth.secret_program import Start
    from acp_broker.auth.secrets import Secrets, Source

    # Where it was found, under which name, and what it is.
    _Secret = tuple[Source, str, str]


class Vault:
    """One per broker process; of `environ`, the process's own, programs are given what config says.

    What looks secrets up is loaded when it is needed: most brokers read their keys from variables.
    """

    def __init__(
        self, start: "Start", environ: Mapping[str, str], clock: Clock, most_at_once: int, home: Path, log: Log
    ) -> None:
        # Called when a profile that nobody was logged in to, or whose login was refused, has got another.
        self.on_login: Callable[[ProfileId], None] = _nothing
        self._start = start
        self._environ = environ
        self._clock = clock
        self._most_at_once = most_at_once
        self._home = home
        self._log = log
        # What was refused, and was not found again since.
        self._refused: set[_Secret] = set()
        self._made: Secrets | None = None
        self._made_renewed: RenewedLogins | None = None

    async def resolve(self, config: Config, wanted: SecretRef, environ: Mapping[str, str]) -> str:
        """The secret; a variable is one of this `environ`. Raises Unresolved, which names the reference."""
        try:
            if isinstance(wanted, EnvSecret):
                return from_environment(config, wanted, environ)
            return await self._secrets.resolve(self._source(config, wanted), wanted.id)
        except Unresolved as error:
            raise Unresolved(f"{shown(config, wanted)}: {error}", is_late=error.is_late) from None

    async def lease(self, config: Config, name: BackendId, environ: Mapping[str, str], credential: int) -> Leased:
        """What a backend, or its child, is given, if its profile says one and where; of several, that of this number.

        Raises BackendFailure.
        """
        profile = profile_of(config, name)
        if not takes_secret(config, name):
            return Leased()
        try:
            if isinstance(profile, OAuthProfile | GoogleProfile):
                return await self._renewed.lease(config, name, profile)
            leased = await self._secret(config, wanted_by(config, name)[credential], environ)
            return replace(leased, is_token=isinstance(profile, TokenProfile))
        except Unresolved as error:
            # What is late may be there the next time: the backend rests a little, its login is not in doubt.
            kind = FailureKind.SILENT if error.is_late else FailureKind.AUTH_MISSING
            text = f"profile {config.backends[name].auth} has no credential: {error}"
            raise BackendFailure(Failure(kind, text, seen_at="leasing")) from None

    async def _secret(self, config: Config, wanted: SecretRef, environ: Mapping[str, str]) -> Leased:
        secret = await self.resolve(config, wanted, environ)
        if isinstance(wanted, EnvSecret):
            return Leased(secret)
        found = self._source(config, wanted), wanted.id, secret
        # It is all that there is: it may have been refused by mistake.
        self._refused.discard(found)
        return Leased(
            secret, is_spent=partial(self._refused.__contains__, found), distrust=partial(self._distrust, found)
        )

    def _distrust(self, found: "_Secret") -> bool:
        """All that are open with it open anew: each would be refused, and let the profile rest again."""
        source, name, _ = found
        self._refused.add(found)
        self._secrets.distrust(source, name)
        return True

    def forget(self) -> None:
        """Look everything up anew from now on."""
        if self._made is not None:
            self._made.forget()
        if self._made_renewed is not None:
            self._made_renewed.forget()

    async def close(self) -> None:
        """What is still looked up is ended, or left behind; an answer that is on its way is kept."""
        if self._made_renewed is not None:
            await self._made_renewed.close()
        if self._made is not None:
            await self._made.close()

    @property
    def _renewed(self) -> "RenewedLogins":
        if self._made_renewed is None:
            from acp_broker.app.renewed import RenewedLogins  # noqa: PLC0415

            self._made_renewed = RenewedLogins(
                self._home, self._environ, self._clock, self.resolve, self._log, self.on_login
            )
        return self._made_renewed

    @property
    def _secrets(self) -> "Secrets":
        if self._made is None:
            from acp_broker.auth.secrets import Secrets  # noqa: PLC0415

            self._made = Secrets(self._clock, self._most_at_once)
        return self._made

    def _source(self, config: Config, wanted: SecretRef) -> "Source":
        from acp_broker.app.sources import source  # noqa: PLC0415

        return source(config, wanted, self._start, self._environ)


@asynccontextmanager
async def opened(
    start: "Start", environ: Mapping[str, str], clock: Clock, most_at_once: int, home: Path, log: Log
) -> AsyncIterator[Vault]:
    """A vault, closed on the way out."""
    vault = Vault(start, environ, clock, most_at_once, home, log)
    try:
        yield vault
    finally:
        with CancelScope(shield=True):
            await vault.close()


def _nothing(_: ProfileId) -> None:
    """Nobody wants to know."""
