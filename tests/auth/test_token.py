"""The file of the bearer token: made once, trusted only while it is ours alone, read again when it changes."""

import os
import threading
from pathlib import Path

import pytest

from acp_broker.auth.token import TokenFile, is_token
from acp_broker.errors import StoreError, UsageError


def test_it_is_made_on_first_use(tmp_path: Path) -> None:
    """Nobody has to think of one: 32 random bytes."""
    token = TokenFile(tmp_path / "state").read()

    assert (43, True) == (len(token), is_token(token))


def test_it_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """And so is the state folder, where it was not there before."""
    file = TokenFile(tmp_path / "state")
    file.read()

    assert (0o600, 0o700) == (file.path.stat().st_mode & 0o777, file.path.parent.stat().st_mode & 0o777)


def test_it_stays_the_same(tmp_path: Path) -> None:
    """Also for another process."""
    assert TokenFile(tmp_path).read() == TokenFile(tmp_path).read()


def test_nothing_is_left_beside_it(tmp_path: Path) -> None:
    """It is written beside its place: what stays there would be a token that nobody knows of."""
    file = TokenFile(tmp_path)
    file.read()
    file.rotate()

    assert [tmp_path / "token"] == list(tmp_path.iterdir())


def test_two_that_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    """`serve` and `token show` started together."""
    everybody_is_here = threading.Barrier(8)
    made: list[str] = []

    def make() -> None:
        everybody_is_here.wait()
        made.append(TokenFile(tmp_path).read())

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [TokenFile(tmp_path).read()] * 8 == made


def test_a_rotation_holds_from_the_next_use_on(tmp_path: Path) -> None:
    """In a process that has read the old one."""
    running = TokenFile(tmp_path)
    before = running.read()
    rotated = TokenFile(tmp_path).rotate()

    assert (rotated, False) == (running.read(), before == rotated)


def test_a_rotation_makes_what_is_not_there(tmp_path: Path) -> None:
    """A first token is as good as another one."""
    file = TokenFile(tmp_path / "state")

    assert file.rotate() == file.read()


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request over WebSocket asks for it."""
    file = TokenFile(tmp_path)
    token = file.read()
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("read again"))

    assert token == file.read()


def test_whitespace_around_it_is_no_part_of_it(tmp_path: Path) -> None:
    """An editor ends a file with a newline."""
    (tmp_path / "token").write_text("  a-token-of-mine-1\n\n")
    (tmp_path / "token").chmod(0o600)

    assert "a-token-of-mine-1" == TokenFile(tmp_path).read()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_one_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """It may be known by now: the error says how to close it, and how to have another."""
    file = TokenFile(tmp_path)
    file.read()
    file.path.chmod(mode)
    fix = f"chmod 600 {file.path}, and if anybody did: acp-broker token rotate"
    with pytest.raises(UsageError) as raised:
        file.read()

    assert f"others may read {file.path} (mode {mode:04o}): {fix}" == str(raised.value)


def test_one_that_is_opened_to_others_while_we_run_is_refused(tmp_path: Path) -> None:
    """The content is the same, who may know it is not."""
    file = TokenFile(tmp_path)
    file.read()
    file.path.chmod(0o644)
    with pytest.raises(UsageError, match="others may read"):
        file.read()


def test_somebody_elses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would know it."""
    file = TokenFile(tmp_path)
    file.rotate()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(UsageError) as raised:
        file.read()

    assert f"{file.path} belongs to uid {uid}; make your own: acp-broker token rotate" == str(raised.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"short", "holds no token (16 to 256 letters, digits and ._~-)"),
        (b"two words in one file", "holds no token (16 to 256 letters, digits and ._~-)"),
        (b"\xff" * 32, "holds no token (16 to 256 letters, digits and ._~-)"),
        (b"x" * 257, "holds no token (16 to 256 letters, digits and ._~-)"),
    ],
)
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    """An empty token would let everybody in. The content is not quoted: it may be a secret of another kind."""
    file = TokenFile(tmp_path)
    file.path.write_bytes(content)
    file.path.chmod(0o600)
    with pytest.raises(UsageError) as raised:
        file.read()

    assert f"{file.path} {found}: acp-broker token rotate" == str(raised.value)


def test_a_link_is_refused(tmp_path: Path) -> None:
    """It may lead to a file whose owner is somebody else tomorrow."""
    (tmp_path / "real").write_text("a-token-of-mine-1")
    (tmp_path / "token").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="token is a link; move it away"):
        TokenFile(tmp_path).read()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(tmp_path: Path, make) -> None:
    """And a fifo that nobody writes holds nobody up."""
    make(tmp_path / "token")
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(UsageError, match="token is no file; move it away"):
        TokenFile(tmp_path).read()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """With the path, and why."""
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot (read|write) .*/state/token: Not a directory"):
        TokenFile(tmp_path / "state").read()


def test_rotating_heals_whatever_stands_there(tmp_path: Path) -> None:
    """It is what the errors tell people to do."""
    file = TokenFile(tmp_path)
    file.path.write_bytes(b"")

    assert file.rotate() == file.read()
