"""What a session's log tells whoever finds it, and the list of all of them."""

from pathlib import Path

import pytest

from acp_broker.errors import StoreError
from acp_broker.store import past, records


def shelved(folder: Path, *names: str) -> past.Shelf:
    for name in names:
        first = records.line("opened", format=records.FORMAT, at=1.0, session=name, cwd="/work")
        (folder / f"{name}.jsonl").write_bytes(first)
    return past.Shelf(folder)


def names(shelf: past.Shelf) -> set[str]:
    return {str(one.session) for one in shelf.listed()}


def test_a_log_is_opened_once_however_often_it_is_listed(tmp_path, monkeypatch):
    """A client that lists all the time reads thousands of files otherwise, and everybody waits."""
    shelf = shelved(tmp_path, "a", "b")
    opened = []
    read = past.read_records
    monkeypatch.setattr(past, "read_records", lambda path: opened.append(path.stem) or read(path))
    seen = [names(shelf) for _ in range(3)]

    assert (["a", "b"], [{"a", "b"}] * 3) == (sorted(opened), seen)


def test_a_session_is_listed_as_long_as_its_log_is_there(tmp_path):
    """Another process may make and delete logs in the same folder."""
    shelf = shelved(tmp_path, "a")
    seen = [names(shelf)]
    shelved(tmp_path, "b")
    seen.append(names(shelf))
    (tmp_path / "a.jsonl").unlink()
    seen.append(names(shelf))

    assert [{"a"}, {"a", "b"}, {"b"}] == seen


def test_a_log_whose_first_line_is_not_written_yet_is_listed_once_it_is(tmp_path):
    """It is looked at again, not taken for what is no log."""
    shelf = shelved(tmp_path)
    (tmp_path / "a.jsonl").touch()
    before = names(shelf)
    shelved(tmp_path, "a")

    assert (set(), {"a"}) == (before, names(shelf))


def test_a_log_that_is_deleted_while_it_is_listed_is_left_out(tmp_path, monkeypatch):
    """Between the look into the folder and the look at the file, another client may have deleted it."""
    shelf = shelved(tmp_path, "a", "b")
    monkeypatch.setattr(past.os, "scandir", Deleting(past.os.scandir))

    assert set() == names(shelf)


class Deleting:
    """A folder whose files are deleted as soon as their names are known."""

    def __init__(self, scandir):
        self._scandir = scandir

    def __call__(self, folder):
        self._entries = list(self._scandir(folder))
        for entry in self._entries:
            Path(entry.path).unlink()
        return self

    def __enter__(self):
        return iter(self._entries)

    def __exit__(self, *_):
        pass


def test_before_the_first_session_the_list_is_empty(tmp_path):
    """The folder is made with the first log."""
    assert [] == past.Shelf(tmp_path / "sessions").listed()


def test_a_folder_that_cannot_be_read_is_said(tmp_path):
    """An empty list would look as if everything were lost."""
    (tmp_path / "sessions").touch()
    with pytest.raises(StoreError, match="cannot list the sessions"):
        past.Shelf(tmp_path / "sessions").listed()
