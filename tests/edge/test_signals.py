"""Signals of a process that ends in its own time."""

import os
import signal
import subprocess
import sys

import anyio
import pytest

from acp_broker.edge.signals import caught

ENDS = """
import anyio, os, signal
from acp_broker.edge.signals import caught

async def main():
    with caught(lambda number: None, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        pass

anyio.run(main)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    os.kill(os.getpid(), number)
"""


@pytest.fixture
def restored():
    """The handlers of the test run."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.anyio
@pytest.mark.usefixtures("restored")
async def test_each_signal_is_handed_over_in_order():
    """On the loop, where it may do anything."""
    heard, enough = [], anyio.Event()

    def hear(number: signal.Signals) -> None:
        heard.append(number)
        if len(heard) == 3:
            enough.set()

    with caught(hear, signal.SIGUSR1, signal.SIGUSR2), anyio.fail_after(20):
        for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(os.getpid(), number)
        await enough.wait()

    assert [signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2] == heard


def test_a_signal_behind_it_does_nothing():
    """While Python takes itself down, which takes milliseconds: the exit status is still the one that was meant."""
    ended = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, timeout=60, check=False)

    assert (0, b"") == (ended.returncode, ended.stderr)
