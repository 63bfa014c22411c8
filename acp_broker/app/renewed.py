"""Logins that the broker renews, as credentials of backends. A module of its own: most brokers have none."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from acp_broker.app.token_sources import token_source
from acp_broker.auth.aside import aside
from acp_broker.auth.lease import Logins
from acp_broker.auth.refresh import Refresher
from acp_broker.auth.tokens import TokenSource
from acp_broker.broker.runtime import Leased
from acp_broker.clock import Clock
from acp_broker.config import Config, GoogleProfile, OAuthProfile, SecretRef
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, ProfileId
from acp_broker.errors import AuthRejected, AuthUnavailable, BackendFailure, ProfileBusy, Unresolved
from acp_broker.observe.log import Log

Resolve = Callable[[Config, SecretRef, Mapping[str, str]], Awaitable[str]]
OnLogin = Callable[[ProfileId], None]

# Of the limit for a credential: who waits says what for, before the turn says only that it took too long.
_WAIT_SHARE = 0.9
# How soon it is noticed that somebody has logged in, in another process.
LOOK_EVERY_S = 1.0


class RenewedLogins:
    """One per broker process. `on_login` is called when a profile that had no use has got a login."""

    def __init__(
        self,
        home: Path,
        environ: Mapping[str, str],
        clock: Clock,
        resolve: Resolve,
        log: Log,
        on_login: OnLogin,
    ) -> None:
        self._environ = environ
        self._clock = clock
        self._resolve = resolve
        self._on_login = on_login
        self._logins = Logins(home, clock)
        self._refresher = Refresher(self._logins, clock, log, spread=os.getpid() % 97 / 97)
        self._watched: dict[ProfileId, asyncio.Task[None]] = {}

    def forget(self) -> None:
        """Make anew what needs no login: what it is made of may be another by now."""
        self._refresher.forget()

    async def close(self) -> None:
        """An answer that is on its way is kept."""
        for task in self._watched.values():
            task.cancel()
        await self._refresher.close()

    async def lease(self, config: Config, name: BackendId, profile: OAuthProfile | GoogleProfile) -> Leased:
        """An access token that is good now. Raises BackendFailure, Unresolved."""
        called = config.backends[name].auth
        assert called is not None

        async def resolve(wanted: SecretRef) -> str:
            return await self._resolve(config, wanted, self._environ)

        source = token_source(profile, resolve, self._environ, self._clock)
        try:
            return await self._leased(called, source, config.limits.leasing_ms / 1000 * _WAIT_SHARE)
        except Unresolved:
            self._watch(called)
            raise
        except AuthRejected as error:
            if error.is_final:
                self._watch(called)
            raise _failed(called, FailureKind.AUTH_REJECTED, error, code=error.code) from None
        except AuthUnavailable as error:
            raise _failed(called, FailureKind.UNREACHABLE, error, retry_after_s=error.retry_after_s) from None
        except ProfileBusy as error:
            raise _failed(called, FailureKind.PROFILE_BUSY, error) from None

    async def _leased(self, called: ProfileId, source: TokenSource, wait_s: float) -> Leased:
        login = await self._refresher.tokens(called, source, wait_s)
        return Leased(
            login.tokens.access,
            is_token=True,
            is_spent=partial(self._refresher.is_spent, login),
            is_outdated=partial(self._refresher.is_outdated, login),
            distrust=partial(self._refresher.distrust, login),
            projects=login.tokens.projects,
        )

    def _watch(self, profile: ProfileId) -> None:
        if profile not in self._watched:
            self._watched[profile] = task = asyncio.create_task(self._wait_for_login(profile))
            task.add_done_callback(lambda _: self._watched.pop(profile))

    async def _wait_for_login(self, profile: ProfileId) -> None:
        while not await self._is_there(profile):
            await self._clock.sleep(LOOK_EVERY_S)
        self._on_login(profile)

    async def _is_there(self, profile: ProfileId) -> bool:
        """Whether there is a login that nobody has refused."""
        try:
            login = await aside(partial(self._logins.read, profile), self._logins.path(profile))
        except Unresolved:
            return False
        return login is not None and login.refused is None


def _failed(
    profile: ProfileId,
    kind: FailureKind,
    error: Exception,
    *,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> BackendFailure:
    text = f"profile {profile}: {error}"
    return BackendFailure(Failure(kind, text, code, retry_after_s, seen_at="leasing"))
