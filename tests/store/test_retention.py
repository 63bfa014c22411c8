"""Old sessions go: those that config says, the oldest first, and none that is open."""

import os
from pathlib import Path

import anyio
import pytest

from acp_broker.store.files import StateFolder
from acp_broker.store.past import Listed
from acp_broker.store.retention import Keep, due, sweep
from tests.store.test_marks import Elsewhere
from tests.support.harness import house

STALLS = {"turns": [[{"do": "say", "text": "x"}, {"do": "stall"}]]}


def listed(name: str, at: float, size: int = 10) -> Listed:
    return Listed(name, "/", at, size)


# The one written last first.
THREE = (listed("new", 30), listed("mid", 20), listed("old", 10))


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (Keep(), []),
        (Keep(seconds=15), ["mid", "old"]),
        (Keep(seconds=20), ["old"]),
        (Keep(size=30), []),
        (Keep(size=29), ["old"]),
        (Keep(size=0), ["new", "mid", "old"]),
        (Keep(seconds=25, size=10), ["mid", "old"]),
    ],
)
def test_what_is_due(keep, gone):
    """Too old, or beyond the room that those written later leave."""
    assert gone == [one.session for one in due(THREE, keep, 40)]


def test_a_session_with_a_turn_that_runs_stays(tmp_path: Path):
    """However old it is: its words would go into a file without a name."""

    async def play() -> tuple[list[str], str]:
        async with house(tmp_path, primary=STALLS) as home:
            editor = await home.editor()
            busy, idle = await editor.new(), await editor.new()
            await editor.prompt(busy)
            for session in (busy, idle):
                os.utime(home.session(session).log.path, (0, 0))
            return sweep(StateFolder(tmp_path / "state"), Keep(seconds=60), 1000), idle

    (gone, _), idle = anyio.run(play)

    assert [idle] == gone


def test_a_session_that_is_open_in_another_process_stays(tmp_path: Path) -> None:
    """That one cannot say so to us, but for its lock."""

    async def play() -> list[str]:
        async with house(tmp_path, primary=STALLS) as home:
            editor = await home.editor()
            return [await editor.new(), await editor.new()]

    opened, closed = anyio.run(play)
    for path in (tmp_path / "state" / "sessions").iterdir():
        os.utime(path, (0, 0))
    with Elsewhere(tmp_path / "state") as elsewhere:
        elsewhere.does("add", opened)
        gone, _ = sweep(StateFolder(tmp_path / "state"), Keep(seconds=60), 1000)

    assert [closed] == gone


def test_one_that_cannot_be_deleted_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and what is behind it goes all the same."""
    first, second = (tmp_path / "sessions" / f"acpb-{number:024x}.jsonl" for number in range(2))
    first.parent.mkdir()
    for path in (first, second):
        path.write_text(f'{{"record":"opened","session":"{path.stem}","cwd":"/"}}\n')
    folder = StateFolder(tmp_path)
    stored = sorted(folder.sessions(), key=lambda one: one.session)
    monkeypatch.setattr(folder, "sessions", lambda: stored)
    monkeypatch.setattr(folder, "log_path", {first.stem: tmp_path / "sessions", second.stem: second}.get)
    gone, faults = sweep(folder, Keep(size=0), 1e12)

    assert ([second.stem], [f"cannot delete the session log {tmp_path / 'sessions'}: Is a directory"]) == (gone, faults)


def test_other_files_stay(tmp_path: Path):
    """What we did not make is not ours to delete."""
    sessions = tmp_path / "sessions"
    sessions.mkdir()
    (sessions / "notes.jsonl").write_text('{"record":"opened","session":"notes","cwd":"/"}\n')
    sweep(StateFolder(tmp_path), Keep(size=0), 1e12)

    assert ["notes.jsonl"] == [path.name for path in sessions.iterdir()]
