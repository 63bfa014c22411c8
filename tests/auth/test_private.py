"""The short lock: one holder at a time, gone with its process, and a wait that ends."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from acp_broker.auth import private
from acp_broker.auth.private import Locked, locked, replace
from acp_broker.errors import StoreError

# Takes the lock, says so, and waits until it is told to end.
_HOLDER = """
import sys
from pathlib import Path
from acp_broker.auth.private import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert "held\n" == process.stdout.readline()
    return process


def ended(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def test_a_holder_that_does_not_let_go_is_waited_for_no_longer_than_the_limit(tmp_path: Path) -> None:
    """A process that is stopped in the middle must not stop all the others."""
    path = tmp_path / "lock"
    process = holder(path)
    try:
        with pytest.raises(Locked) as caught, locked(path, 0.05):
            pass
    finally:
        ended(process)

    assert f"another process has {path} locked, and does not let go; is it stopped?" == str(caught.value)


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    """kill -9 as well."""
    process = holder(tmp_path / "lock")
    ended(process)

    with locked(tmp_path / "lock", 0.0):
        pass


def test_a_lock_whose_file_is_replaced_meanwhile_is_taken_on_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two who hold two files of the same name hold nothing."""
    path, flock, calls = tmp_path / "lock", fcntl.flock, []

    def after_a_replacement(fd: int, operation: int) -> None:
        if not calls:
            path.unlink()
            path.touch()
        calls.append(fd)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", after_a_replacement)
    with locked(path), pytest.raises(Locked), locked(path, 0.05):
        pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """It could lock anything."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match=r"cannot lock .*/lock: is a link; move it away"), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("is_durable", [True, False])
def test_what_is_durable_is_on_the_disk_before_and_after_it_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_durable: bool
) -> None:
    """A machine that loses its power finds the old file or the whole new one, and after `replace` the new one."""
    path = tmp_path / "login.json"
    path.write_bytes(b"old")
    synced: list[tuple[bool, bytes]] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append((stat.S_ISDIR(os.fstat(fd).st_mode), path.read_bytes())))
    replace(path, b"new", beside=tmp_path / "login.json.new", is_durable=is_durable)

    assert ([(False, b"old"), (True, b"new")] if is_durable else []) == synced


def test_what_a_dead_writer_had_ready_is_on_the_disk_before_it_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dead one may not have come so far."""
    ready, path = tmp_path / "login.json.new", tmp_path / "login.json"
    ready.write_bytes(b"new")
    synced: list[tuple[str, bool]] = []
    monkeypatch.setattr(private, "sync", lambda it: synced.append((it.name, path.exists())))
    private.put(ready, path)

    assert [("login.json.new", False), (tmp_path.name, True)] == synced


def test_a_file_of_somebody_else_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who made it would say who we are."""
    path = tmp_path / "login.json"
    path.touch(mode=0o600)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(StoreError) as caught:
        private.read(path)
    assert f"{path} belongs to uid {owner}: sudo chown {owner + 1} {path}" == str(caught.value)
