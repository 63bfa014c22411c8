"""Tokens for all who want them in one process: what is asked of the provider, what is kept, and who waits how long."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from msgspec.structs import replace

from acp_broker.auth import aside, private
from acp_broker.auth.lease import Held, Logins
from acp_broker.auth.refresh import YOUNG_S, Refresher
from acp_broker.auth.renewal import SAVE_AGAIN_S
from acp_broker.auth.tokens import Stored, TokenSet
from acp_broker.core.names import ProfileId
from acp_broker.core.ownership import Kind, written
from acp_broker.errors import AuthRejected, AuthUnavailable, ProfileBusy, StoreError, Unresolved
from tests.support.clock import FakeClock, settled
from tests.support.disk import Disk

pytestmark = pytest.mark.anyio

WORK = ProfileId("work")
LIFE_S = 1000.0
# Long enough for any machine where nothing hangs; short where something does.
LONG_S, SHORT_S = 20.0, 0.05


class Source:
    """A provider whose answers a test gives; each token set has a number, beginning with 1."""

    def __init__(self, clock: FakeClock, *, needs_login: bool = True) -> None:
        self.needs_login = needs_login
        self.asked: list[str | None] = []
        self.errors: list[Exception] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._clock = clock

    async def refresh(self, tokens: TokenSet | None) -> TokenSet:
        self.asked.append(None if tokens is None else tokens.refresh)
        await self.may_answer.wait()
        if self.errors:
            raise self.errors.pop(0)
        number, now = len(self.asked), self._clock.wall()
        return TokenSet(access=f"a{number}", refresh=f"r{number}", obtained_at=now, expires_at=now + LIFE_S)


class Room:
    """A refresher, its provider, its log, and the files that it shares with everybody."""

    def __init__(self, home: Path, *, needs_login: bool = True, ask_s: float = LONG_S) -> None:
        self.clock = FakeClock()
        self.home = home
        self.logins = Logins(home, self.clock)
        self.said: list[str] = []
        self.source = Source(self.clock, needs_login=needs_login)
        self.refresher = Refresher(self.logins, self.clock, self._log, ask_s=ask_s)

    def _log(self, event: str, **fields: object) -> None:
        self.said.append(event)

    def others(self) -> Logins:
        """As another process sees the files."""
        return Logins(self.home, self.clock)

    def put(self, left_s: float = LIFE_S, **members: object) -> Stored:
        """A login whose access token lasts so much longer."""
        now = self.clock.wall()
        made = TokenSet(access="a0", refresh="r0", obtained_at=now + left_s - LIFE_S, expires_at=now + left_s)
        return self.others().put(WORK, replace(made, **members))

    async def access(self, wait_s: float = LONG_S) -> str:
        return (await self.refresher.tokens(WORK, self.source, wait_s)).tokens.access

    async def asked(self) -> None:
        """Until the provider has a request."""
        while not self.source.asked:
            await rested()

    async def passed(self, seconds: float) -> None:
        """Let so much time pass, and all that it sets going come to rest."""
        await self.clock.advance(seconds)
        await rested()


async def rested() -> None:
    """As `settled`, with what is done aside."""
    await settled()
    while aside._running:
        for thread in list(aside._running):
            await to_thread.run_sync(thread.join)
        await settled()


@asynccontextmanager
async def room(home: Path, **members: object) -> AsyncIterator[Room]:
    it = Room(home, **members)
    try:
        yield it
    finally:
        await it.refresher.close()


async def test_a_token_that_is_good_is_given_without_asking_anybody(tmp_path: Path) -> None:
    """A provider that is down is no concern of it."""
    async with room(tmp_path) as it:
        it.put()

        assert ("a0", []) == (await it.access(), it.source.asked)


async def test_all_who_want_a_token_at_a_time_are_served_by_one_request(tmp_path: Path) -> None:
    """A second one would use the refresh token twice."""
    async with room(tmp_path) as it:
        it.put(-1)
        found = await asyncio.gather(*(it.access() for _ in range(20)))

        assert ({"a1"}, ["r0"]) == (set(found), it.source.asked)
        assert ("a1", "r1") == (it.others().read(WORK).tokens.access, it.others().read(WORK).tokens.refresh)


async def test_a_token_that_is_due_is_given_and_renewed_behind_it(tmp_path: Path) -> None:
    """Nobody waits for a provider while there is a token that is good."""
    async with room(tmp_path) as it:
        it.put(LIFE_S * 0.1)
        first = await it.access()
        await it.passed(0)
        second = await it.access()

        assert ("a0", "a1", ["r0"]) == (first, second, it.source.asked)


async def test_a_token_that_is_used_is_renewed_before_it_ends_and_one_that_is_not_is_left(tmp_path: Path) -> None:
    """Once after its last use; a machine that idles asks nobody for ever."""
    async with room(tmp_path) as it:
        it.put()
        await it.access()
        await it.passed(LIFE_S * 0.79)
        before = len(it.source.asked)
        await it.passed(LIFE_S * 0.02)
        renewed = len(it.source.asked)
        await it.passed(LIFE_S * 5)

        assert (0, 1, 1) == (before, renewed, len(it.source.asked))


async def test_a_renewal_that_fails_while_the_token_is_good_is_tried_again(tmp_path: Path) -> None:
    """And said; who wants a token is given the one that is good."""
    async with room(tmp_path) as it:
        it.put(LIFE_S * 0.2)
        it.source.errors.append(AuthUnavailable("down"))
        await it.access()
        await it.passed(0)
        meanwhile = await it.access()
        await it.passed(31)

        assert ("a0", ["login_not_renewed", "login_renewed"], "a2") == (meanwhile, it.said, await it.access())


async def test_who_waits_too_long_goes_elsewhere_and_the_answer_is_kept(tmp_path: Path) -> None:
    """A wait that ends must not throw away the only copy of a login."""
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.may_answer.clear()
        with pytest.raises(ProfileBusy, match=r"this process is renewing its login, and no answer has come within"):
            await it.access(SHORT_S)
        it.source.may_answer.set()
        await rested()

        assert ("a1", ["r0"]) == (it.others().read(WORK).tokens.access, it.source.asked)


async def test_a_provider_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """Its request may have been heard: the next refusal will say so. Others may ask then."""
    async with room(tmp_path, ask_s=SHORT_S) as it:
        it.put(-1)
        it.source.may_answer.clear()
        with pytest.raises(AuthUnavailable, match=r"the provider did not answer within 0\.05 s"):
            await it.access()
        login = it.others().read(WORK)

        assert ("the provider did not answer within 0.05 s", None) == (login.unanswered, it.others().owner(WORK))


async def test_a_refusal_after_a_lost_answer_says_what_was_lost(tmp_path: Path) -> None:
    """Else a user looks for what they did wrong."""
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.errors += [AuthUnavailable("the line went dead", is_unanswered=True), AuthRejected("invalid_grant")]
        with pytest.raises(AuthUnavailable):
            await it.access()
        with pytest.raises(AuthRejected) as caught:
            await it.access()

    lost = "an earlier request may have replaced it: the line went dead"
    assert f"invalid_grant ({lost}); log in anew: acp-broker login work" == str(caught.value)


async def test_what_a_dead_process_may_have_lost_is_told_after_a_failure_as_well(tmp_path: Path) -> None:
    """Its claim is gone by then; that its answer may have gone with it is not."""
    async with room(tmp_path) as it:
        it.put(-1)
        held = it.others().claim(WORK, lambda _: False, "renewing the login")
        it.logins.claim_path(WORK).write_bytes(written(replace(held.owner, boot="another")))
        it.source.errors += [AuthUnavailable("no route"), AuthRejected("invalid_grant")]
        with pytest.raises(AuthUnavailable):
            await it.access()
        with pytest.raises(AuthRejected, match=r"^invalid_grant \(an earlier request may .*machine has been restarted"):
            await it.access()


async def test_a_refused_login_is_asked_for_once(tmp_path: Path) -> None:
    """By anybody, until there is another."""
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.errors.append(AuthRejected("invalid_grant"))
        for _ in range(3):
            with pytest.raises(AuthRejected, match=r"^invalid_grant; log in anew: acp-broker login work$"):
                await it.access()
        it.put()

        assert (["r0"], ["login_refused"], "a0") == (it.source.asked, it.said, await it.access())


async def test_a_refusal_that_is_about_config_marks_no_login(tmp_path: Path) -> None:
    """A client id that is put right is enough."""
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.errors.append(AuthRejected("invalid_client", is_final=False))
        with pytest.raises(AuthRejected, match=r"^invalid_client$"):
            await it.access()

        assert (None, "a2") == (it.others().read(WORK).refused, await it.access())


async def test_a_refusal_of_what_somebody_has_replaced_is_none(tmp_path: Path) -> None:
    """They logged in while it was under way: that login holds."""
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.may_answer.clear()
        it.source.errors.append(AuthRejected("invalid_grant"))
        wanted = asyncio.create_task(it.access())
        await it.asked()
        it.put(access="theirs")
        it.source.may_answer.set()

        assert ("theirs", None) == (await wanted, it.others().read(WORK).refused)


async def test_what_another_process_has_renewed_is_used(tmp_path: Path) -> None:
    """Nobody is asked."""
    async with room(tmp_path) as it:
        it.put(-1)
        other = it.others()
        held = other.claim(WORK, lambda _: False, "renewing the login")
        assert isinstance(held, Held)
        wanted = asyncio.create_task(it.access())
        await it.passed(0.1)
        now = it.clock.wall()
        other.settle(held, TokenSet(access="theirs", obtained_at=now, expires_at=now + LIFE_S))
        await it.passed(1)

        assert ("theirs", []) == (await wanted, it.source.asked)


async def test_a_living_owner_is_waited_for_within_the_limit(tmp_path: Path) -> None:
    """And named, in the log too."""
    async with room(tmp_path) as it:
        it.put(-1)
        it.others().claim(WORK, lambda _: False, "renewing the login")
        wanted = asyncio.create_task(it.access(5.0))
        for _ in range(60):
            await it.passed(0.1)

        with pytest.raises(ProfileBusy, match=r"alive, renewing the login for 5 s, is not taken from it; if that is"):
            await wanted
        assert ["claim_awaited", "claim_not_had"] == it.said


async def test_who_gives_up_first_is_told_whose_claim_it_was_as_well(tmp_path: Path) -> None:
    """Several wait for one look at the claim, each with its own limit."""
    async with room(tmp_path) as it:
        it.put(-1)
        it.others().claim(WORK, lambda _: False, "renewing the login")
        with pytest.raises(ProfileBusy, match=r"alive, renewing the login for 0 s, is not taken from it"):
            await it.access(1.0)


async def test_nobody_is_logged_in(tmp_path: Path) -> None:
    """Said with the command."""
    async with room(tmp_path) as it:
        with pytest.raises(Unresolved, match=r"^nobody is logged in: acp-broker login work$"):
            await it.access()


async def test_a_login_that_a_full_disk_refuses_is_used_and_kept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is good; its claim keeps others from asking with the one that it has replaced; and it is said."""
    disk = Disk(monkeypatch)
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.may_answer.clear()
        wanted = asyncio.create_task(it.access())
        await it.asked()
        disk.room = 0
        it.source.may_answer.set()
        given = [await wanted, await it.access()]
        await it.passed(1)
        meanwhile = it.others().read(WORK).tokens.access, it.others().owner(WORK).kind
        disk.room = None
        await it.passed(10)

        assert (["a1", "a1"], ["r0"]) == (given, it.source.asked)
        assert (("a0", Kind.LIVE), ("a1", None)) == (
            meanwhile,
            (it.others().read(WORK).tokens.access, it.others().owner(WORK)),
        )
        assert ["login_not_kept", "login_renewed", "login_not_kept", "login_kept"] == it.said


