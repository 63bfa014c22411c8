"""Left-overs of dead brokers end; whatever cannot be proved to be one lives on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_broker.edge import sweep
from acp_broker.edge.household import Household
from acp_broker.edge.sweep import Origin
from tests.edge.children import LIMIT_S, PAUSE, Life, bystander, script

HERE = sweep.origin()


def marked(broker: Origin) -> str:
    return f"{sweep.new_marker(broker)}.1"


def started(pid: int) -> Origin:
    seen = sweep.guardian.look(pid)
    assert seen is not None
    return HERE._replace(pid=pid, start=seen.start)


@pytest.fixture
def gone() -> Origin:
    """A broker that ended and was buried."""
    with subprocess.Popen(script(PAUSE)) as popen:
        broker = started(popen.pid)
        popen.kill()
    return broker


@pytest.fixture
def zombie() -> Iterator[Origin]:
    """A broker that ended, which nobody has noticed."""
    with subprocess.Popen(script(PAUSE)) as popen, Life(popen.pid) as life:
        broker = started(popen.pid)
        popen.kill()
        life.is_over_within(LIMIT_S)
        yield broker


def test_the_left_over_of_a_broker_that_is_gone_is_ended(gone: Origin) -> None:
    """It would hold a workspace that a new agent is about to enter."""
    with bystander(marked(gone)) as left:
        name = Path(f"/proc/{left.pid}/comm").read_text().strip()
        swept = sweep.sweep()

        assert (f"{left.pid} ({name})" in swept, left.answers) == (True, False)


def test_a_zombie_broker_counts_as_dead(zombie: Origin) -> None:
    """Its parent may not look for hours, and it does nothing any more."""
    with bystander(marked(zombie)) as left:
        sweep.sweep()

        assert not left.answers


def test_a_recycled_pid_counts_as_dead() -> None:
    """Whoever has the pid now, started at another time, is not that broker."""
    with bystander(marked(HERE._replace(start=HERE.start - 1))) as left:
        sweep.sweep()

        assert not left.answers


@pytest.mark.parametrize(
    "marker",
    [
        None,
        marked(HERE),
        marked(HERE._replace(pid=1 << 30, boot="another-boot")),
        marked(HERE._replace(pid=1 << 30, namespace="1")),
        "no marker of ours",
        "a.b.c.d.e.f",
        "",
    ],
    ids=["unmarked", "alive", "another boot", "another namespace", "strange", "malformed", "empty"],
)
def test_what_no_dead_broker_left_lives_on(marker: str | None) -> None:
    """Sweeping is for what is proved, not for what is likely."""
    with bystander(marker) as other:
        sweep.sweep()

        assert other.answers


def test_the_broker_of_another_user_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hidepid, /proc does not show it; but it can be asked for."""

    def not_yours(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(sweep.guardian, "look", lambda pid: None)
    monkeypatch.setattr(os, "kill", not_yours)

    assert not sweep.is_dead(HERE, HERE)


def test_a_sweeper_that_is_itself_left_over_spares_itself(gone: Origin) -> None:
    """A broker that ran inside of a dead broker's child must first do its work."""
    code = "from acp_broker.edge.sweep import sweep; sweep(); print('alive')"
    env = {**os.environ, sweep.guardian.VARIABLE: marked(gone)}

    assert subprocess.check_output([sweep.guardian.sys.executable, "-c", code], env=env) == b"alive\n"


@pytest.mark.anyio
async def test_the_household_logs_what_it_swept(household: Household, logged: list[str], gone: Origin) -> None:
    """Killing somebody's processes is not done in silence."""
    with bystander(marked(gone)):
        await household.sweep()

    assert logged == ["child.swept"]
