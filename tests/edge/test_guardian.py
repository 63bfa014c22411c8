"""The guardian as a real process, and the rules by which it and the household find and signal processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from acp_broker.edge import guardian
from acp_broker.edge.household import Household
from tests.edge.children import ENV, LIMIT_S, PAUSE, SAY_PID, Life, bystander, open_descriptors, script

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]

BROKER = r"""
import anyio
from acp_broker.edge.household import Household
from tests.edge.children import DAEMON, ENV, SETSID, Ear, script

async def main():
    async with Household(print) as household, anyio.create_task_group() as tasks:
        for code in (SETSID, DAEMON):
            child, ear = await household.spawn(script(code), env=ENV, cwd=None), Ear()
            tasks.start_soon(child.run, ear)
            print(child.pid, int(await ear.next()))
        print(household._guardian.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@contextmanager
def a_guardian(marker: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-I", "-S", guardian.__file__, marker]
    popen = subprocess.Popen(command, stdin=subprocess.PIPE, env={}, start_new_session=True)
    try:
        yield popen
    finally:
        popen.kill()
        popen.communicate()


def tell(popen: subprocess.Popen[bytes], *lines: str) -> None:
    """Tell the guardian these lines; then its broker dies."""
    assert popen.stdin is not None
    popen.stdin.write("".join(f"{line}\n" for line in lines).encode())
    popen.stdin.close()
    popen.wait(LIMIT_S)
    popen.stdin = None


def started(pid: int) -> int:
    seen = guardian.look(pid)
    assert seen is not None
    return seen.start


def test_it_ends_what_carries_its_marker_when_the_broker_dies() -> None:
    """The environment is inherited; sessions and parents do not matter."""
    with a_guardian("mine") as popen, bystander("mine.7") as marked:
        tell(popen)

        assert not marked.answers


@pytest.mark.parametrize("marker", [None, "yours.1", "mine", "mine2.1"])
def test_it_leaves_everybody_else_alone(marker: str | None) -> None:
    """Another broker's children, and the user's own programs."""
    with a_guardian("mine") as popen, bystander(marker) as other:
        tell(popen)

        assert other.answers


def test_it_ends_the_session_of_a_child_it_was_told_of() -> None:
    """A child that was given another environment has no marker."""
    with a_guardian("mine") as popen, bystander() as child:
        tell(popen, f"+{child.pid} {started(child.pid)}")

        assert not child.answers


def test_it_ends_the_session_of_a_child_that_is_dead_already() -> None:
    """A launcher may have gone before the broker; its session is still its own."""
    code = f"import os\nif os.fork() == 0:\n    {SAY_PID}"
    with a_guardian("mine") as popen:
        launcher = subprocess.Popen(script(code), stdout=subprocess.PIPE, start_new_session=True)
        start = started(launcher.pid)
        assert launcher.stdout is not None
        with Life(int(launcher.stdout.readline())) as left:
            launcher.wait()
            tell(popen, f"+{launcher.pid} {start}")
            launcher.stdout.close()

            assert left.is_over


def test_it_forgets_a_child_that_was_ended() -> None:
    """From then on the pid may be anybody's."""
    with a_guardian("mine") as popen, bystander() as other:
        start = started(other.pid)
        tell(popen, f"+{other.pid} {start}", f"-{other.pid} {start}")

        assert other.answers


def test_it_never_takes_a_recycled_pid_for_a_child() -> None:
    """The same pid with another start time is another process."""
    with a_guardian("mine") as popen, bystander() as other:
        tell(popen, f"+{other.pid} {started(other.pid) - 1}")

        assert other.answers


def test_it_ignores_the_signals_that_end_a_broker() -> None:
    """It is needed when everything else is told to go."""
    with a_guardian("mine") as popen, bystander("mine.1") as marked:
        _until_it_ignores_signals(popen.pid)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            popen.send_signal(number)
        tell(popen)

        assert (popen.returncode, marked.answers) == (0, False)


def test_nothing_outlives_a_broker_that_was_killed_with_its_whole_group() -> None:
    """Neither the children, nor what left their sessions, nor in the end the guardian."""
    broker = subprocess.Popen([sys.executable, "-c", BROKER], stdout=subprocess.PIPE, start_new_session=True, cwd=ROOT)
    with broker, ExitStack() as stack:
        assert broker.stdout is not None
        pids = b"".join(broker.stdout.readline() for _ in range(3)).split()
        lives = [stack.enter_context(Life(int(pid))) for pid in pids]
        os.killpg(broker.pid, signal.SIGKILL)

        assert [life.is_over_within(LIMIT_S) for life in lives] == [True] * 5


async def test_it_shares_nothing_with_the_broker(household: Household) -> None:
    """Not the session, no descriptor but the pipe, and no marker that it would find itself by."""
    await household.spawn(script(PAUSE), env=ENV, cwd=None)
    pid = household._guardian.pid
    assert pid is not None
    _until_it_ignores_signals(pid)

    assert (os.getsid(pid), open_descriptors(pid), guardian.marker_of(pid)) == (pid, ["0", "1", "2"], "")


async def test_a_guardian_that_was_killed_is_replaced(household: Household, logged: list[str]) -> None:
    """The next child is as safe as the first."""
    await household.spawn(script(PAUSE), env=ENV, cwd=None)
    first = household._guardian.pid
    assert first is not None
    with Life(first) as life:
        os.kill(first, signal.SIGKILL)
        await life.end()
    await household.spawn(script(PAUSE), env=ENV, cwd=None)

    assert (first != household._guardian.pid, logged) == (True, ["guardian.died"])


def test_all_are_frozen_before_any_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is forked while we look still has its parent at the second look."""
    first, second = (guardian.Seen(pid, 0, 1, 1, False, True) for pid in (-1, -2))
    looks = iter([[first], [first, second], [first, second]])
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(guardian, "send", lambda seen, number: sent.append((seen.pid, number)))

    guardian.kill(lambda: next(looks), LIMIT_S)

    stop, kill = signal.SIGSTOP, signal.SIGKILL
    assert sent == [(-1, stop), (-2, stop), (-1, kill), (-2, kill)]


def _until_it_ignores_signals(pid: int) -> None:
    """Its first lines run after the exec; until then it is as mortal as everybody."""
    deadline = time.monotonic() + LIMIT_S
    while not _ignored(pid) & 1 << signal.SIGTERM - 1:
        assert time.monotonic() < deadline


def _ignored(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("SigIgn:")[2].split()[0], 16)


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_a_recycled_pid_is_not_signalled(has_pidfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the signal the process may have become another one."""
    if not has_pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    with bystander() as other:
        seen = guardian.look(other.pid)
        assert seen is not None
        guardian.send(seen._replace(start=seen.start - 1), signal.SIGKILL)

        assert other.answers


def test_the_name_of_a_process_may_hold_anything() -> None:
    """proc(5) puts it between parentheses, unescaped; it must not shift the fields."""
    code = f"open('/proc/self/comm', 'w').write('a) R 1 (b'); print(flush=True)\n{PAUSE}"
    with subprocess.Popen(script(code), stdout=subprocess.PIPE) as popen:
        assert popen.stdout is not None
        popen.stdout.readline()
        seen = guardian.look(popen.pid)
        popen.kill()

    assert seen is not None
    assert seen.parent == os.getpid()
