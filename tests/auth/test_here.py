"""What can be seen from a process whose /proc is not its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acp_broker.auth import here
from acp_broker.core.ownership import Gone, Running
from tests.support.namespaces import needs_namespaces

# What it sees of itself, of a process that has ended, and of pid 1 of the machine: that one is itself here.
_LOOKS = """
import subprocess, sys
from acp_broker.auth import here
ended = subprocess.Popen([sys.executable, "-c", ""])
ended.wait()
print([here.start(), here.process(ended.pid), here.process(1)])
"""


@needs_namespaces
def test_the_proc_of_another_pid_namespace_is_not_believed() -> None:
    """It has other processes under the same pids: a dead owner would be seen to live for ever."""
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", _LOOKS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert f"{[None, Gone(), Running(None)]}\n" == done.stdout, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_process_is_seen_with_its_start() -> None:
    """Where /proc is our own: that tells it from the next one with its pid."""
    assert (True, here.start()) == (here.start() is not None, here.process(os.getpid()).start)


@pytest.mark.parametrize(("ids", "are_one"), [((b"a\n", b"a\n"), True), ((b"a\n", b"b\n"), False), ((b"", None), True)])
def test_two_machines_of_one_name_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: tuple[bytes | None, bytes | None], are_one: bool
) -> None:
    """Many are called localhost. Taken for one, what lives on the other would seem to have ended with a restart."""
    found = []
    for number, one in enumerate(ids):
        monkeypatch.setattr(here, "_MACHINE_ID", tmp_path / str(number))
        if one is not None:
            here._MACHINE_ID.write_bytes(one)
        found.append(here.host.__wrapped__())

    assert are_one == (found[0] == found[1])
    assert "a\n" not in found[0]
