"""One opened backend of one session: when it is opened, kept, closed and opened again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec import Raw
from msgspec.structs import replace

from acp_broker.broker.runtime import Leased
from acp_broker.broker.standby import Standby
from acp_broker.broker.whom import Nobody, Whom
from acp_broker.contract import About, SessionSetup, Tools
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Phase, SessionId
from acp_broker.errors import BackendFailure
from tests.support.clock import FakeClock, settled
from tests.support.harness import DEADLINE_S, Log, runtime

pytestmark = pytest.mark.anyio

COMES_BACK = b'{"agentCapabilities":{"loadSession":true}}'
REAP_S = 600.0


class Agent:
    """A runtime that does what the test says: opens at once unless it is told to hang or fail; dies when told."""

    def __init__(self, initialized: bytes = COMES_BACK) -> None:
        self.about = About(Raw(initialized))
        self.openings = 0
        self.closings = 0
        self.hangs_at: Phase | None = None
        self.fails: Failure | None = None
        self.hangs_at_the_end: anyio.Event | None = None
        self.remembered: list[str | None] = []
        self._dead = anyio.Event()

    @asynccontextmanager
    async def open(self, tools: Tools) -> AsyncIterator["Agent"]:
        self.openings += 1
        self._dead = anyio.Event()
        self.remembered.append(tools.remembered())
        tools.remember(f"session-{self.openings}")
        for phase in ("starting", "opening"):
            tools.reached(phase)
            if self.hangs_at == phase:
                await anyio.sleep_forever()
        if self.fails is not None:
            raise BackendFailure(self.fails)
        try:
            yield self
        finally:
            self.closings += 1
            if self.hangs_at_the_end is not None:
                with anyio.CancelScope(shield=True):
                    await self.hangs_at_the_end.wait()

    async def gone(self) -> str:
        await self._dead.wait()
        return "it fell over"

    def die(self) -> None:
        self._dead.set()


class Phases(Nobody):
    def __init__(self) -> None:
        self.reached_so_far: list[Phase] = []

    def reached(self, phase: Phase) -> None:
        self.reached_so_far.append(phase)


class Room:
    def __init__(self, agent: Agent, standby: Standby, clock: FakeClock, log: Log) -> None:
        self.agent, self.standby, self.clock, self.log = agent, standby, clock, log

    async def warm(self) -> None:
        self.standby.warm()
        await settled()


@asynccontextmanager
async def room(agent: Agent | None = None, **members: object) -> AsyncIterator[Room]:
    agent, clock, log = agent or Agent(), FakeClock(), Log()
    async with anyio.create_task_group() as tasks:
        made = runtime("primary", agent.open, **members)
        setup = SessionSetup(SessionId("s"), "/")
        standby = Standby(made, setup, Whom(), tasks, clock, log)
        yield Room(agent, standby, clock, log)
        if agent.hangs_at_the_end is not None:
            agent.hangs_at_the_end.set()
        await standby.end()


async def test_a_warm_backend_is_there_before_anybody_asks():
    """A first turn should not pay for the start of a process."""
    async with room() as it:
        await it.warm()
        is_open = it.standby.backend is it.agent

    assert is_open


async def test_warming_twice_opens_once():
    """One process per session."""
    async with room() as it:
        await it.warm()
        await it.warm()

    assert 1 == it.agent.openings


async def test_who_joins_is_told_the_phase_that_was_reached_before():
    """Each phase has its own limit: the attempt's clock must know which one runs."""
    async with room() as it, anyio.create_task_group() as tasks:
        it.agent.hangs_at = "opening"
        await it.warm()
        phases = Phases()
        tasks.start_soon(it.standby.join, phases)
        await settled()
        tasks.cancel_scope.cancel()

    assert ["opening"] == phases.reached_so_far


async def test_who_joins_first_is_told_every_phase():
    """As above, with nothing warm."""
    async with room() as it:
        phases = Phases()
        await it.standby.join(phases)

    assert ["starting", "opening"] == phases.reached_so_far


