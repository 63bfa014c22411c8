"""The state folder: private, named when it cannot be used, small files whole or not at all."""

import os
from pathlib import Path

import anyio
import pytest

from acp_broker.core.names import SessionId
from acp_broker.errors import StoreError
from acp_broker.store import files
from acp_broker.store.files import StateFolder
from tests.support.clock import settled
from tests.support.disk import Disk

pytestmark = pytest.mark.anyio


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    """Logs, learnt capabilities and the broker's log are in it."""
    StateFolder(tmp_path / "a" / "state").prepare()

    assert 0o700 == (tmp_path / "a" / "state").stat().st_mode & 0o777


@pytest.mark.parametrize("name", [".", "sessions", "log"])
def test_a_folder_that_others_may_read_is_closed_to_them(tmp_path: Path, name: str) -> None:
    """Prompts are in it; a package or a careless umask may have made it before."""
    folder = tmp_path / "state" / name
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    StateFolder(tmp_path / "state").prepare()

    assert 0o700 == folder.stat().st_mode & 0o777


def test_a_folder_that_is_everybodys_stays_so(tmp_path: Path) -> None:
    """ACP_BROKER_HOME=/tmp, said by root, must not lock everybody out of it."""
    tmp_path.chmod(0o1777)
    StateFolder(tmp_path).prepare()

    assert 0o1777 == tmp_path.stat().st_mode & 0o7777


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A path that leads through a file."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot use the state folder .*/file/state: Not a directory"):
        StateFolder(tmp_path / "file" / "state").prepare()


def test_a_folder_whose_name_is_too_long_is_named(tmp_path: Path) -> None:
    """ACP_BROKER_HOME is what a person typed: no traceback."""
    with pytest.raises(StoreError, match=r"^cannot use the state folder .*: File name too long$"):
        StateFolder(tmp_path / ("x" * 300)).prepare()


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    """Somebody wrote ACP_BROKER_HOME=config.json."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"/file is no folder; set ACP_BROKER_HOME"):
        StateFolder(tmp_path / "file").prepare()


def test_a_folder_that_may_not_be_written_is_named_with_the_way_out(tmp_path: Path, monkeypatch) -> None:
    """Containers mount homes read-only. (root may write everywhere: the system's answer is given here.)"""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError, match=r"is not writable; set ACP_BROKER_HOME to one that is"):
        StateFolder(tmp_path).prepare()


def test_a_small_file_is_read_back(tmp_path: Path) -> None:
    """Learnt capabilities."""
    folder = StateFolder(tmp_path)
    folder.write_small("learnt.json", b"{}")

    assert b"{}" == folder.read_small("learnt.json")


def test_a_small_files_name_is_as_durable_as_itself(tmp_path: Path, monkeypatch) -> None:
    """After a rename the folder is what a power cut may lose."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    StateFolder(tmp_path).write_small("learnt.json", b"{}")

    assert tmp_path.stat().st_ino == synced[-1]


def test_a_small_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Whatever the umask."""
    before = os.umask(0)
    try:
        StateFolder(tmp_path).write_small("learnt.json", b"{}")
    finally:
        os.umask(before)

    assert 0o600 == (tmp_path / "learnt.json").stat().st_mode & 0o777


def test_a_small_file_that_cannot_be_written_keeps_what_it_held(tmp_path: Path, monkeypatch) -> None:
    """Whole or not at all: half of a file is worse than the old one."""
    folder = StateFolder(tmp_path)
    folder.write_small("learnt.json", b"old")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        folder.write_small("learnt.json", b"new")

    assert (b"old", ["learnt.json"]) == (folder.read_small("learnt.json"), [path.name for path in tmp_path.iterdir()])


def test_a_small_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    """The first start."""
    assert StateFolder(tmp_path).read_small("learnt.json") is None


async def test_what_was_written_is_brought_to_the_disk(tmp_path: Path, monkeypatch) -> None:
    """Accepted turns and answers survive a power cut; a new file's name is its folder's."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    folder = StateFolder(tmp_path)
    log = folder.new_log(SessionId("s"), b'{"record":"opened"}\n')
    await folder.sync()
    log.close()

    assert {log.path.stat().st_ino, log.path.parent.stat().st_ino} == set(synced)


async def test_a_sync_is_due_soon_after_a_write(tmp_path: Path, monkeypatch) -> None:
    """Off the hot path, and once for many writes."""
    monkeypatch.setattr(files, "SYNC_EVERY_S", 0)
    folder = StateFolder(tmp_path)
    due = anyio.Event()

    async def wait() -> None:
        await folder.sync_is_due()
        due.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await settled()
        before = due.is_set()
        log = folder.new_log(SessionId("s"), b'{"record":"opened"}\n')
        await due.wait()
    log.close()

    assert not before


async def test_a_log_that_cannot_be_synced_is_named_and_the_others_are_synced(tmp_path: Path, monkeypatch) -> None:
    """A disk may fail in one place."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    folder = StateFolder(tmp_path)
    logs = [folder.new_log(SessionId(name), b'{"record":"opened"}\n') for name in "abc"]
    kept = [logs[0].path.stat().st_ino, logs[2].path.stat().st_ino]
    logs[1].path.unlink()
    logs[1].path.symlink_to(logs[1].path)
    with pytest.raises(StoreError, match=r"cannot bring to the disk: .*/b\.jsonl: Too many levels of symbolic links"):
        await folder.sync()
    for log in logs:
        log.close()

    assert {*kept, logs[0].path.parent.stat().st_ino} == set(synced)


async def test_what_was_not_written_since_is_not_synced_again(tmp_path: Path, monkeypatch) -> None:
    """An idle session costs no disk."""
    synced: list[int] = []
    folder = StateFolder(tmp_path)
    log = folder.new_log(SessionId("s"), b'{"record":"opened"}\n')
    await folder.sync()
    monkeypatch.setattr(os, "fsync", synced.append)
    await folder.sync()
    log.close()

    assert [] == synced


async def test_a_log_that_was_deleted_meanwhile_is_no_fault(tmp_path: Path) -> None:
    """A session may be deleted before its last words are synced."""
    folder = StateFolder(tmp_path)
    log = folder.new_log(SessionId("s"), b'{"record":"opened"}\n')
    log.path.unlink()
    await folder.sync()
    log.close()


def test_a_log_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch) -> None:
    """session/new answers with this text."""
    Disk(monkeypatch).room = 0
    with pytest.raises(StoreError, match=r"cannot write the session log .*/s\.jsonl: No space left on device"):
        StateFolder(tmp_path).new_log(SessionId("s"), b'{"record":"opened"}\n')
