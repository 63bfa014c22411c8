"""The index of the sessions on the disk: found fast, and never anything but what the logs say."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from acp_broker.errors import StoreError
from acp_broker.store import index, records
from acp_broker.store.index import FILE, Index
from acp_broker.store.past import Listed


@pytest.fixture
def home(tmp_path: Path) -> Path:
    # Not in a folder called state: what is there is played again at the end of the run, and these logs hold no steps.
    (tmp_path / "sessions").mkdir()
    return tmp_path


def write(home: Path, name: str, *more: bytes, at: float = 1.0) -> Path:
    """A log with these records behind its first, written last at that time."""
    path = home / "sessions" / f"{name}.jsonl"
    first = records.line("opened", format=records.FORMAT, at=1.0, session=name, cwd="/work")
    path.write_bytes(first + b"".join(more))
    os.utime(path, (at, at))
    return path


def accepted(text: str, turn: str = "t") -> bytes:
    return records.line("accepted", turn=turn, at=1.0, prompt=[{"type": "text", "text": text}], rest={}, rules={})


def titled(title: str) -> bytes:
    update = {"sessionId": "a", "update": {"sessionUpdate": "session_info_update", "title": title}}
    return records.line("shown", updates=[update])


def started(backend: str) -> bytes:
    command = {"type": "Start", "attempt": 1, "candidate": {"backend": backend}}
    return records.step_line("t", 0.0, b"{}", json.dumps([command]).encode(), [])


def names(home: Path) -> list[str]:
    return [one.session for one in Index(home).listed()]


def test_a_session_is_listed_with_what_its_log_says(home):
    """How often it was prompted, who was asked last, what it is called."""
    path = write(
        home, "a", accepted("one"), started("claude"), accepted("two"), started("codex"), titled("Ducks"), at=7
    )

    expected = Listed("a", "/work", 7.0, path.stat().st_size, "Ducks", 2, "codex")
    assert [expected] == Index(home).listed()


def test_a_session_without_a_title_is_called_by_its_first_prompt(home):
    """One line of it."""
    write(home, "a", accepted("what is it?\nand why?"), accepted("two"))

    assert ["what is it?"] == [one.title for one in Index(home).listed()]


def test_the_session_written_last_comes_first(home):
    """It is the one that somebody looks for."""
    for at, name in enumerate(("old", "mid", "new")):
        write(home, name, at=at)

    assert ["new", "mid", "old"] == names(home)


def test_a_log_that_grew_is_read_from_where_it_ended(home, monkeypatch):
    """Not from its beginning: it may be a hundred megabytes."""
    path = write(home, "a", accepted("one"))
    Index(home).listed()
    read_lines = []
    monkeypatch.setattr(index, "read", lambda line: read_lines.append(line) or records.read(line))
    with path.open("ab") as file:
        file.write(accepted("two"))
    turns = [one.turns for one in Index(home).listed()]

    assert ([2], [accepted("two")]) == (turns, read_lines)


def test_a_log_that_did_not_change_is_not_opened(home, monkeypatch):
    """Ten thousand of them would take a second."""
    write(home, "a", accepted("one"))
    Index(home).listed()
    monkeypatch.setattr(index, "read", lambda _: pytest.fail("it was read again"))

    assert ["a"] == names(home)


def test_a_session_is_listed_as_long_as_its_log_is_there(home):
    """Another process may make and delete logs in the same folder."""
    first = write(home, "a")
    seen = [set(names(home))]
    write(home, "b")
    seen.append(set(names(home)))
    first.unlink()
    seen.append(set(names(home)))

    assert [{"a"}, {"a", "b"}, {"b"}] == seen


def test_a_log_whose_first_line_is_not_written_yet_is_listed_once_it_is(home):
    """It is looked at again, not taken for what is no log."""
    (home / "sessions" / "a.jsonl").touch()
    before = names(home)
    write(home, "a")

    assert ([], ["a"]) == (before, names(home))


def test_a_torn_last_record_is_read_when_it_is_whole(home):
    """Somebody is writing it just now."""
    record = accepted("one")
    path = write(home, "a", record[:10])
    before = [one.turns for one in Index(home).listed()]
    with path.open("ab") as file:
        file.write(record[10:])

    assert ([0], [1]) == (before, [one.turns for one in Index(home).listed()])


def test_a_log_that_was_replaced_by_a_shorter_one_is_read_anew(home):
    """What was known of the other is not true of this."""
    write(home, "a", accepted("one"), accepted("two"), at=1)
    Index(home).listed()
    write(home, "a", accepted("x"), at=2)

    assert [(1, "x")] == [(one.turns, one.title) for one in Index(home).listed()]


def test_a_log_that_is_deleted_while_it_is_listed_is_left_out(home, monkeypatch):
    """Between the look into the folder and the look at the file, another client may have deleted it."""
    write(home, "a")
    monkeypatch.setattr(index, "_look", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))

    assert [] == names(home)


@pytest.mark.parametrize("broken", [b"", b"no database at all, but long enough to be looked at" * 100])
def test_a_broken_index_is_made_anew(home, broken):
    """It is no loss: the logs have it all."""
    write(home, "a", accepted("one"))
    (home / FILE).write_bytes(broken)
    first = [one.turns for one in Index(home).listed()]

    assert ([1], [1]) == (first, [one.turns for one in Index(home).listed()])


def test_an_index_of_another_version_is_made_anew(home):
    """Its columns mean something else."""
    write(home, "a", accepted("one"))
    database = sqlite3.connect(home / FILE)
    database.execute("CREATE TABLE sessions (other TEXT)")
    database.execute("PRAGMA user_version = 99")
    database.close()

    assert [1] == [one.turns for one in Index(home).listed()]


def test_the_index_is_readable_by_its_owner_alone(home):
    """It holds how prompts begin."""
    write(home, "a")
    before = os.umask(0)
    try:
        Index(home).listed()
    finally:
        os.umask(before)

    assert {0o600} == {path.stat().st_mode & 0o777 for path in home.glob(f"{FILE}*")}


def test_an_index_that_cannot_be_kept_costs_only_time(home):
    """A full disk must not hide what is on it."""
    write(home, "a", accepted("one"))
    (home / FILE).mkdir()

    assert [1] == [one.turns for one in Index(home).listed()]


def test_a_name_that_is_no_text_is_none_of_ours(home):
    """Somebody put it there; the list is not lost for it."""
    write(home, "a")
    (home / "sessions" / os.fsdecode(b"\xff.jsonl")).write_bytes(b"{}\n")

    assert ["a"] == names(home)


def test_before_the_first_session_the_list_is_empty(tmp_path):
    """And nothing is made by looking."""
    assert ([], []) == (names(tmp_path), list(tmp_path.iterdir()))


def test_a_folder_that_cannot_be_read_is_said(tmp_path):
    """An empty list would look as if everything were lost."""
    (tmp_path / "sessions").touch()
    with pytest.raises(StoreError, match="cannot list the sessions"):
        names(tmp_path)
