"""Where config.json and the state folder are: where platformdirs, which a relay has no time to load, says."""

import os
from pathlib import Path

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from acp_broker import home


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": "/home/u"},
        {"HOME": "/home/u", "XDG_STATE_HOME": "/var/s", "XDG_CONFIG_HOME": "/etc/c"},
        {"HOME": "/home/u", "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": ""},
        {"HOME": "/home/u", "XDG_STATE_HOME": "relative", "XDG_CONFIG_HOME": "~/c"},
        {"HOME": "/home/u/", "XDG_STATE_HOME": "/var/s/", "XDG_CONFIG_HOME": "/etc//c"},
        {"HOME": "relative"},
        {"HOME": ""},
        {},
    ],
)
@pytest.mark.parametrize(("platform", "known"), [("linux", Unix), ("darwin", MacOS)])
def test_the_places_are_the_platforms(
    platform: str, known: type[Unix | MacOS], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows where programs keep their things on a system finds ours."""
    monkeypatch.setattr("sys.platform", platform)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    expected = known("acp-broker")

    assert (expected.user_config_path / "config.json", expected.user_state_path) == (
        home.config_file(None, environ),
        home.state_folder(environ),
    )


def test_the_environment_is_the_one_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test, or a daemon that looks for an editor's config, asks for another's than its own."""
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")

    assert Path("/home/u/.local/state/acp-broker") == home.state_folder({"HOME": "/home/u"})


def test_a_user_whom_nobody_knows_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run under user ids that no password file has."""
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)

    with pytest.raises(ValueError, match="HOME leads to the relative path"):
        home.state_folder({})