async def test_an_opening_that_fails_is_a_failure_of_who_joins():
    """The chain moves on by it."""
    async with room() as it:
        it.agent.fails = Failure(FailureKind.UNREACHABLE, "no such program")
        with pytest.raises(BackendFailure, match="no such program"):
            await it.standby.join(Nobody())


async def test_an_opening_that_failed_is_tried_again_by_who_joins_next():
    """Whoever repaired it must not have to restart the broker."""
    async with room() as it:
        it.agent.fails = Failure(FailureKind.UNREACHABLE, "no such program")
        await it.warm()
        it.agent.fails = None

        assert it.agent is await it.standby.join(Nobody())


async def test_how_the_latest_opening_failed_is_still_known_when_it_is_over():
    """`session/new` asks a moment after a spawn that failed at once, and must not start a second one to find out."""
    async with room() as it:
        it.agent.fails = Failure(FailureKind.UNREACHABLE, "no such program")
        await it.warm()
        failure = await it.standby.opened()

    assert (it.agent.fails, 1) == (failure, it.agent.openings)


async def test_abandon_kills_an_opening_that_hangs():
    """Nothing of a lost attempt may act while the next one runs."""
    async with room() as it:
        it.agent.hangs_at = "starting"
        await it.warm()
        await it.standby.abandon()
        it.agent.hangs_at = None

        assert it.agent is await it.standby.join(Nobody())


async def test_abandon_returns_when_nothing_is_left():
    """The next attempt may begin behind it."""
    async with room() as it, anyio.create_task_group() as tasks:
        await it.warm()
        it.agent.hangs_at_the_end = anyio.Event()
        done = []

        async def abandon() -> None:
            await it.standby.abandon()
            done.append(it.agent.closings)

        tasks.start_soon(abandon)
        await settled()
        before = list(done)
        it.agent.hangs_at_the_end.set()
        await settled()

    assert ([], [1]) == (before, done)


async def test_a_broker_that_breaks_down_does_not_wait_for_ever():
    """All of its tasks are cancelled then, and the end of an opening is one of them."""
    agent = Agent()
    async with anyio.create_task_group() as tasks:
        setup = SessionSetup(SessionId("s"), "/")
        standby = Standby(runtime("primary", agent.open), setup, Whom(), tasks, FakeClock(), Log())
        await standby.join(Nobody())
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(DEADLINE_S):
            await standby.abandon()

    assert 1 == agent.closings


async def test_a_death_between_turns_is_repaired_after_a_pause():
    """The session stays warm; a crash loop must not eat the machine."""
    async with room() as it:
        await it.warm()
        it.agent.die()
        await settled()
        before = it.agent.openings
        await it.clock.advance(1.0)

    assert (1, 2) == (before, it.agent.openings)


async def test_the_pauses_grow_while_it_keeps_dying():
    """1, 2, 5, 15, 60 seconds, and 60 from then on."""
    pauses = []
    async with room() as it:
        await it.warm()
        for _ in range(6):
            it.agent.die()
            await settled()
            pauses.append(it.clock.armed[0])
            await it.clock.advance(pauses[-1])

    assert [1.0, 2.0, 5.0, 15.0, 60.0, 60.0] == pauses


async def test_a_turn_that_comes_during_the_pause_opens_it_at_once():
    """Nobody waits for a pause that only spares the machine."""
    async with room() as it:
        await it.warm()
        it.agent.die()
        await settled()

        assert it.agent is await it.standby.join(Nobody())


async def test_a_turn_that_was_served_makes_the_pauses_short_again():
    """It is well now."""
    async with room() as it:
        await it.warm()
        for pause in (1.0, 2.0):
            it.agent.die()
            await it.clock.advance(pause)
        it.standby.rest()
        it.agent.die()
        await settled()
        armed = it.clock.armed

    assert [1.0] == armed


async def test_why_it_died_is_in_the_log():
    """Somebody will ask why the answer was slow."""
    async with room() as it:
        await it.warm()
        it.agent.die()
        await settled()

    expected = {"event": "backend_died", "session": "s", "backend": "primary"}
    assert [{**expected, "why": "it fell over", "opens_again_in_s": 1.0}] == it.log.of("backend_died")


