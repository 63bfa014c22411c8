"""A child process as a Channel, with real children: what they do to pipes, exit codes and our event loop."""

import os
import threading

import anyio
import pytest

from acp_broker.edge import process
from acp_broker.edge.household import Household
from acp_broker.edge.process import Process
from tests.edge.children import (
    ECHO,
    ENV,
    LIMIT_S,
    PAUSE,
    SAY_PID,
    Ear,
    listening,
    open_descriptors,
    script,
)

pytestmark = pytest.mark.anyio


async def taken(child: Process) -> None:
    """Wait until `pending` is zero."""
    empty = anyio.Event()
    child.when_drained(empty.set)
    if child.pending:
        await empty.wait()


async def test_a_line_goes_there_and_back(household: Household) -> None:
    """The reason why there is a process at all."""
    child = await household.spawn(script(ECHO), env=ENV, cwd=None)

    async with listening(child) as ear:
        child.write(b"hello\n")
        assert await ear.next() == b"hello"
        await child.stop(eof_grace_s=LIMIT_S, term_grace_s=0)


async def test_ten_megabytes_arrive_in_order_and_in_few_batches(household: Household) -> None:
    """One read is one batch: the price of an update must not be a wake-up."""
    code = r"import sys; sys.stdout.write(''.join(f'{n:099}\n' for n in range(100_000)))"
    child = await household.spawn(script(code), env=ENV, cwd=None)
    ear = Ear()

    await child.run(ear)

    assert [b"%099d" % n for n in range(100_000)] == ear.lines
    assert len(ear.batches) < 4_000


async def test_a_child_that_never_reads_does_not_block_us(household: Household) -> None:
    """Its pipe holds 64 KiB; the rest waits here and is counted."""
    child = await household.spawn(script(PAUSE), env=ENV, cwd=None)

    child.write(b"x" * 1_000_000)

    assert 900_000 < child.pending < 1_000_000


async def test_what_did_not_fit_is_sent_in_order_when_there_is_room(household: Household) -> None:
    """A large prompt takes many writes of the system's; the child must not notice."""
    child = await household.spawn(script(ECHO), env=ENV, cwd=None)
    lines = [b"%d" % n * 50 for n in range(20_000)]

    async with listening(child) as ear:
        child.write(b"\n".join(lines) + b"\n")
        child.close_stdin()
        assert await child.wait() == 0
    assert lines == ear.lines


async def test_it_is_told_when_everything_is_taken(household: Household) -> None:
    """Who writes much can wait for the slow reader."""
    child = await household.spawn(script(ECHO), env=ENV, cwd=None)

    async with listening(child):
        child.write(b"x" * 999_999 + b"\n")
        with anyio.fail_after(LIMIT_S):
            await taken(child)
        assert child.pending == 0
        child.close_stdin()


async def test_it_is_told_when_the_child_dies(household: Household) -> None:
    """Nobody takes what is left; waiting for it would be for ever."""
    child = await household.spawn(script(PAUSE), env=ENV, cwd=None)
    child.write(b"x" * 1_000_000)
    child.kill()

    with anyio.fail_after(LIMIT_S):
        await taken(child)


async def test_it_is_told_when_the_child_dies_but_a_grandchild_holds_its_stdin(household: Household) -> None:
    """No broken pipe tells it then."""
    child = await household.spawn(script("import os, signal\nif os.fork() == 0: signal.pause()"), env=ENV, cwd=None)
    child.write(b"x" * 1_000_000)

    with anyio.fail_after(LIMIT_S):
        await taken(child)


async def test_writing_to_a_closed_stdin_is_dropped(household: Household) -> None:
    """A broken pipe is no news: `wait` tells that the child is gone, and this one is not."""
    child = await household.spawn(script(f"import os; os.close(0)\n{SAY_PID}"), env=ENV, cwd=None)

    async with listening(child) as ear:
        await ear.next()
        for _ in range(3):
            child.write(b"anybody there?\n")
        await child.stop(eof_grace_s=0, term_grace_s=0)
    assert child.pending == 0


async def test_run_ends_when_the_child_closes_its_stdout_and_lives_on(household: Household) -> None:
    """An agent that cannot speak any more is gone for us, alive or not."""
    child = await household.spawn(script(f"import os; os.close(1)\n{PAUSE}"), env=ENV, cwd=None)

    with anyio.fail_after(LIMIT_S):
        await child.run(Ear())

    assert child.returncode is None


