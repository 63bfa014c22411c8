"""The arithmetic of who must wait and who has stalled, without a socket."""

import pytest

from acp_broker.edge.throttle import WEIGHT_BYTES, Progress, Throttle, weight


def test_some_seconds_worth_go_at_once() -> None:
    """A client that was quiet, and comes back with much to ask, is no flood."""
    throttle = Throttle(burst_s=3.0)

    assert [0.0, 0.0, 0.0] == [throttle.take(100, 100, 1000.0) for _ in range(3)]


def test_what_is_more_must_wait_until_it_is_paid_for() -> None:
    """Fifty too many at a hundred per second: half a second."""
    throttle = Throttle(burst_s=3.0)
    throttle.take(300, 100, 1000.0)

    assert 0.5 == throttle.take(50, 100, 1000.0)


def test_quiet_time_pays_back_no_more_than_the_burst() -> None:
    """A client that was silent for an hour may not flood for an hour."""
    throttle = Throttle(burst_s=3.0)
    throttle.take(1, 100, 0.0)
    throttle.take(300, 100, 3600.0)

    assert 1.0 == throttle.take(100, 100, 3600.0)


def test_the_waiting_time_runs_off() -> None:
    """`wait` asks without counting."""
    throttle = Throttle(burst_s=0.0)
    throttle.take(100, 100, 1000.0)

    assert [1.0, 0.5, 0.0] == [throttle.wait(now) for now in (1000.0, 1000.5, 1002.0)]


def test_another_rate_holds_from_the_next_message() -> None:
    """limits.messagesPerSecond may change while a client is connected."""
    throttle = Throttle(burst_s=1.0)
    throttle.take(100, 100, 1000.0)

    assert pytest.approx(0.01) == throttle.take(10, 1000, 1000.0)


def test_a_steady_stream_below_the_rate_never_waits() -> None:
    """Nothing adds up over an hour."""
    throttle = Throttle(burst_s=1.0)

    assert 0.0 == max(throttle.take(99, 100, float(second)) for second in range(3600))


def test_long_messages_weigh_more() -> None:
    """Small ones only what they are."""
    assert [5, 5, 7] == [weight(5, 0), weight(5, WEIGHT_BYTES - 1), weight(5, 2 * WEIGHT_BYTES)]


def test_whoever_takes_anything_is_not_idle() -> None:
    """Slow is not stalled."""
    progress = Progress(0, 1000.0)

    assert [10.0, 0.0, 5.0] == [progress.idle_s(*seen) for seen in ((0, 1010.0), (1, 1020.0), (1, 1025.0))]