async def test_an_idle_backend_is_closed_after_ten_minutes():
    """An agent holds hundreds of megabytes."""
    async with room() as it:
        await it.warm()
        it.standby.rest()
        await it.clock.advance(REAP_S - 0.1)
        before = it.agent.closings
        await it.clock.advance(0.2)
        after = it.agent.closings

    assert (0, 1) == (before, after)


async def test_a_backend_that_was_warmed_for_nothing_is_closed_as_well():
    """Editors open sessions that nobody ever prompts."""
    async with room() as it:
        await it.warm()
        await it.clock.advance(REAP_S)
        closings = it.agent.closings

    assert 1 == closings


async def test_one_that_cannot_come_back_is_kept():
    """It would forget the conversation."""
    async with room(Agent(b"{}")) as it:
        await it.warm()
        it.standby.rest()
        await it.clock.advance(10 * REAP_S)
        closings = it.agent.closings

    assert 0 == closings


async def test_one_that_was_closed_is_told_its_session_when_it_opens_again():
    """It takes its own session up again."""
    async with room() as it:
        await it.warm()
        await it.clock.advance(REAP_S)
        await it.standby.join(Nobody())

    assert [None, "session-1"] == it.agent.remembered


async def test_a_turn_keeps_it_from_being_closed():
    """Ten minutes without a turn: one that runs for an hour is no idleness."""
    async with room() as it:
        await it.warm()
        it.standby.rest()
        await it.standby.join(Nobody())
        await it.clock.advance(2 * REAP_S)
        closings = it.agent.closings

    assert 0 == closings


async def test_a_backend_that_died_after_its_turn_is_not_closed_in_a_later_one():
    """The idle timer of the life before must not end the next life in the middle of a turn."""
    async with room() as it:
        await it.warm()
        it.standby.rest()
        it.agent.die()
        await settled()
        await it.standby.join(Nobody())
        await it.clock.advance(2 * REAP_S)
        closings = it.agent.closings

    assert 1 == closings


async def test_a_turn_does_not_run_on_a_backend_that_is_being_closed():
    """An agent needs a moment to end; who comes in that moment gets a new one."""
    async with room() as it, anyio.create_task_group() as tasks:
        await it.warm()
        it.agent.hangs_at_the_end = anyio.Event()
        await it.clock.advance(REAP_S)
        joined: list[object] = []

        async def join() -> None:
            joined.append(await it.standby.join(Nobody()))

        tasks.start_soon(join)
        await settled()
        before = list(joined)
        it.agent.hangs_at_the_end.set()
        await settled()

    assert ([], [it.agent], 2) == (before, joined, it.agent.openings)


async def test_warming_while_it_closes_opens_it_again():
    """A session that is resumed with other MCP servers: the old process ends, a new one starts."""
    async with room() as it:
        await it.warm()
        it.standby.close()
        await it.warm()
        is_open = it.standby.backend is it.agent

    assert (True, 2) == (is_open, it.agent.openings)


async def test_closing_forgets_a_restart_that_was_planned():
    """`session/close` leaves nothing behind that starts an agent a minute later."""
    async with room() as it:
        await it.warm()
        it.agent.die()
        await settled()
        it.standby.close()
        await it.clock.advance(100.0)

    assert 1 == it.agent.openings


async def test_nothing_opens_one_that_has_ended():
    """A deleted session starts no process any more."""
    async with room() as it:
        await it.standby.end()
        await it.warm()

    assert 0 == it.agent.openings


async def test_who_joins_one_that_has_ended_is_told_so():
    """A turn that comes too late fails; it does not hang."""
    async with room() as it:
        await it.standby.end()
        with pytest.raises(BackendFailure, match="its session has ended"):
            await it.standby.join(Nobody())


async def test_each_life_has_its_own_number():
    """Message ids of two lives must not be taken for one another."""
    async with room() as it:
        await it.warm()
        first = it.standby.life
        await it.standby.abandon()
        await it.warm()
        second = it.standby.life

    assert first != second


