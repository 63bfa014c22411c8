"""Secrets by reference: asked once for all, kept for a while, and never waited for longer than they may take."""

import anyio
import pytest

from acp_broker.auth.aside import aside
from acp_broker.auth.secrets import Secrets, _Kept
from acp_broker.errors import Unresolved
from tests.support.clock import FakeClock, settled

pytestmark = pytest.mark.anyio


class Kept:
    """A source by hand: it answers once it is `open`, and counts how often it was asked."""

    def __init__(self, value: str = "s3cret", *, limit_s: float = 5.0, kept_s: float = 300.0) -> None:
        self.limit_s, self.kept_s, self.value = limit_s, kept_s, value
        self.asked = 0
        self.given_up = 0
        self.open = anyio.Event()
        self.open.set()

    async def look_up(self, name: str) -> str:
        self.asked += 1
        try:
            await self.open.wait()
        except BaseException:
            self.given_up += 1
            raise
        return f"{self.value} {name}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def secrets(clock: FakeClock):
    async with Secrets(clock, 2) as made:
        yield made


async def test_a_secret_is_what_its_source_says(secrets) -> None:
    """Under the name that it was asked for."""
    assert "s3cret a" == await secrets.resolve(Kept(), "a")


async def test_it_is_asked_for_once_in_its_lifetime(secrets, clock) -> None:
    """Agents come and go; a program that asks a vault is slow, and a keyring may ask a person."""
    source = Kept(kept_s=300)
    asked = []
    for later_s in (0, 299, 2):
        await clock.advance(later_s)
        await secrets.resolve(source, "a")
        asked.append(source.asked)

    assert [1, 1, 2] == asked


async def test_what_costs_nothing_is_not_kept(secrets) -> None:
    """A file that was edited holds from the next agent on."""
    source = Kept(kept_s=0)
    await secrets.resolve(source, "a")
    await secrets.resolve(source, "a")

    assert 2 == source.asked


async def test_who_wants_the_same_at_a_time_asks_once(secrets) -> None:
    """Ten sessions that open after a restart are one question."""
    source, heard = Kept(kept_s=0), []
    source.open = anyio.Event()

    async def ask() -> None:
        heard.append(await secrets.resolve(source, "a"))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
        await settled()
        source.open.set()

    assert (1, ["s3cret a"] * 10) == (source.asked, heard)


async def test_who_gives_up_leaves_it_to_the_others(secrets) -> None:
    """A turn that went on to the fallback must not take the answer from another session's."""
    source, heard = Kept(), []
    source.open = anyio.Event()

    async def ask() -> None:
        heard.append(await secrets.resolve(source, "a"))

    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(ask)
            tasks.start_soon(ask)
            await settled()
            impatient.cancel_scope.cancel()
        source.open.set()

    assert (1, ["s3cret a"]) == (source.asked, heard)


async def test_it_may_take_no_longer_than_its_source_allows(secrets) -> None:
    """And that is no login in doubt: it is late."""
    source = Kept(limit_s=0.01)
    source.open = anyio.Event()
    with pytest.raises(Unresolved) as raised:
        await secrets.resolve(source, "a")

    assert ("no answer within 0.01 s", True, 1) == (str(raised.value), raised.value.is_late, source.given_up)


async def test_a_failure_is_not_kept(secrets) -> None:
    """What was put right works at once."""
    source = Kept(limit_s=0.01)
    source.open = anyio.Event()
    with pytest.raises(Unresolved):
        await secrets.resolve(source, "a")
    source.open.set()

    assert "s3cret a" == await secrets.resolve(source, "a")


async def test_a_source_has_so_many_questions_at_a_time(secrets) -> None:
    """config.json says how many: secrets.resolution.maxProviderConcurrency."""
    source = Kept()
    source.open = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for name in "abcde":
            tasks.start_soon(secrets.resolve, source, name)
        await settled()
        at_once = source.asked
        source.open.set()

    assert (2, 5) == (at_once, source.asked)


async def test_one_that_hangs_holds_up_no_other(secrets) -> None:
    """Each source is on its own."""
    hung, well = Kept(), Kept("well")
    hung.open = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for name in "abcde":
            tasks.start_soon(secrets.resolve, hung, name)
        await settled()
        found = await secrets.resolve(well, "a")
        tasks.cancel_scope.cancel()

    assert "well a" == found


async def test_what_was_forgotten_is_asked_anew(secrets) -> None:
    """SIGHUP, after a key was rotated; what was being looked up before is of before."""
    source = Kept()
    source.open = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(secrets.resolve, source, "a")
        await settled()
        secrets.forget()
        source.open.set()
    await secrets.resolve(source, "a")

    assert 2 == source.asked


async def test_what_was_refused_is_asked_anew(secrets) -> None:
    """A key that was rotated must not be handed out until its lifetime ends."""
    source = Kept()
    for name in "ab":
        await secrets.resolve(source, name)
    secrets.distrust(source, "a")
    for name in "ab":
        await secrets.resolve(source, name)

    assert 3 == source.asked


async def test_the_end_waits_for_nobody(clock) -> None:
    """An exit must not take as long as a vault that does not answer."""
    source, told = Kept(limit_s=3600), []
    source.open = anyio.Event()

    async def ask(secrets: Secrets) -> None:
        try:
            await secrets.resolve(source, "a")
        except Unresolved as error:
            told.append(str(error))

    async with anyio.create_task_group() as tasks, Secrets(clock) as secrets:
        tasks.start_soon(ask, secrets)
        await settled()

    assert (1, ["the broker is ending"]) == (source.given_up, told)


@pytest.mark.parametrize(("value", "why"), [("", "it is empty"), ("a\0b", "it holds a NUL, which no variable can")])
async def test_what_no_agent_can_be_given_is_none(secrets, value: str, why: str) -> None:
    """Said here, not by a child that cannot be started."""

    class Odd(Kept):
        async def look_up(self, name: str) -> str:
            return value

    with pytest.raises(Unresolved) as raised:
        await secrets.resolve(Odd(), "a")

    assert why == str(raised.value)


def test_a_secret_is_in_no_repr() -> None:
    """Nor in a traceback that shows one."""
    assert "s3cret" not in repr(_Kept("s3cret", 1.0))


async def test_an_error_of_somebody_elses_code_is_told_by_its_name_alone() -> None:
    """Its text may quote what it was about."""

    def fails() -> None:
        raise ValueError("s3cret is no key")

    with pytest.raises(Unresolved) as raised:
        await aside(fails, None)

    assert ("it failed with ValueError", None) == (str(raised.value), raised.value.__cause__)
