"""One timer that is set and put off all the time."""

import gc
import weakref

import pytest

from acp_broker.broker.alarm import Alarm
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio


async def test_what_is_set_later_costs_no_timer_of_its_own_and_rings_at_its_time():
    """A turn arms one limit behind the other, and so do the turns of a session; the clock is asked once."""
    clock, rung = FakeClock(), []
    alarm = Alarm(clock)
    alarm.set(clock.now() + 1, lambda: rung.append("first"))
    alarm.put_off()
    alarm.set(clock.now() + 5, lambda: rung.append("second"))

    assert [1.0] == clock.armed
    await clock.advance(4.9)
    assert [] == rung
    await clock.advance(0.2)
    assert ["second"] == rung


async def test_what_is_set_earlier_rings_earlier_and_alone():
    """The limit of an agent's own retry is shorter than that of its first word."""
    clock, rung = FakeClock(), []
    alarm = Alarm(clock)
    alarm.set(clock.now() + 5, lambda: rung.append("first"))
    alarm.set(clock.now() + 1, lambda: rung.append("second"))
    await clock.advance(1)

    assert (["second"], []) == (rung, clock.armed)


async def test_what_is_put_off_never_rings_and_leaves_the_clock_in_its_time():
    """A turn that is over is nobody's business any more."""
    clock, rung = FakeClock(), []
    alarm = Alarm(clock)
    alarm.set(clock.now() + 5, lambda: rung.append("first"))
    alarm.put_off()
    await clock.advance(5)

    assert ([], []) == (rung, clock.armed)


async def test_what_is_put_off_is_kept_by_nobody():
    """The prompt of a turn that is over would stay in memory until its limit."""

    class Turn:
        def time_up(self) -> None:
            """Nothing."""

    alarm = Alarm(FakeClock())
    turn = Turn()
    alarm.set(2000.0, turn.time_up)
    alarm.put_off()
    gone = weakref.ref(turn)
    del turn
    gc.collect()

    assert gone() is None


async def test_one_that_is_stopped_leaves_nothing_with_the_clock():
    """A session that sleeps keeps nothing."""
    clock = FakeClock()
    alarm = Alarm(clock)
    alarm.set(clock.now() + 5, lambda: None)
    alarm.stop()

    assert [] == clock.armed


async def test_it_may_be_set_again_by_what_it_calls():
    """One limit is followed by the next."""
    clock, rung = FakeClock(), []
    alarm = Alarm(clock)

    def again() -> None:
        rung.append(clock.now())
        alarm.set(clock.now() + 1, again)

    alarm.set(clock.now() + 1, again)
    await clock.advance(2)

    assert [1001.0, 1002.0] == rung
