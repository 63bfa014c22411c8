"""Which token lets a client in: the one that config.json names, or ours, and never another."""

from pathlib import Path

import pytest

from acp_broker.app import kinds
from acp_broker.app.bearer import Configured, bearer
from acp_broker.config import Config, load
from acp_broker.errors import UsageError
from tests.support.config import write
from tests.support.vault import vault

pytestmark = pytest.mark.anyio


def configured(folder: Path, **websocket: object) -> Config:
    content = {
        "acp": {"backend": "one"},
        "backends": {"one": {"kind": "scripted"}},
        "frontends": {"websocket": websocket},
        "secrets": {
            "providers": {
                "f": {"source": "file", "path": f"{folder}/f"},
                "x": {"source": "exec", "command": f"{folder}/x"},
            }
        },
    }
    return load(kinds(), path=write(folder, content), environ={})


async def test_without_a_word_in_config_it_is_ours(tmp_path: Path) -> None:
    """In the state folder."""
    found = await bearer(configured(tmp_path), tmp_path / "state", {}, vault())

    assert found.read() == (tmp_path / "state" / "token").read_text().strip()


async def test_a_variable_takes_its_place(tmp_path: Path) -> None:
    """And no file is made."""
    found = await bearer(configured(tmp_path, token="${BRIDGE}"), tmp_path / "state", {"BRIDGE": "b" * 20}, vault())

    assert ("b" * 20, False) == (found.read(), (tmp_path / "state").exists())


async def test_any_other_reference_takes_its_place(tmp_path: Path) -> None:
    """It is looked up at the start; no variable holds it that agents would have to be kept from."""
    (tmp_path / "f").write_text('{"bridge": "%s"}' % ("f" * 20))
    (tmp_path / "f").chmod(0o600)
    token = {"source": "file", "provider": "f", "id": "/bridge"}
    found = await bearer(configured(tmp_path, token=token), tmp_path / "state", {}, vault())

    assert isinstance(found, Configured)
    assert ("f" * 20, None) == (found.read(), found.variable)


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("$BRIDGE", "$BRIDGE: is not set in this environment"),
        ("$SHORT", "$SHORT: it cannot be sent as a token, which takes 16 to 256 letters, digits and ._~-"),
        (
            {"source": "file", "provider": "f", "id": "/k"},
            'file secret /k of "f": cannot read {path}/f: No such file or directory',
        ),
        (
            {"source": "exec", "provider": "x", "id": "k"},
            'exec secret k of "x": cannot start {path}/x: No such file or directory',
        ),
    ],
)
async def test_what_cannot_be_looked_up_is_refused(tmp_path: Path, secret: object, why: str) -> None:
    """Neither an open door nor another key than the one that config.json names."""
    with pytest.raises(UsageError) as raised:
        await bearer(configured(tmp_path, token=secret), tmp_path / "state", {"SHORT": "secret"}, vault())

    assert f"frontends.websocket.token: {why.replace('{path}', str(tmp_path))}" == str(raised.value)


async def test_a_token_is_in_no_repr(tmp_path: Path) -> None:
    """Nor in a traceback that shows one."""
    found = await bearer(configured(tmp_path, token="${BRIDGE}"), tmp_path / "state", {"BRIDGE": "b" * 20}, vault())

    assert "bbb" not in repr(found)
