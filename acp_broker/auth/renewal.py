"""One renewal of a login: claim it, ask the provider outside of any lock, settle; whoever is newer holds.

claim --ours--> ask --answer--> settle --> the newest that anybody has
  |              |                 `- the disk refuses: kept in memory with the claim, and tried again
  |              `- refused: marked so, for all; no answer: released
  `- another's: looked at until it is newer, or may be taken, or the limit is over
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

import anyio
from msgspec import Struct
from msgspec.structs import replace

from acp_broker.auth.aside import aside
from acp_broker.auth.lease import Held, Logins
from acp_broker.auth.private import Locked
from acp_broker.auth.tokens import Stored, TokenSet, TokenSource
from acp_broker.clock import Clock
from acp_broker.core.names import ProfileId
from acp_broker.core.ownership import ASK_S, Kind, Verdict
from acp_broker.errors import AuthRejected, AuthUnavailable, BrokerError, ProfileBusy, StoreError, Unresolved

Log = Callable[..., None]
T = TypeVar("T")
IsGood = Callable[[Stored], bool]
# Only who waits for a claim, or for a provider, can be broken off and lose nothing, or little.
Stage = Literal["claiming", "asking", "settling"]

DOING = "renewing the login"
# How soon it is looked again whether somebody else is done: at first, and at most.
SOON_S, LATE_S = 0.025, 0.1
# A wait that is longer has a line in the log.
TOLD_AFTER_S = 1.0
# How soon a disk that refused is tried again: first, then, and so on.
SAVE_AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0)
# Tokens that nobody ever had.
_NONE = TokenSet(access="", expires_at=0.0)


class Unsaved(Struct, frozen=True):
    """A login that the disk has refused so often, and our claim that keeps others from asking with the old one."""

    held: Held
    login: Stored
    tries: int = 0


class Renewals:
    """One per broker process; at most one renewal of a profile at a time."""

    def __init__(self, logins: Logins, clock: Clock, log: Log, ask_s: float = ASK_S) -> None:
        self.logins = logins
        self.stages: dict[ProfileId, Stage] = {}
        # Whose claim keeps us from asking, as a sentence.
        self.waits_for: dict[ProfileId, str] = {}
        # Nobody else has these.
        self.unsaved: dict[ProfileId, Unsaved] = {}
        # Our claims that nobody asks under any more, and that the disk does not let go.
        self.unreleased: dict[ProfileId, Held] = {}
        # What was made of no login, and by whom: in memory alone, as it can be made again.
        self._made: dict[ProfileId, tuple[TokenSource, Stored]] = {}
        self._clock = clock
        self._log = log
        self._ask_s = ask_s

    async def renew(self, known: Stored, source: TokenSource, is_good: IsGood, wait_s: float) -> Stored:
        """A newer login than the known one, whoever got it.

        Raises ProfileBusy once others have the claim for `wait_s`, AuthRejected, AuthUnavailable, Unresolved.
        Cancelled while it asks, it marks the login as one whose answer may be lost.
        """
        profile = known.profile
        try:
            if not source.needs_login:
                return await self._make(known, source)
            self.stages[profile] = "claiming"
            found = await self._claimed(known, is_good, wait_s)
            return found if isinstance(found, Stored) else await self._asked(found, source)
        finally:
            self.stages.pop(profile, None)
            self.waits_for.pop(profile, None)

    async def save(self, profile: ProfileId) -> Stored:
        """Write what could not be written; what holds then. Raises Unresolved where somebody has logged out.

        While a disk takes its time, a newer login may have come that it refuses too: that stays as it is.
        """
        one = self.unsaved[profile]
        try:
            login = await self._aside(profile, partial(self.logins.settle, one.held, one.login.tokens))
        except (StoreError, Unresolved) as error:
            if self._is_unsaved(one.login):
                self.unsaved[profile] = replace(one, tries=one.tries + 1)
            self._log("login_not_kept", profile=profile, why=str(error), again_in_s=self.mend_again_s(profile))
            return self.unsaved.get(profile, one).login
        if one.tries:
            self._log("login_kept", profile=profile, tries=one.tries)
        if self._is_unsaved(one.login):
            del self.unsaved[profile]
        return _there(login, profile)

    def _is_unsaved(self, login: Stored) -> bool:
        unsaved = self.unsaved.get(login.profile)
        return unsaved is not None and unsaved.login is login

    async def mend(self, profile: ProfileId) -> None:
        """Try again what the disk has refused. As `save`."""
        if profile in self.unsaved:
            await self.save(profile)
        elif (held := self.unreleased.pop(profile, None)) is not None:
            await self._release(held, partial(self.logins.release, held))

    def mend_again_s(self, profile: ProfileId) -> float | None:
        """How soon to `mend`; None where nothing was refused."""
        one = self.unsaved.get(profile)
        if one is not None:
            return SAVE_AGAIN_S[min(max(0, one.tries - 1), len(SAVE_AGAIN_S) - 1)]
        return SAVE_AGAIN_S[-1] if profile in self.unreleased else None

    def made(self, profile: ProfileId, source: TokenSource) -> Stored:
        """What a source that needs no login has made; something that is spent where it has not."""
        by, login = self._made.get(profile, (None, None))
        return login if login is not None and by == source else Stored(profile=profile, generation=0, tokens=_NONE)

    def forget(self) -> None:
        """Make anew what needs no login."""
        self._made.clear()

    async def _make(self, known: Stored, source: TokenSource) -> Stored:
        profile, began = known.profile, self._clock.wall()
        self.stages[profile] = "asking"
        tokens = await self._answer(None if known.tokens is _NONE else known.tokens, source)
        login = Stored(profile=profile, generation=known.generation + 1, tokens=replace(tokens, obtained_at=began))
        self._made[profile] = source, login
        return login

    async def _claimed(self, known: Stored, is_good: IsGood, wait_s: float) -> Held | Stored:
        profile = known.profile
        if profile in self.unsaved:
            login = await self.save(profile)
            if (unsaved := self.unsaved.get(profile)) is not None:
                return replace(unsaved.held, stored=login)

        def is_enough(login: Stored) -> bool:
            return login.generation != known.generation and is_good(login)

        began, pause, was_told = self._clock.now(), SOON_S, False
        while isinstance(found := await self._claim(profile, is_enough), Verdict):
            waited_s = self._clock.now() - began
            self.waits_for[profile] = f"{found.text}; if that is wrong: acp-broker auth unlock {profile}"
            if waited_s >= wait_s:
                self._tell("claim_not_had", profile, found)
                raise ProfileBusy(self.waits_for[profile])
            if waited_s >= TOLD_AFTER_S and not was_told:
                was_told = True
                self._tell("claim_awaited", profile, found)
            await self._clock.sleep(pause)
            pause = min(LATE_S, pause * 1.5)
        if isinstance(found, Held) and found.taken_from is not None:
            self._tell("claim_taken_over", profile, found.taken_from)
        return found if isinstance(found, Held) else unrefused(_there(found, profile))

    async def _claim(self, profile: ProfileId, is_enough: IsGood) -> Held | Stored | Verdict | None:
        try:
            return await self._aside(profile, partial(self.logins.claim, profile, is_enough, DOING))
        except Locked as error:
            raise ProfileBusy(str(error)) from error
        except StoreError as error:
            # Whoever asked now might lose the answer, and with it the login.
            raise AuthUnavailable(f"no newer token is asked for that could not be kept: {error}") from error

    async def _asked(self, held: Held, source: TokenSource) -> Stored:
        profile = held.stored.profile
        self.stages[profile] = "asking"
        self.waits_for.pop(profile, None)
        began = self._clock.wall()
        try:
            tokens = await self._answer(held.stored.tokens, source)
        except AuthRejected as error:
            self.stages[profile] = "settling"
            return await self._refused(held, error)
        except BaseException as error:
            self.stages[profile] = "settling"
            await self._failed(held, error)
            raise
        self.stages[profile] = "settling"
        new = Stored(
            profile=profile,
            generation=held.stored.generation + 1,
            since=held.stored.since,
            # When it was asked for, not when it was told: an answer may have waited for hours in a process that slept.
            tokens=replace(tokens, obtained_at=began),
        )
        self.unsaved[profile] = Unsaved(held, new)
        login = await self.save(profile)
        self._log("login_renewed", profile=profile, expires_at=login.tokens.expires_at)
        return login

    async def _answer(self, tokens: TokenSet | None, source: TokenSource) -> TokenSet:
        with anyio.move_on_after(self._ask_s):
            return await source.refresh(tokens)
        raise AuthUnavailable(f"the provider did not answer within {self._ask_s:g} s", is_unanswered=True)

    async def _refused(self, held: Held, error: AuthRejected) -> Stored:
        """What somebody put in its place meanwhile. Raises AuthRejected where nobody did."""
        if not error.is_final:
            await self._failed(held, error)
            raise error
        profile = held.stored.profile
        why = f"{error}{_story(held)}; log in anew: acp-broker login {profile}"
        self.unsaved.pop(profile, None)
        try:
            login = _there(await self._aside(profile, partial(self.logins.refuse, held, why)), profile)
        except StoreError as fault:
            self._not_released(held, fault)
            raise AuthRejected(why, code=error.code) from error
        if login.refused is not None:
            self._log("login_refused", profile=profile, why=why)
        return unrefused(login)

    async def _failed(self, held: Held, error: BaseException) -> None:
        """Let others try; what may have replaced the login without an answer is kept, to be told."""
        if held.stored.profile in self.unsaved:  # others have only the tokens before these, which are used up
            return
        if isinstance(error, asyncio.CancelledError):
            note: str | None = "the broker was ended before the provider had answered"
        else:
            # What a dead owner may have lost stays lost, though we were not told so.
            note = str(error) if isinstance(error, AuthUnavailable) and error.is_unanswered else _left_by(held)
        act = partial(self.logins.release, held) if note is None else partial(self.logins.unanswered, held, note)
        await self._release(held, act)

    async def _release(self, held: Held, act: Callable[[], object]) -> None:
        try:
            await self._aside(held.stored.profile, act)
        except (StoreError, Unresolved) as fault:
            self._not_released(held, fault)

    def _not_released(self, held: Held, fault: BrokerError) -> None:
        """It is tried again: others would wait for it as long as this process lives."""
        self.unreleased[held.stored.profile] = held
        self._log("claim_not_released", profile=held.stored.profile, why=str(fault))

    async def _aside(self, profile: ProfileId, act: Callable[[], T]) -> T:
        return await aside(act, self.logins.path(profile))

    def _tell(self, event: str, profile: ProfileId, verdict: Verdict) -> None:
        file = self.logins.claim_path(profile)
        # What no wait is sure to settle, a person can.
        fix = None if verdict.is_free else f"acp-broker auth unlock {profile}"
        self._log(event, profile=profile, file=str(file), verdict=verdict.kind.value, owner=verdict.text, fix=fix)


def unrefused(login: Stored) -> Stored:
    """The login. Raises AuthRejected where the provider has refused it."""
    if login.refused is not None:
        raise AuthRejected(login.refused.why)
    return login


def _there(login: Stored | None, profile: ProfileId) -> Stored:
    if login is None:
        raise Unresolved(f"nobody is logged in: acp-broker login {profile}")
    return login


def _story(held: Held) -> str:
    """What may have become of the tokens that were refused."""
    if held.stored.unanswered is not None:
        return f" (an earlier request may have replaced it: {held.stored.unanswered})"
    left = _left_by(held)
    return "" if left is None else f" ({left}; it may have been given another, which went with it)"


def _left_by(held: Held) -> str | None:
    """The owner of a claim that we took over, as a sentence: it may have asked with the same tokens."""
    taken = held.taken_from
    return None if taken is None or taken.kind is Kind.MINE else taken.text
