"""A flood of one event is a few lines and a number."""

import pytest

from acp_broker.edge.sparing import MOST_LINES, SparingLog
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio


class Heard(list[tuple[str, dict[str, object]]]):
    def log(self, event: str, **fields: object) -> None:
        self.append((event, fields))


async def test_few_lines_pass_as_they_are() -> None:
    """And nothing is said later."""
    heard, clock = Heard(), FakeClock()
    sparing = SparingLog(heard.log, clock)
    sparing("refused", why="wrong token")
    await clock.advance(120)

    assert [("refused", {"why": "wrong token"})] == heard


async def test_the_rest_is_counted_and_told_when_the_minute_is_over() -> None:
    """Even if nothing more comes."""
    heard, clock = Heard(), FakeClock()
    sparing = SparingLog(heard.log, clock)
    for _ in range(MOST_LINES + 5):
        sparing("refused")
    await clock.advance(60)

    assert [*[("refused", {})] * MOST_LINES, ("more_of_it", {"what": "refused", "count": 5})] == heard


async def test_each_event_has_its_own_measure() -> None:
    """A flood of one must not hide another."""
    heard, clock = Heard(), FakeClock()
    sparing = SparingLog(heard.log, clock)
    for _ in range(MOST_LINES + 1):
        sparing("refused")
    sparing("stalled")

    assert ("stalled", {}) == heard[-1]


async def test_the_next_minute_begins_anew() -> None:
    """Lines are rare again once a flood is over."""
    heard, clock = Heard(), FakeClock()
    sparing = SparingLog(heard.log, clock)
    for _ in range(MOST_LINES + 1):
        sparing("refused")
    await clock.advance(60)
    sparing("refused", why="another")

    assert ("refused", {"why": "another"}) == heard[-1]
