"""Failover Bench's sixteen faults and the eighteen drills of the gateways, by a real `acp-broker` between real sockets.

S15 takes a minute and a half of real time: it is played by the clock, in a broker within the test.
"""

import pytest
from msgspec import Struct

from tests.support import drilling, drills_page
from tests.support.drills import BENCH, GATEWAYS, PRIMARY, SPARE, Drill, Row, Seen, faults, flap_row, letter, row, score
from tests.support.matrix import played

pytestmark = pytest.mark.anyio

EXPECTED = drills_page.rows()


class Play(Struct, frozen=True, eq=False):
    drill: Drill
    api: str

    @property
    def name(self) -> str:
        return f"{self.drill.name.replace(', ', '-').replace(' ', '-')}-{self.api}"


# Elsewhere the same faults have other shapes: those of Failover Bench are played for each.
PLAYS = [
    *(Play(drill, "chat") for drill in (*BENCH, *GATEWAYS)),
    *(Play(drill, api) for api in drilling.APIS if api != "chat" for drill in BENCH),
]


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    with (
        drilling.theatre() as portal,
        played(
            request, tmp_path_factory, lambda cell, folder: drilling.play(portal, cell.drill, cell.api, folder)
        ) as outcomes,
    ):
        yield outcomes


@pytest.mark.parametrize("cell", PLAYS, ids=lambda cell: cell.name)
def test_a_drill_comes_to_what_the_page_says(seen, cell: Play):
    """To mend the page: python -m tests.support.drills_page"""
    drill = cell.drill
    found, expected = row(drill, seen[cell].result()), EXPECTED[drill.name]

    # How long an account rests that is out of credit, and by what name a provider calls its trouble, is the provider's.
    same = found if cell.api == "chat" else expected._replace(verdict=found.verdict, letter=found.letter)
    assert expected == same


async def test_a_primary_that_flaps_comes_to_what_the_page_says(tmp_path):
    """S15: served throughout, asked twice in the outage, back within half a minute."""
    assert EXPECTED["S15"] == await drilling.flap(tmp_path)


def test_nothing_on_the_page_fails():
    """A whole answer, or, where words were shown, a clean error that keeps them."""
    verdicts = {name: one.verdict for name, one in EXPECTED.items()}
    safe = {name for name, verdict in verdicts.items() if verdict == "safe"}

    assert (36, {"pass", "safe"}) == (len(verdicts), set(verdicts.values()))
    assert {"S08", "S09", "S10", "S14"} == safe


GOOD = Seen("end_turn", SPARE, "spare", ("overloaded",), 5, "spare-model", 1, 1, 0, 0, 30.0, SPARE)
BROKEN = Seen(-33002, "alpha ", None, ("server_error",), None, None, 1, 0, 0, 0, 30.0, SPARE)
DRILL = Drill("S04", "503", "503")


@pytest.mark.parametrize(
    "bad",
    [
        GOOD._replace(words="one two "),
        GOOD._replace(words="alpha one two three four five"),
        GOOD._replace(words=PRIMARY),
        GOOD._replace(outcome="max_tokens"),
        GOOD._replace(failed=()),
        GOOD._replace(tokens=9),
        GOOD._replace(tokens=4),
        GOOD._replace(model="primary-model"),
        GOOD._replace(primary=2),
        GOOD._replace(fallback=2),
        GOOD._replace(again=1),
        GOOD._replace(next_words=""),
        BROKEN._replace(words="alpha one "),
        BROKEN._replace(words="beta "),
        BROKEN._replace(outcome=-32603),
        BROKEN._replace(fallback=1),
    ],
)
def test_what_nobody_may_do_fails(bad):
    """A scorer that passes everything proves nothing."""
    assert ("fail", "fail") == (score(DRILL, bad)[0], letter(DRILL, bad))


@pytest.mark.parametrize(
    ("drill", "seen", "expected"),
    [
        (DRILL, GOOD, ("pass", "pass")),
        (DRILL, BROKEN, ("safe", "safe")),
        (DRILL._replace(wants_retry=True), GOOD, ("pass", "partial")),
        (DRILL._replace(ideal="either"), GOOD, ("pass", "partial")),
        (DRILL._replace(ideal="either"), BROKEN, ("pass", "pass")),
        (DRILL._replace(ideal="error"), BROKEN, ("pass", "safe")),
        (DRILL._replace(ideal="error"), GOOD, ("fail", "pass")),
        (DRILL._replace(rest_s=2.0), GOOD, ("fail", "fail")),
        (DRILL._replace(fault="stall-mid"), GOOD, ("fail", "fail")),
        (DRILL._replace(fault="stall-mid"), GOOD._replace(left=1), ("pass", "pass")),
    ],
)
def test_the_score_is_by_both_sides(drill, seen, expected):
    """The caller's view, the provider's, and what Failover Bench says to the same."""
    assert expected == (score(drill, seen)[0], letter(drill, seen))


def test_a_flapping_primary_is_held_to_its_rules():
    """As the other faults are."""
    calm = [SPARE] * 16 + [PRIMARY] * 4
    verdicts = [
        flap_row(answers, in_outage, asked).verdict
        for answers, in_outage, asked in [
            (calm, 2, 6),
            (calm[:-1], 2, 6),
            ([SPARE] * 20, 2, 2),
            (calm, 3, 7),
            (calm, 2, 7),
        ]
    ]

    assert ["pass", "fail", "fail", "fail", "fail"] == [verdict.partition(";")[0] for verdict in verdicts]


def test_the_reasons_are_named():
    """Whoever sees a drill fail sees why."""
    assert ["another's usage is told", "the primary is asked twice"] == faults(
        DRILL, GOOD._replace(tokens=4, primary=2)
    )


def test_a_page_is_written_as_it_is_read():
    """The tables hold each drill once, in order."""
    page = drills_page.PAGE.read_text()
    bench = [EXPECTED[name] for name in sorted([*(drill.name for drill in BENCH), "S15"])]
    gateways = [EXPECTED[drill.name] for drill in GATEWAYS]

    assert page == drills_page.written(page, bench, [Row(*one) for one in gateways])
