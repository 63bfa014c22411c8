"""Which token lets a client in: the one that config.json names, or ours, and never another."""

from pathlib import Path

import pytest

from acp_broker.app import kinds
from acp_broker.app.bearer import bearer
from acp_broker.config import Config, load
from acp_broker.errors import UsageError
from tests.support.config import write


def configured(folder: Path, **websocket: object) -> Config:
    content = {
        "acp": {"backend": "one"},
        "backends": {"one": {"kind": "scripted"}},
        "frontends": {"websocket": websocket},
        "secrets": {"providers": {"f": {"source": "file", "path": "/f"}, "x": {"source": "exec", "command": "/x"}}},
    }
    return load(kinds(), path=write(folder, content), environ={})


def test_without_a_word_in_config_it_is_ours(tmp_path: Path) -> None:
    """In the state folder."""
    found = bearer(configured(tmp_path), tmp_path / "state", {})

    assert found.read() == (tmp_path / "state" / "token").read_text().strip()


def test_a_variable_takes_its_place(tmp_path: Path) -> None:
    """And no file is made."""
    found = bearer(configured(tmp_path, token="${BRIDGE}"), tmp_path / "state", {"BRIDGE": "b" * 20})

    assert ("b" * 20, False) == (found.read(), (tmp_path / "state").exists())


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("$BRIDGE", "is $BRIDGE, which is not set in this environment"),
        ("$SHORT", "is $SHORT, whose value cannot be sent as a token; it takes 16 to 256 letters, digits and ._~-"),
        (
            {"source": "keyring", "id": "k"},
            'has source "keyring", which this version cannot look up; write "${VARIABLE}"',
        ),
        (
            {"source": "file", "provider": "f", "id": "/k"},
            'has source "file", which this version cannot look up; write "${VARIABLE}"',
        ),
        (
            {"source": "exec", "provider": "x", "id": "k"},
            'has source "exec", which this version cannot look up; write "${VARIABLE}"',
        ),
    ],
)
def test_what_cannot_be_looked_up_is_refused(tmp_path: Path, secret: object, why: str) -> None:
    """Neither an open door nor another key than the one that config.json names."""
    with pytest.raises(UsageError) as raised:
        bearer(configured(tmp_path, token=secret), tmp_path / "state", {"SHORT": "secret"})

    assert f"frontends.websocket.token {why}" == str(raised.value)
