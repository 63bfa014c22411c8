"""Secrets in files: what is read, and what is not trusted."""

import os
from pathlib import Path

import pytest

from acp_broker.auth.secret_file import SecretFile
from acp_broker.errors import Unresolved
from tests.auth.programs import kept

DOCUMENT = '{"team": {"key": "s3cret", "a/b": "slash", "m~n": "tilde", "": "blank"}, "list": ["x", "y"], "n": 1}'


def refused(file: SecretFile, name: str) -> str:
    with pytest.raises(Unresolved) as raised:
        file.read(name)
    assert "s3cret" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [("/team/key", "s3cret"), ("/team/a~1b", "slash"), ("/team/m~0n", "tilde"), ("/team/", "blank"), ("/list/1", "y")],
)
def test_a_pointer_leads_to_a_secret(tmp_path: Path, pointer: str, value: str) -> None:
    """RFC 6901, section 4."""
    assert value == SecretFile(kept(tmp_path, DOCUMENT)).read(pointer)


@pytest.mark.parametrize(
    ("pointer", "what"),
    [
        ("/team/none", "nothing"),
        ("/list/2", "nothing"),
        ("/list/01", "nothing"),
        ("/list/-", "nothing"),
        ("/n/x", "nothing"),
        ("/team", "no text"),
        ("/n", "no text"),
    ],
)
def test_a_pointer_that_leads_to_no_text_is_said(tmp_path: Path, pointer: str, what: str) -> None:
    """With the file and the pointer; what is there is not shown."""
    path = kept(tmp_path, DOCUMENT)

    assert f"there is {what} at {pointer} in {path}" == refused(SecretFile(path), pointer)


@pytest.mark.parametrize("text", ["s3cret", "s3cret\n", "s3cret\r\n"])
def test_a_file_may_be_the_secret(tmp_path: Path, text: str) -> None:
    """Editors end a file with a newline."""
    assert "s3cret" == SecretFile(kept(tmp_path, text), is_single=True).read("value")


@pytest.mark.parametrize(
    ("is_single", "name", "why"),
    [
        (True, "/key", 'has mode singleValue, where the id is "value"'),
        (False, "value", 'has mode json, where the id is a JSON pointer such as "/team/key"'),
    ],
)
def test_an_id_of_the_other_mode_is_said(tmp_path: Path, is_single: bool, name: str, why: str) -> None:
    """Or a whole document would be sent as a key."""
    path = kept(tmp_path, DOCUMENT)

    assert f"{path} {why}" == refused(SecretFile(path, is_single), name)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_what_others_can_read_is_no_secret(tmp_path: Path, mode: int) -> None:
    """The command that puts it right is in the error."""
    path = kept(tmp_path, DOCUMENT, mode=mode)

    assert f"others can read or write {path} (mode {mode:04o}): chmod 600 {path}" == refused(
        SecretFile(path), "/team/key"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_another_is_not_trusted(tmp_path: Path) -> None:
    """They could put any key there."""
    path = kept(tmp_path, DOCUMENT)
    os.chown(path, 12345, -1)

    assert f"{path} belongs to uid 12345: chown 0 {path}" == refused(SecretFile(path), "/team/key")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Where it leads is another's to change."""
    link = tmp_path / "link"
    link.symlink_to(kept(tmp_path, DOCUMENT))

    assert f"{link} is a link; name the file that it leads to" == refused(SecretFile(link), "/team/key")


def test_a_fifo_holds_nobody_up(tmp_path: Path) -> None:
    """Opening one waits for a writer."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)

    assert f"{fifo} is no file" == refused(SecretFile(fifo), "/team/key")


def test_a_file_is_not_read_without_end(tmp_path: Path) -> None:
    """One byte more than maxBytes."""
    path = kept(tmp_path, "x" * 101)
    found = SecretFile(kept(tmp_path, "x" * 100, "fits"), is_single=True, max_bytes=100).read("value")

    why = f"{path} is longer than 100 bytes (maxBytes)"
    assert (100, why) == (len(found), refused(SecretFile(path, is_single=True, max_bytes=100), "value"))


@pytest.mark.parametrize(
    ("data", "is_single", "what"),
    [
        (b"{s3cret", False, "JSON"),
        (b"\xff\xfe", False, "JSON"),
        (b"[" * 100_000, False, "JSON"),
        (b"\xff", True, "text"),
    ],
)
def test_what_is_no_document_is_said(tmp_path: Path, data: bytes, is_single: bool, what: str) -> None:
    """Without a word of it."""
    path = kept(tmp_path, "")
    path.write_bytes(data)

    assert f"{path} holds no {what}" == refused(SecretFile(path, is_single), "value" if is_single else "/k")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """By its name."""
    path = tmp_path / "none"

    assert f"cannot read {path}: No such file or directory" == refused(SecretFile(path), "/k")