async def test_a_login_in_memory_is_renewed_under_the_same_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for longer than a token lasts costs nobody the login."""
    disk = Disk(monkeypatch)
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.may_answer.clear()
        wanted = asyncio.create_task(it.access())
        await it.asked()
        disk.room = 0
        it.source.may_answer.set()
        await wanted
        await it.passed(LIFE_S + 1)
        given = await it.access()
        disk.room = None
        await it.passed(60)

        assert (given, ["r0", "r1"]) == (it.others().read(WORK).tokens.access, it.source.asked)


@pytest.mark.parametrize("is_full", [True, False])
async def test_a_disk_that_takes_its_time_loses_no_newer_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    """The login before it was on its way to the disk when the newer one came, which the disk does not take either."""
    has_begun, may_end, tries = threading.Event(), threading.Event(), []

    def settle(held: Held, tokens: TokenSet) -> Stored:
        tries.append(tokens.refresh)
        if len(tries) != 2:
            raise StoreError("no space left")
        has_begun.set()
        may_end.wait(LONG_S)
        if is_full:
            raise StoreError("no space left")
        return replace(held.stored, tokens=tokens)

    async with room(tmp_path) as it:
        monkeypatch.setattr(it.logins, "settle", settle)
        it.put(-1)
        await it.access()
        renewals = it.refresher._renewals
        slow = asyncio.create_task(renewals.mend(WORK))
        await to_thread.run_sync(has_begun.wait, LONG_S)
        await it.clock.advance(LIFE_S + 1)
        given = await it.access()
        may_end.set()
        await slow

        assert ("a2", "a2", ["r0", "r1"]) == (given, renewals.unsaved[WORK].login.tokens.access, it.source.asked)
        monkeypatch.undo()


async def test_a_login_in_memory_keeps_its_claim_though_its_renewal_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have only the tokens before it, which are used up: asking with them would end the login."""
    disk = Disk(monkeypatch)
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.may_answer.clear()
        wanted = asyncio.create_task(it.access())
        await it.asked()
        disk.room = 0
        it.source.may_answer.set()
        await wanted
        it.source.errors += [AuthUnavailable("no route")] * 100
        await it.passed(LIFE_S + 1)
        with pytest.raises(AuthUnavailable):
            await it.access()
        owner = it.others().owner(WORK)
        disk.room = None

        assert Kind.LIVE is owner.kind