async def test_run_ends_although_a_grandchild_holds_stdout_open(household: Household) -> None:
    """The end of input never comes then; the exit of the child has to do."""
    code = "import os, signal\nif os.fork() == 0: signal.pause()\nos.write(1, b'last words\\n')"
    child = await household.spawn(script(code), env=ENV, cwd=None)
    ear = Ear()

    with anyio.fail_after(LIMIT_S):
        await child.run(ear)

    assert ear.lines == [b"last words"]


async def test_everything_said_before_the_exit_is_handed_over(household: Household) -> None:
    """The answer and the exit may come together, and `run` may be called after both."""
    child = await household.spawn(script(r"import os; os.write(1, b'answer\n' * 9000)"), env=ENV, cwd=None)
    await child.wait()
    ear = Ear()

    await child.run(ear)

    assert ear.lines == [b"answer"] * 9000


async def test_everything_said_before_the_exit_is_handed_over_while_a_grandchild_holds_stdout(
    household: Household,
) -> None:
    """Then no end of input tells that this was all."""
    code = "import os, signal\nos.write(1, b'answer\\n' * 9000)\nif os.fork() == 0: signal.pause()"
    child = await household.spawn(script(code), env=ENV, cwd=None)
    await child.wait()
    ear = Ear()

    with anyio.fail_after(LIMIT_S):
        await child.run(ear)

    assert ear.lines == [b"answer"] * 9000


async def test_a_last_line_without_its_newline_is_handed_over(household: Household) -> None:
    """Some programs end their output so; what it is worth is for the reader to say."""
    child = await household.spawn(script("import os; os.write(1, b'one\\ntwo')"), env=ENV, cwd=None)
    await child.wait()
    ear = Ear()

    await child.run(ear)

    assert ear.lines == [b"one", b"two"]


async def test_a_stopped_process_says_nothing_more(household: Household) -> None:
    """Its pipes are closed; reading from them would read from somebody else's."""
    child = await household.spawn(script(ECHO), env=ENV, cwd=None)
    await child.stop(eof_grace_s=0, term_grace_s=0)
    ear = Ear()

    await child.run(ear)
    child.write(b"too late\n")

    assert ear.lines == []


async def test_stderr_is_kept_to_its_last_eight_kilobytes(household: Household) -> None:
    """The failure's text is at the end, below pages of progress bars."""
    code = r"import os; os.write(2, b'progress ' * 50_000 + b'\xff the reason')"
    child = await household.spawn(script(code), env=ENV, cwd=None)

    await child.wait()

    tail = child.stderr_tail()
    assert tail.endswith("progress \N{REPLACEMENT CHARACTER} the reason")
    assert len(tail) == process.STDERR_TAIL_BYTES


async def test_stderr_is_complete_when_the_exit_is_known(household: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    """The news of the exit may overtake the last words."""
    monkeypatch.delattr(os, "pidfd_open")
    child = await household.spawn(script("import os; os.write(2, b'the reason')"), env=ENV, cwd=None)
    for thread in threading.enumerate():  # it may have ended by now
        if thread.name == f"wait-{child.pid}":
            thread.join()

    await child.wait()

    assert child.stderr_tail() == "the reason"


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)])
async def test_wait_tells_how_the_child_ended(household: Household, code: str, status: int) -> None:
    """As subprocess says it: the exit code, or below zero the signal."""
    child = await household.spawn(script(code), env=ENV, cwd=None)

    with anyio.fail_after(LIMIT_S):
        assert status == await child.wait()


async def test_wait_tells_how_the_child_ended_where_nobody_can_peek(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS before Python 3.13 has no waitid."""
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(process, "CAN_PEEK", False)
    child = await household.spawn(script("raise SystemExit(7)"), env=ENV, cwd=None)

    assert await child.wait() == 7


async def test_fifty_children_leave_no_descriptor_behind(household: Household) -> None:
    """A broker lives for weeks."""
    await (await household.spawn(script(PAUSE), env=ENV, cwd=None)).stop(eof_grace_s=0, term_grace_s=0)
    before = len(open_descriptors())

    for _ in range(50):
        child = await household.spawn(["sleep", "1000"], env=ENV, cwd=None)
        async with listening(child):
            await child.stop(eof_grace_s=0, term_grace_s=0)

    assert before == len(open_descriptors())
