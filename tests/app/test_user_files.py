"""Files of the user's agents: where they are, and what is read in them."""

from pathlib import Path

import pytest

from acp_broker.app import user_files


@pytest.mark.parametrize(
    ("file", "environ", "expected"),
    [
        ("~/.codex/auth.json", {}, "/home/u/.codex/auth.json"),
        ("~/.codex/auth.json", {"CODEX_HOME": "/elsewhere"}, "/elsewhere/auth.json"),
        ("~/.codex/auth.json", {"CODEX_HOME": "~/x"}, "/home/u/x/auth.json"),
        ("~/.codexes/auth.json", {"CODEX_HOME": "/elsewhere"}, "/home/u/.codexes/auth.json"),
        ("/etc/x.json", {}, "/etc/x.json"),
    ],
)
def test_a_file_is_where_its_agent_looks_for_it(file: str, environ: dict[str, str], expected: str) -> None:
    """A variable may have moved the folder."""
    assert Path(expected) == user_files.place(file, {"HOME": "/home/u", **environ})


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/home/u/.x/y", "~/.x/y"), ("/home/user/y", "/home/user/y"), ("/home/u", "/home/u"), ("relative", "relative")],
)
def test_a_path_is_shown_as_a_person_writes_it(path: str, expected: str) -> None:
    """Below the home it begins with `~`."""
    assert expected == user_files.shown(Path(path), {"HOME": "/home/u"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.json", '{"general": {"maxAttempts": 1}}'),
        ("s.json", '\ufeff{"general": {"maxAttempts": 1}}'),
        ("s.json", '{ // why: "quotes"\n"general": {/* many\nlines */ "maxAttempts": 1}}'),
        ("s.toml", "[general]\nmaxAttempts = 1\n"),
    ],
)
def test_json_with_comments_and_toml_are_read(tmp_path: Path, name: str, text: str) -> None:
    """gemini's settings.json may hold comments."""
    file = tmp_path / name
    file.write_text(text)

    assert [1] == user_files.values(user_files.settings(file), "general.maxAttempts")


def test_a_comment_within_a_string_is_none(tmp_path: Path) -> None:
    """Addresses have two slashes in them."""
    file = tmp_path / "s.json"
    file.write_text('{"base": "http://x"}')

    assert ["http://x"] == user_files.values(user_files.settings(file), "base")


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, content: bytes | None) -> None:
    """It is the user's, and none of our business."""
    file = tmp_path / "s.json"
    if content is not None:
        file.write_bytes(content)

    assert [] == user_files.values(user_files.settings(file), "a.b")


def test_a_name_that_the_user_gave_is_any() -> None:
    """codex: each provider has a table of its own."""
    document = {"providers": {"a": {"retries": 0}, "b": {}, "c": {"retries": 4}}}

    found = user_files.values(document, "providers.NAME.retries"), user_files.count(document, "providers.NAME.retries")
    assert ([0, 4], 3) == found


@pytest.mark.parametrize(("content", "expected"), [(None, False), ("", False), ("{}", True)])
def test_an_empty_file_is_no_login(tmp_path: Path, content: str | None, expected: bool) -> None:
    """Some agents empty theirs at a logout."""
    if content is not None:
        (tmp_path / "auth.json").write_text(content)

    assert expected is user_files.is_there("~/auth.json", {"HOME": str(tmp_path)})