async def test_a_fault_of_ours_behind_everybodys_back_is_not_lost(tmp_path: Path) -> None:
    """Nobody waits for that renewal: the loop's own handler writes it to the log."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    async with room(tmp_path) as it:
        it.put(LIFE_S * 0.1)
        it.source.errors.append(ZeroDivisionError())
        await it.access()
        await it.passed(0)

    assert [ZeroDivisionError] == [type(fault) for fault in faults]


async def test_nobody_asks_for_what_could_not_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full before: the refresh token is not used up for an answer that might be lost."""
    disk = Disk(monkeypatch)
    async with room(tmp_path) as it:
        it.put(-1)
        disk.room = 0
        with pytest.raises(AuthUnavailable, match=r"no newer token is asked for that could not be kept: cannot write "):
            await it.access()

        assert [] == it.source.asked


async def test_an_end_waits_for_an_answer_that_is_on_its_way(tmp_path: Path) -> None:
    """An editor that is closed at that moment must not cost a login."""
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.may_answer.clear()
        wanted = asyncio.create_task(it.access())
        await it.asked()
        ending = asyncio.create_task(it.refresher.close())
        await asyncio.sleep(0)
        it.source.may_answer.set()
        await ending

        assert ("a1", "a1") == (await wanted, it.others().read(WORK).tokens.access)


