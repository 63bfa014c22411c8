"""Stopping a child: politely first, and then so that nothing of it is left, wherever it went."""

import os
import signal
from pathlib import Path

import anyio
import pytest

from acp_broker.edge import guardian
from acp_broker.edge.household import Household
from tests.edge.children import (
    DAEMON,
    ENV,
    LIMIT_S,
    SAY_PID,
    SETSID,
    WIPED_DAEMON,
    Life,
    listening,
    script,
)

pytestmark = pytest.mark.anyio

STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"ready\\n")
while True: signal.pause()
"""
FORKING = """
import os, time
held = os.open(fifo, os.O_WRONLY)
os.set_inheritable(held, True)
for count in range(500):
    if os.fork() == 0:
        os.setsid()
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    if count == 20: os.write(1, b"ready\\n")
    time.sleep(0.001)
"""
OBEDIENT = """
import os, signal
def save_and_exit(*_):
    sum(range(2_000_000))
    os._exit(4)
signal.signal(signal.SIGTERM, save_and_exit)
os.write(1, b"ready\\n")
while True: signal.pause()
"""


async def test_a_child_may_leave_by_itself_at_the_end_of_its_input(household: Household) -> None:
    """Most agents do; a signal would cost them what they have not saved."""
    child = await household.spawn(script("import sys; sys.stdin.read(); sys.exit(3)"), env=ENV, cwd=None)

    await child.stop(eof_grace_s=LIMIT_S, term_grace_s=0)

    assert child.returncode == 3


async def test_a_child_may_leave_at_sigterm(household: Household) -> None:
    """claude answers its running prompt then."""
    child = await household.spawn(script(OBEDIENT), env=ENV, cwd=None)

    async with listening(child) as ear:
        await ear.next()
        await child.stop(eof_grace_s=0, term_grace_s=LIMIT_S)

    assert child.returncode == 4


@pytest.mark.usefixtures("kernel")
async def test_a_child_that_ignores_everything_is_killed(household: Household) -> None:
    """gemini, qwen, codex1 and cline survive a SIGTERM for seconds."""
    child = await household.spawn(script(STUBBORN), env=ENV, cwd=None)

    async with listening(child) as ear:
        await ear.next()
        await child.stop(eof_grace_s=0.01, term_grace_s=0.01)

    assert child.returncode == -signal.SIGKILL


async def test_cancelling_a_stop_shortens_only_the_waiting(household: Household) -> None:
    """Whoever is in a hurry still leaves nothing behind."""
    child = await household.spawn(script(STUBBORN), env=ENV, cwd=None)

    with anyio.move_on_after(0.01):
        await child.stop(eof_grace_s=1000, term_grace_s=1000)

    assert child.returncode == -signal.SIGKILL


async def test_cancelling_the_wait_after_sigterm_still_kills(household: Household) -> None:
    """That wait is a thread's; it must not hold up the killing."""
    child = await household.spawn(script(STUBBORN), env=ENV, cwd=None)

    async with listening(child) as ear:
        await ear.next()
        with anyio.move_on_after(0.05):
            await child.stop(eof_grace_s=0, term_grace_s=1000)

    assert child.returncode == -signal.SIGKILL


async def test_two_may_stop_the_same_process(household: Household) -> None:
    """The end of a turn and the end of the broker can come together."""
    child = await household.spawn(script(STUBBORN), env=ENV, cwd=None)

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(lambda: child.stop(eof_grace_s=0, term_grace_s=0))

    assert child.returncode == -signal.SIGKILL


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("code", [SETSID, DAEMON, WIPED_DAEMON], ids=["setsid", "daemon", "wiped daemon"])
async def test_what_left_its_parents_dies_with_stop(household: Household, code: str) -> None:
    """A build server that an agent started must not hold the workspace after it."""
    child = await household.spawn(script(code), env=ENV, cwd=None)

    async with listening(child) as ear:
        with Life(int(await ear.next())) as daemon:
            await child.stop(eof_grace_s=LIMIT_S, term_grace_s=0)

            assert daemon.is_over


async def test_what_left_its_parents_leaves_no_zombie(household: Household) -> None:
    """As its subreaper we are the only ones who can bury it."""
    child = await household.spawn(script(DAEMON), env=ENV, cwd=None)

    async with listening(child) as ear:
        daemon = int(await ear.next())
        await child.stop(eof_grace_s=0, term_grace_s=0)

    assert [guardian.look(daemon), guardian.look(child.pid)] == [None, None]


async def test_what_a_crashed_child_left_dies_with_stop(household: Household) -> None:
    """The child is a zombie until then, so that its session is still known."""
    code = f"import os\nif os.fork() == 0:\n    {SAY_PID}\nos.read(0, 1)\nos._exit(1)"
    child = await household.spawn(script(code), env=ENV, cwd=None)

    async with listening(child) as ear:
        with Life(int(await ear.next())) as grandchild:
            child.close_stdin()
            assert (await child.wait(), grandchild.is_over) == (1, False)
            await child.stop(eof_grace_s=0, term_grace_s=0)

            assert grandchild.is_over


async def test_nobody_escapes_who_is_forked_while_we_look(household: Household, tmp_path: Path) -> None:
    """Without a marker, one that loses its parent unseen would be nobody's: so all are frozen before any is killed."""
    fifo = tmp_path / "held-open-by-all-of-them"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    child = await household.spawn(script(f"fifo = {str(fifo)!r}\n{FORKING}"), env=ENV, cwd=None)

    async with listening(child) as ear:
        await ear.next()
        await child.stop(eof_grace_s=0, term_grace_s=0)

    # A pipe that nobody can write to is at its end; else the read would have to wait.
    assert os.read(held, 1) == b""
    os.close(held)


@pytest.mark.usefixtures("kernel")
async def test_kill_reaches_what_left_the_session(household: Household) -> None:
    """Between two breaths there is no time to wait for a thread."""
    child = await household.spawn(script(SETSID), env=ENV, cwd=None)

    async with listening(child) as ear:
        with Life(int(await ear.next())) as grandchild:
            child.kill()
            await grandchild.end()
            assert await child.wait() == -signal.SIGKILL


async def test_stopping_one_child_leaves_the_others_alone(household: Household) -> None:
    """Each has a marker and a session of its own."""
    one, other = [await household.spawn(script(DAEMON), env=ENV, cwd=None) for _ in range(2)]

    async with listening(one), listening(other) as ear:
        with Life(int(await ear.next())) as daemon:
            await one.stop(eof_grace_s=0, term_grace_s=0)

            assert (daemon.is_over, other.returncode) == (False, None)
            await other.stop(eof_grace_s=0, term_grace_s=0)


async def test_without_proc_the_group_is_ended(household: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS: all that can be done there."""
    child = await household.spawn(
        script(f"import os, signal\nif os.fork() == 0:\n    {SAY_PID}\nsignal.pause()"), env=ENV, cwd=None
    )
    monkeypatch.setattr(guardian, "HAS_PROC", False)

    async with listening(child) as ear:
        with Life(int(await ear.next())) as grandchild:
            await child.stop(eof_grace_s=0, term_grace_s=0)

            await grandchild.end()