class Lease:
    """A `Runtime.lease` that waits until a test lets it go."""

    def __init__(self) -> None:
        self.free = anyio.Event()
        self.asked = 0
        self.given_up = 0

    async def __call__(self, *_: object) -> Leased:
        self.asked += 1
        try:
            await self.free.wait()
        except BaseException:
            self.given_up += 1
            raise
        return Leased("k")


async def test_its_credential_comes_before_the_backend():
    """Nothing is started without one; who waits is in the phase that has a limit of its own."""
    lease, phases = Lease(), Phases()
    async with room(lease=lease) as it, anyio.create_task_group() as tasks:
        tasks.start_soon(it.standby.join, phases)
        await settled()
        before = it.agent.openings, list(phases.reached_so_far)
        lease.free.set()

    assert ((0, []), 1, ["starting", "opening"]) == (before, it.agent.openings, phases.reached_so_far)


async def test_an_open_backend_needs_no_credential():
    """It is asked for at each opening, and at no turn."""
    lease = Lease()
    lease.free.set()
    async with room(lease=lease) as it:
        for _ in range(3):
            await it.standby.join(Nobody())
        asked = lease.asked
        await it.standby.abandon()
        await it.standby.join(Nobody())

    assert (1, 2) == (asked, lease.asked)


async def test_who_waits_for_its_credential_can_be_abandoned():
    """A program that hangs must not hold up the next candidate."""
    lease = Lease()
    async with room(lease=lease) as it:
        await it.warm()
        await it.standby.abandon()
        is_shut = it.standby.is_shut

    assert (True, 1, 0) == (is_shut, lease.given_up, it.agent.openings)


async def test_who_waits_for_its_credential_is_stale_once_config_means_another():
    """Else it would be started with the key of the one before."""
    async with room(lease=Lease()) as it:
        await it.warm()
        it.standby.configure(replace(it.standby.runtime, fingerprint="another"))
        is_stale = it.standby.is_stale

    assert is_stale


@pytest.mark.parametrize(
    ("leased", "comes_back", "openings"),
    [
        (Leased("k"), True, 1),
        # What has ended would only fail the turn.
        (Leased("k", is_spent=lambda: True), False, 2),
        # A newer one is no reason to forget the session.
        (Leased("k", is_outdated=lambda: True), True, 2),
        (Leased("k", is_outdated=lambda: True), False, 1),
    ],
)
async def test_a_turn_opens_anew_what_has_an_older_credential(leased, comes_back, openings):
    """Its child has what it was started with for life."""

    async def lease(_environ: object, _credential: int) -> Leased:
        return leased

    async with room(Agent(COMES_BACK if comes_back else b"{}"), lease=lease) as it:
        await it.warm()
        it.standby.use(0)
        await it.standby.join(Nobody())

    assert openings == it.agent.openings


async def test_a_turn_on_another_credential_opens_with_that_one():
    """Even while the first is still being looked up; and the next turn on it leaves all as it is."""
    asked: list[int] = []

    async def lease(_environ: object, credential: int) -> Leased:
        asked.append(credential)
        return Leased("k")

    async with room(lease=lease) as it:
        it.standby.warm()
        openings = []
        for credential in (1, 1):
            it.standby.use(credential)
            await it.standby.join(Nobody())
            openings.append(it.agent.openings)

    assert (1, openings[0]) == (asked[-1], openings[1])


async def test_what_a_runtime_quotes_of_its_credential_is_hidden():
    """Providers quote what they refuse; the log and every client would have it."""

    async def lease(_environ: object, _credential: int) -> Leased:
        return Leased("canary-1")

    async with room(lease=lease) as it:
        it.agent.fails = Failure(FailureKind.AUTH_REJECTED, "the key canary-1 is wrong", code="canary-1")
        with pytest.raises(BackendFailure) as caught:
            await it.standby.join(Nobody())

    assert Failure(FailureKind.AUTH_REJECTED, "the key [redacted] is wrong", code="[redacted]") == caught.value.failure