async def test_an_end_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be lost is written down, and the claim is gone."""
    monkeypatch.setattr("acp_broker.auth.refresh.LEAVE_S", SHORT_S)
    it = Room(tmp_path)
    it.put(-1)
    it.source.may_answer.clear()
    wanted = asyncio.create_task(it.access())
    await it.asked()
    await it.refresher.close()
    await rested()

    with pytest.raises(ProfileBusy, match=r"^the broker is ending$"):
        await wanted
    assert "the broker was ended before the provider had answered" == it.others().read(WORK).unanswered
    assert it.others().owner(WORK) is None


async def test_an_end_does_not_wait_for_a_disk_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it never took is said to be lost."""
    monkeypatch.setattr("acp_broker.auth.refresh.LEAVE_S", SHORT_S)
    it, asked, answers = Room(tmp_path), threading.Event(), threading.Event()
    it.put(-1)

    def hangs(*_: object) -> None:
        asked.set()
        answers.wait()

    monkeypatch.setattr(it.logins, "settle", hangs)
    wanted = asyncio.create_task(it.access())
    await to_thread.run_sync(asked.wait)
    with anyio.fail_after(LONG_S):
        await it.refresher.close()
    wanted.cancel()
    answers.set()

    assert ["login_lost"] == it.said


async def test_a_claim_that_the_disk_keeps_is_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has it lives, and asks nobody: all others would wait for it."""
    async with room(tmp_path) as it:
        it.put(-1)
        it.source.errors.append(AuthUnavailable("down"))
        removes = private.remove
        monkeypatch.setattr(private, "remove", fails)
        with pytest.raises(AuthUnavailable, match=r"^down$"):
            await it.access()
        kept = it.others().owner(WORK).kind
        await it.passed(SAVE_AGAIN_S[-1])
        monkeypatch.setattr(private, "remove", removes)
        await it.passed(SAVE_AGAIN_S[-1])

        assert (Kind.LIVE, None) == (kept, it.others().owner(WORK))
        assert ["claim_not_released", "login_not_renewed", "claim_not_released"] == it.said


def fails(path: Path) -> None:
    raise StoreError(f"cannot remove {path}: Read-only file system")


async def test_a_token_that_was_refused_is_renewed_unless_it_is_new(tmp_path: Path) -> None:
    """One that was given a moment ago is not the reason, and asking again would go on for ever."""
    async with room(tmp_path) as it:
        it.put()
        login = await it.refresher.tokens(WORK, it.source, LONG_S)
        young = it.refresher.distrust(login)
        await it.passed(YOUNG_S)
        old = it.refresher.distrust(login)

        assert (False, True, "a1") == (young, old, await it.access())


async def test_a_token_from_the_future_is_not_young(tmp_path: Path) -> None:
    """The clock was set back since: the token may be as old as any, and would be believed until the clock is there."""
    async with room(tmp_path) as it:
        it.put(LIFE_S + 100.0)
        login = await it.refresher.tokens(WORK, it.source, LONG_S)

        assert (True, "a1") == (it.refresher.distrust(login), await it.access())


async def test_who_was_given_a_token_learns_that_it_is_spent_or_outdated(tmp_path: Path) -> None:
    """An agent has it for life, in its environment."""
    async with room(tmp_path) as it:
        it.put(LIFE_S * 0.1)
        login = await it.refresher.tokens(WORK, it.source, LONG_S)
        before = it.refresher.is_spent(login), it.refresher.is_outdated(login)
        await it.passed(0)
        renewed = it.refresher.is_spent(login), it.refresher.is_outdated(login)
        await it.passed(LIFE_S * 0.1)

        assert ((False, False), (False, True), True) == (before, renewed, it.refresher.is_spent(login))


async def test_what_needs_no_login_is_made_once_and_written_nowhere(tmp_path: Path) -> None:
    """It can be made again; another source makes its own."""
    async with room(tmp_path, needs_login=False) as it:
        found = await asyncio.gather(*(it.access() for _ in range(5)))
        it.source = Source(it.clock, needs_login=False)
        other = await it.access()

        assert ({"a1"}, "a1", [None]) == (set(found), other, it.source.asked)
        assert not (tmp_path / "auth").exists()


async def test_what_needs_no_login_is_made_anew_once_it_is_forgotten(tmp_path: Path) -> None:
    """A service account's file was replaced, and the broker was told so."""
    async with room(tmp_path, needs_login=False) as it:
        first = await it.access()
        it.refresher.forget()

        assert ("a1", "a2") == (first, await it.access())
