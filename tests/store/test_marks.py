"""Marks on sessions: other processes see them, and they end with the one that made them."""

import subprocess
import sys
from pathlib import Path

import pytest

from acp_broker.core.names import SessionId
from acp_broker.store.files import StateFolder
from acp_broker.store.marks import ATTENDED, Marks
from tests.support.harness import house

ONE, OTHER = SessionId("acpb-" + "0" * 24), SessionId("acpb-" + "0" * 23 + "1")
# Another process: it does what each line says, and answers with a line.
ELSEWHERE = """
import sys
from pathlib import Path
from acp_broker.store.marks import Marks
marks = Marks(Path(sys.argv[1]))
for line in sys.stdin:
    method, session = line.split()
    print(getattr(marks, method)(session), flush=True)
"""


class Elsewhere:
    """Use as a context manager; it ends as by kill -9."""

    def __init__(self, home: Path, file: str = ATTENDED) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, str(home / file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Elsewhere":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def does(self, method: str, session: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{method} {session}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


def test_another_process_sees_what_is_attended_until_it_is_not(tmp_path: Path) -> None:
    """Each session by itself."""
    attended = Marks(tmp_path / ATTENDED)
    with Elsewhere(tmp_path) as elsewhere:
        seen = []
        for change in (attended.add, attended.add, attended.remove):
            change(ONE)
            seen.append([elsewhere.does("is_elsewhere", session) for session in (ONE, OTHER)])

    assert [["True", "False"], ["True", "False"], ["False", "False"]] == seen


def test_two_processes_may_attend_one_session(tmp_path: Path) -> None:
    """It is open until both have closed it."""
    attended = Marks(tmp_path / ATTENDED)
    attended.add(ONE)
    with Elsewhere(tmp_path) as first, Elsewhere(tmp_path) as second:
        first.does("add", ONE)
        attended.remove(ONE)
        seen = [second.does("is_elsewhere", ONE), attended.is_elsewhere(ONE)]
        first.does("remove", ONE)
        seen += [second.does("is_elsewhere", ONE), attended.is_elsewhere(ONE)]

    assert ["True", True, "False", False] == seen


def test_what_a_process_has_open_is_closed_by_its_death(tmp_path: Path) -> None:
    """Else its sessions would be kept for ever."""
    with Elsewhere(tmp_path) as elsewhere:
        elsewhere.does("add", ONE)
        before = Marks(tmp_path / ATTENDED).is_elsewhere(ONE)

    assert (True, False) == (before, Marks(tmp_path / ATTENDED).is_elsewhere(ONE))


def is_open(path: Path) -> bool:
    return path in [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


@pytest.mark.anyio
async def test_a_broker_that_has_ended_has_nothing_open(tmp_path: Path) -> None:
    """Nor a descriptor."""
    async with house(tmp_path, primary={}) as home:
        editor = await home.editor()
        session = await editor.new()
        with Elsewhere(tmp_path / "state") as elsewhere:
            seen = [elsewhere.does("is_elsewhere", session)]
    with Elsewhere(tmp_path / "state") as elsewhere:
        seen.append(elsewhere.does("is_elsewhere", session))

    assert (["True", "False"], False) == (seen, is_open(tmp_path / "state" / ATTENDED))


def test_where_the_file_cannot_be_had_nobody_is_known_to_attend(tmp_path: Path) -> None:
    """Nothing depends on it but what is deleted by age: no session is refused for that."""
    attended = Marks(tmp_path / "nowhere" / ATTENDED)
    attended.add(ONE)
    attended.remove(ONE)

    assert not attended.is_elsewhere(ONE)


def test_the_file_is_its_owners_alone_and_empty(tmp_path: Path) -> None:
    """As everything in the state folder."""
    Marks(tmp_path / ATTENDED).add(ONE)
    seen = (tmp_path / ATTENDED).stat()

    assert (0, 0o600) == (seen.st_size, seen.st_mode & 0o777)


def test_a_log_is_attended_from_its_first_reader_to_its_last(tmp_path: Path) -> None:
    """Of records, or of frames."""
    folder = StateFolder(tmp_path)
    folder.prepare()
    log = folder.new_log(ONE, b'{"record":"opened"}\n')
    readers = [lambda: None, lambda: None]
    with Elsewhere(tmp_path) as elsewhere:
        seen = [elsewhere.does("is_elsewhere", ONE)]
        log.attach(readers[0])
        log.attach(readers[1], of_records=True)
        seen.append(elsewhere.does("is_elsewhere", ONE))
        log.detach(readers[0])
        seen.append(elsewhere.does("is_elsewhere", ONE))
        log.detach(readers[1])
        seen.append(elsewhere.does("is_elsewhere", ONE))
    log.close()

    assert ["False", "True", "True", "False"] == seen
