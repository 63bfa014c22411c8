"""A child process as a Channel: its stdin and stdout carry the lines, its stderr is kept for the failure's text.

The leader stays a zombie until `stop` has ended all that belongs to it: so its pid, its group and its session cannot
become somebody else's while we still aim at them. Therefore every Process must be stopped, a dead one too.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable

import anyio
from anyio import CancelScope, to_thread

from acp_broker.edge import guardian
from acp_broker.edge.channel import OnLines
from acp_broker.edge.launch import Pipes
from acp_broker.edge.pipes import READ_BYTES, OwnPipe, Reader, Writer

# Node prints a stack of 1 to 4 KiB when it dies; twice the larger keeps the line above it.
STDERR_TAIL_BYTES = 8 * 1024
# How long the event loop may be held by `kill`. A look at 500 processes takes some 10 ms.
KILL_LIMIT_S = 0.1
# A status that somebody else in our process took away; asyncio says the same.
UNKNOWN_STATUS = 255
# With it a dead leader can be looked at and left a zombie. macOS has it from Python 3.13.
CAN_PEEK = hasattr(os, "waitid")


class Process:
    """A child that runs. `find` looks, off the event loop, for all that belongs to it."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        pipes: Pipes,
        find: guardian.Find,
        ended: Callable[[guardian.Ended], None],
        max_line_bytes: int,
    ) -> None:
        self.pid = popen.pid
        self.returncode: int | None = None
        self._popen = popen
        self._find = find
        self._ended: Callable[[guardian.Ended], None] | None = ended
        self._writer = Writer(OwnPipe(pipes.stdin))
        self._stdout: int | None = pipes.stdout
        self._is_reading = False
        self._reader = Reader(pipes.stdout, max_line_bytes)
        self._stderr = _Tail(pipes.stderr)
        self._exited = anyio.Event()
        self._stopping = anyio.Lock()
        _watch_exit(popen.pid, self._on_exit)

    @property
    def pending(self) -> int:
        return self._writer.pending

    def write(self, data: bytes) -> None:
        """Send whole lines, in order, without waiting; dropped once the child is gone."""
        self._writer.write(data)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call back each time `pending` falls to zero after it was more."""
        self._writer.when_drained(callback)

    def close_stdin(self) -> None:
        """The child sees the end of its input once it has read what was written."""
        if self._writer.pending:
            self._writer.when_drained(self._writer.close)
        else:
            self._writer.close()

    async def run(self, on_lines: OnLines) -> None:
        """Hand over what arrives, one call per read, until the child closes its stdout or ends.

        It does not wait for a grandchild that holds stdout open. To be called once.
        """
        if self._stdout is None:
            return
        self._is_reading = True
        if self.returncode is not None:
            self._finish_reading(self._stdout)
        try:
            await self._reader.run(on_lines)
        finally:
            self._is_reading = False
            if self._ended is None:
                self._close_stdout()

    def stderr_tail(self) -> str:
        """The last 8 KiB of what the child said on stderr."""
        return self._stderr.text()

    async def wait(self) -> int:
        """Wait for the exit status: below zero the signal that killed it, as in subprocess."""
        await self._exited.wait()
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        """SIGKILL to all of it, now; holds the event loop for milliseconds. `stop` must still follow."""
        if self._ended is None:
            return
        if guardian.HAS_PROC:
            guardian.kill(self._find, KILL_LIMIT_S)
        else:
            guardian.end_groups({self.pid: 0})

    async def stop(self, *, eof_grace_s: float, term_grace_s: float) -> None:
        """Close stdin and wait, send SIGTERM to all of it and wait, kill all that is left; nothing of it is alive then.

        Cancelling shortens the waiting, not the killing. Stopping twice, or what has exited, is right.
        """
        try:
            self.close_stdin()
            with anyio.move_on_after(eof_grace_s):
                await self._exited.wait()
            if term_grace_s > 0 and self._ended is not None:
                await self._ask(term_grace_s)
        finally:
            with CancelScope(shield=True):
                async with self._stopping:
                    await self._end()

    async def _ask(self, grace_s: float) -> None:
        if guardian.HAS_PROC:
            await to_thread.run_sync(guardian.ask, self._find, grace_s, abandon_on_cancel=True)
            return
        if self.returncode is None:
            os.killpg(self.pid, signal.SIGTERM)
        with anyio.move_on_after(grace_s):
            await self._exited.wait()

    async def _end(self) -> None:
        if self._ended is None:
            return
        ended = guardian.Ended([], [])
        if guardian.HAS_PROC:
            ended = await to_thread.run_sync(guardian.end, self._find)
        elif CAN_PEEK or self.returncode is None:
            guardian.end_groups({self.pid: 0})
        with anyio.move_on_after(guardian.END_LIMIT_S):
            await self._exited.wait()
        self._on_exit(-signal.SIGKILL)  # if we have not seen it die by now, the kernel holds it and we let go
        tell, self._ended = self._ended, None
        tell(ended)
        self._popen.poll()
        self._popen.returncode = self.returncode
        if not self._is_reading:
            self._close_stdout()

    def _on_exit(self, returncode: int) -> None:
        if self.returncode is not None:
            return
        self.returncode = returncode
        self._exited.set()
        self._writer.close()
        self._stderr.finish()
        if self._is_reading and self._stdout is not None:
            self._finish_reading(self._stdout)

    def _finish_reading(self, stdout: int) -> None:
        """End `run` once what the pipe holds now was read: one read per turn of the loop, one more for its end."""
        unread = int.from_bytes(fcntl.ioctl(stdout, termios.FIONREAD, bytes(4)), sys.byteorder)
        self._stop_reading(unread // READ_BYTES + 3)

    def _stop_reading(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._stop_reading, turns - 1)
        else:
            self._reader.stop()

    def _close_stdout(self) -> None:
        if self._stdout is not None:
            os.close(self._stdout)
            self._stdout = None


def _watch_exit(pid: int, on_exit: Callable[[int], None]) -> None:
    """Call `on_exit` on the event loop with the exit status; on Linux without a thread."""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):
        waiting = threading.Thread(
            target=lambda: loop.call_soon_threadsafe(on_exit, _wait_for_status(pid)), name=f"wait-{pid}", daemon=True
        )
        waiting.start()
        return

    def on_readable() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        on_exit(_wait_for_status(pid))

    loop.add_reader(handle, on_readable)


def _wait_for_status(pid: int) -> int:
    try:
        if CAN_PEEK:
            info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            assert info is not None
            return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        _, status = os.waitpid(pid, 0)
        # The pid is free from here on: what is left of the group ends now, or could never be aimed at again.
        guardian.end_groups({pid: 0})
        return os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        return UNKNOWN_STATUS


class _Tail:
    """Reads a descriptor to its end and keeps the last bytes."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._kept = b""
        asyncio.get_running_loop().add_reader(fd, self._readable)

    def text(self) -> str:
        return self._kept.decode(errors="replace")

    def finish(self) -> None:
        """Take what is there now, then close: others may hold the pipe open for ever."""
        self._readable()
        self._close()

    def _readable(self) -> None:
        if self._fd is None:
            return
        try:
            chunk = os.read(self._fd, 64 * 1024)
        except BlockingIOError:
            return
        if chunk:
            self._kept = (self._kept + chunk)[-STDERR_TAIL_BYTES:]
        else:
            self._close()

    def _close(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
