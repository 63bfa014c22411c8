"""Tokens for all who want them at a time: one renewal serves them all, each waits for a limit and goes elsewhere.

A token that is still good is given at once; one that is due is renewed behind everybody's back. A renewal is nobody's
to cancel: who waited goes away, and the answer is saved all the same.
"""

import asyncio
from functools import partial

import anyio

from acp_broker.auth.aside import aside
from acp_broker.auth.lease import Logins
from acp_broker.auth.renewal import Log, Renewals, unrefused
from acp_broker.auth.tokens import Stored, TokenSource
from acp_broker.clock import Clock, Timer
from acp_broker.core.freshness import due_at, is_spent
from acp_broker.core.names import ProfileId
from acp_broker.core.ownership import ASK_S
from acp_broker.errors import AuthUnavailable, BrokerError, ProfileBusy, Unresolved

# How soon a renewal that failed is tried again while its token is still good.
RENEW_AGAIN_S = 30.0
# How long an end waits for an answer that is on its way, and then for the disk: without it a login is lost.
LEAVE_S = 2.0
# A token that is refused so soon after it was given is not the reason.
YOUNG_S = 60.0


class Refresher:
    """One per broker process. `spread`, 0 to 1, is its own part of the time in which all of them renew."""

    def __init__(self, logins: Logins, clock: Clock, log: Log, *, spread: float = 0.0, ask_s: float = ASK_S) -> None:
        self._logins = logins
        self._renewals = Renewals(logins, clock, log, ask_s)
        self._clock = clock
        self._log = log
        self._spread = spread
        self._under_way: dict[ProfileId, asyncio.Task[Stored]] = {}
        self._tasks: set[asyncio.Task[Stored] | asyncio.Task[None]] = set()
        self._timers: dict[ProfileId, Timer] = {}
        self._mends: dict[ProfileId, Timer] = {}
        self._is_closed = False
        self._newest: dict[ProfileId, Stored] = {}
        # The access tokens that somebody was refused with.
        self._distrusted: dict[ProfileId, str] = {}
        # Whether anybody has wanted them since they were renewed: what nobody uses is left to end.
        self._used: set[ProfileId] = set()

    async def tokens(self, profile: ProfileId, source: TokenSource, wait_s: float) -> Stored:
        """Tokens that are good now. Raises Unresolved where nobody is logged in, AuthRejected, AuthUnavailable,
        ProfileBusy once it takes longer than `wait_s`."""
        self._used.add(profile)
        login = unrefused(await self._login(profile, source))
        if self._is_good(login):
            self._renew_when_due(login, source, wait_s)
            return login
        task = self._flight(login, source, wait_s)
        # Not a scope around the task: who gives up leaves it to the others.
        await asyncio.wait([task], timeout=wait_s)
        if not task.done():
            ours = f"this process is renewing its login, and no answer has come within {wait_s:g} s"
            raise ProfileBusy(self._renewals.waits_for.get(profile, ours))
        if task.cancelled():
            raise ProfileBusy("the broker is ending")
        return task.result()

    def distrust(self, login: Stored) -> bool:
        """A token was refused: get a newer one the next time. False where that could bring none: it is quite new."""
        if 0 <= self._clock.wall() - login.tokens.obtained_at < YOUNG_S:
            return False
        self._distrusted[login.profile] = login.tokens.access
        return True

    def is_spent(self, login: Stored) -> bool:
        """Whether who was given these tokens must not go on with them."""
        self._used.add(login.profile)
        return not self._is_good(login)

    def is_outdated(self, login: Stored) -> bool:
        """Whether others have been had since."""
        newest = self._newest.get(login.profile, login)
        return newest.tokens.access != login.tokens.access

    def forget(self) -> None:
        """Make anew what needs no login; logins are kept in files, which are read each time."""
        self._renewals.forget()

    async def close(self) -> None:
        """End what is under way; an answer that is on its way has a little time to come, and to be kept."""
        self._is_closed = True
        for timer in (*self._timers.values(), *self._mends.values()):
            timer.cancel()
        self._break_off("claiming")
        await self._left()
        self._break_off("asking")
        await self._left()
        for profile in list(self._renewals.unsaved):
            with anyio.move_on_after(LEAVE_S):
                await self._renewals.save(profile)
            if profile in self._renewals.unsaved:
                self._log("login_lost", profile=profile, fix=f"acp-broker login {profile}")

    async def _left(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_S)

    def _break_off(self, stage: str) -> None:
        for profile, task in self._under_way.items():
            if self._renewals.stages.get(profile, stage) == stage:
                task.cancel()

    async def _login(self, profile: ProfileId, source: TokenSource) -> Stored:
        if not source.needs_login:
            return self._renewals.made(profile, source)
        unsaved = self._renewals.unsaved.get(profile)
        if unsaved is not None:
            return unsaved.login
        login = await aside(partial(self._logins.read, profile), self._logins.path(profile))
        if login is None:
            raise Unresolved(f"nobody is logged in: acp-broker login {profile}")
        return login

    def _is_good(self, login: Stored) -> bool:
        tokens = login.tokens
        is_trusted = self._distrusted.get(login.profile) != tokens.access
        return is_trusted and not is_spent(tokens.obtained_at, tokens.expires_at, self._clock.wall())

    def _flight(self, known: Stored, source: TokenSource, wait_s: float) -> asyncio.Task[Stored]:
        profile = known.profile
        task = self._under_way.get(profile)
        if task is None:
            task = asyncio.create_task(self._renewals.renew(known, source, self._is_good, wait_s))
            self._under_way[profile] = task
            self._tasks.add(task)
            task.add_done_callback(partial(self._landed, known, source, wait_s))
        return task

    def _landed(self, known: Stored, source: TokenSource, wait_s: float, task: asyncio.Task[Stored]) -> None:
        profile = known.profile
        del self._under_way[profile]
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._renew_when_due(task.result(), source, wait_s)
        elif isinstance(error, AuthUnavailable | ProfileBusy):
            asked_s = getattr(error, "retry_after_s", None) or 0.0
            again_s = max(RENEW_AGAIN_S, asked_s) if self._is_good(known) else None
            if isinstance(error, AuthUnavailable):  # whose claim it is was said already
                self._log("login_not_renewed", profile=profile, why=str(error), again_in_s=again_s)
            if again_s is not None:
                self._used.add(profile)
                self._arm(known, source, wait_s, again_s)
        elif not isinstance(error, BrokerError):  # nobody may be left who waits for it
            asyncio.get_running_loop().call_exception_handler({"message": "a renewal failed", "exception": error})
        self._mend_later(profile)

    def _mend_later(self, profile: ProfileId) -> None:
        """A disk that refused a login is tried again until it is kept, and one that keeps a claim until it is gone."""
        again_s = self._renewals.mend_again_s(profile)
        if again_s is None or self._is_closed:
            return

        def mend() -> None:
            self._mends.pop(profile)
            if profile in self._under_way:  # it looks by itself
                return
            task = asyncio.create_task(self._renewals.mend(profile))
            self._tasks.add(task)
            task.add_done_callback(partial(self._mend_tried, profile))

        if profile not in self._mends:
            self._mends[profile] = self._clock.call_at(self._clock.now() + again_s, mend)

    def _mend_tried(self, profile: ProfileId, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()
        self._mend_later(profile)

    def _renew_when_due(self, login: Stored, source: TokenSource, wait_s: float) -> None:
        self._newest[login.profile] = login
        due = due_at(login.tokens.obtained_at, login.tokens.expires_at, self._spread)
        if due is not None:
            self._arm(login, source, wait_s, max(0.0, due - self._clock.wall()))

    def _arm(self, login: Stored, source: TokenSource, wait_s: float, after_s: float) -> None:
        def renew() -> None:
            del self._timers[login.profile]
            if login.profile in self._used:
                self._used.discard(login.profile)
                self._flight(login, source, wait_s)

        if login.profile not in self._timers and not self._is_closed:
            self._timers[login.profile] = self._clock.call_at(self._clock.now() + after_s, renew)
