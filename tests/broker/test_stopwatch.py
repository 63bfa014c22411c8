"""A turn's own time: it stands still while a frontend owes an answer."""

import pytest

from acp_broker.broker.alarm import Alarm
from acp_broker.broker.stopwatch import Stopwatch
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio


async def test_it_counts_from_its_beginning():
    """A turn's limits are its own, whenever it began."""
    clock = FakeClock()
    await clock.advance(5)
    watch = Stopwatch(clock, Alarm(clock))
    await clock.advance(2)

    assert 2.0 == watch.now()


async def test_it_stands_still_while_an_answer_is_owed():
    """A person who reads a permission request for an hour spends nobody's time."""
    clock = FakeClock()
    watch = Stopwatch(clock, Alarm(clock))
    await clock.advance(1)
    watch.owe()
    await clock.advance(3600)

    assert 1.0 == watch.now()


async def test_it_goes_on_where_it_stood():
    """The agent has the rest of its limit."""
    clock = FakeClock()
    watch = Stopwatch(clock, Alarm(clock))
    await clock.advance(1)
    watch.owe()
    await clock.advance(3600)
    watch.settle()
    await clock.advance(2)

    assert 3.0 == watch.now()


async def test_it_stands_still_until_the_last_answer():
    """Two permission requests side by side."""
    clock = FakeClock()
    watch = Stopwatch(clock, Alarm(clock))
    watch.owe()
    watch.owe()
    await clock.advance(10)
    watch.settle()
    await clock.advance(10)

    assert 0.0 == watch.now()


async def test_a_timer_rings_at_its_time():
    """Not before."""
    clock, rung = FakeClock(), []
    watch = Stopwatch(clock, Alarm(clock))
    watch.arm(5, lambda: rung.append(watch.now()))
    await clock.advance(10)

    assert [5.0] == rung


async def test_a_timer_is_put_off_by_what_was_owed():
    """The limit is of the agent's time, not of the person's."""
    clock, rung = FakeClock(), []
    watch = Stopwatch(clock, Alarm(clock))
    watch.arm(5, lambda: rung.append(clock.now() - 1000))
    await clock.advance(2)
    watch.owe()
    await clock.advance(100)
    watch.settle()
    await clock.advance(10)

    assert [105.0] == rung


async def test_a_timer_armed_while_an_answer_is_owed_begins_with_it():
    """A request may come in the very read that armed the timer."""
    clock, rung = FakeClock(), []
    watch = Stopwatch(clock, Alarm(clock))
    watch.owe()
    watch.arm(5, lambda: rung.append(clock.now() - 1000))
    await clock.advance(100)
    watch.settle()
    await clock.advance(10)

    assert [105.0] == rung


async def test_a_timer_replaces_the_one_before():
    """The machine has one timer."""
    clock, rung = FakeClock(), []
    watch = Stopwatch(clock, Alarm(clock))
    watch.arm(5, lambda: rung.append("first"))
    watch.arm(6, lambda: rung.append("second"))
    await clock.advance(10)

    assert ["second"] == rung


async def test_a_timer_that_was_disarmed_never_rings():
    """Not even after an answer that was owed."""
    clock, rung = FakeClock(), []
    watch = Stopwatch(clock, Alarm(clock))
    watch.arm(5, lambda: rung.append(1))
    watch.owe()
    watch.disarm()
    watch.settle()
    await clock.advance(10)

    assert [] == rung


async def test_it_shows_whole_microseconds():
    """As the log keeps them: the turn is played again from there."""
    clock = FakeClock()
    watch = Stopwatch(clock, Alarm(clock))
    await clock.advance(1 / 3)

    assert 0.333333 == watch.now()
