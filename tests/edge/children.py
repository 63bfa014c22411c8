"""What the tests of child processes share: scripts to start, an ear for what they say, a sure way to see them die."""

import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Self

import anyio

from acp_broker.edge import guardian
from acp_broker.edge.process import Process

ENV = dict(os.environ)
# How long a test waits for what must happen, before it fails.
LIMIT_S = 20
# Taken before a test hides it from the code.
pidfd_open = getattr(os, "pidfd_open", None)

PAUSE = "import signal; signal.pause()"
ECHO = """
import os
while data := os.read(0, 65536):
    os.write(1, data)
"""
# Says its pid, then lives on, whatever becomes of its parents.
SAY_PID = r"import os, signal; os.write(1, b'%d\n' % os.getpid()); signal.pause()"
SETSID = f"""
import os, signal
if os.fork() == 0:
    os.setsid()
    exec({SAY_PID!r})
while os.read(0, 65536): pass
"""
DAEMON = f"""
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        exec({SAY_PID!r})
    os._exit(0)
os.wait()
while os.read(0, 65536): pass
"""
WIPED_DAEMON = f"""
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", {SAY_PID!r}], {{}})
    os._exit(0)
os.wait()
while os.read(0, 65536): pass
"""


def script(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def open_descriptors(pid: int | str = "self") -> list[str]:
    return sorted(fd.name for fd in Path(f"/proc/{pid}/fd").iterdir())


class Life:
    """A hold on one process that a recycled pid cannot fool."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = pidfd_open(pid)

    @property
    def is_over(self) -> bool:
        return self.is_over_within(0)

    def is_over_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    async def end(self) -> None:
        with anyio.fail_after(LIMIT_S):
            await anyio.wait_readable(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


class Ear:
    """Collects what a process says; each call is one batch."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self._heard = anyio.Event()
        self._taken = 0

    def __call__(self, lines: list[bytes]) -> None:
        self.batches.append(lines)
        self._heard.set()
        self._heard = anyio.Event()

    @property
    def lines(self) -> list[bytes]:
        return [line for batch in self.batches for line in batch]

    async def next(self) -> bytes:
        with anyio.fail_after(LIMIT_S):
            while len(self.lines) <= self._taken:
                await self._heard.wait()
        self._taken += 1
        return self.lines[self._taken - 1]


@asynccontextmanager
async def listening(process: Process) -> AsyncIterator[Ear]:
    ear = Ear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.run, ear)
        yield ear


class Bystander:
    """A process that is none of the household's, in a session of its own; it answers as long as it lives."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.pid = popen.pid
        self._popen = popen

    @property
    def answers(self) -> bool:
        """Who was sent a SIGKILL, however short ago, does not answer any more."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        try:
            self._popen.stdin.write(b"?")
        except BrokenPipeError:
            return False
        return self._popen.stdout.read(1) == b"!"


@contextmanager
def bystander(marker: str | None = None) -> Iterator[Bystander]:
    """One that has the marker in its environment, or none."""
    command = script("import os\nwhile os.read(0, 1): os.write(1, b'!')")
    env = ENV if marker is None else {**ENV, guardian.VARIABLE: marker}
    popen = subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
    )
    try:
        standing_by = Bystander(popen)
        assert standing_by.answers
        yield standing_by
    finally:
        popen.kill()
        popen.communicate()
