"""`acp-broker token`: what is printed where, and whose token it is."""

from pathlib import Path

import pytest

from acp_broker.auth.token import TokenFile
from acp_broker.cli import token
from tests.support.config import write

MINIMAL = {"acp": {"backend": "one"}, "backends": {"one": {"kind": "scripted"}}}


def environment(folder: Path) -> dict[str, str]:
    return {"ACP_BROKER_HOME": str(folder / "state"), "ACP_BROKER_CONFIG": str(folder / "config.json")}


def configured(folder: Path, secret: object) -> Path:
    return write(folder, {**MINIMAL, "frontends": {"websocket": {"token": secret}}})


def test_show_prints_the_token_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script takes it from stdout. Where there is none, it is made."""
    write(tmp_path, MINIMAL)
    code = token.run(None, environment(tmp_path), "show")

    assert (0, (f"{TokenFile(tmp_path / 'state').read()}\n", "")) == (code, capsys.readouterr())


def test_a_config_need_not_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever sets up a bridge first finds the token all the same."""
    code = token.run(None, environment(tmp_path), "show")

    assert (0, f"{TokenFile(tmp_path / 'state').read()}\n") == (code, capsys.readouterr().out)


def test_rotate_prints_the_new_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It holds from then on."""
    write(tmp_path, MINIMAL)
    before = TokenFile(tmp_path / "state").read()
    code = token.run(None, environment(tmp_path), "rotate")
    now = TokenFile(tmp_path / "state").read()

    assert (0, f"{now}\n", False) == (code, capsys.readouterr().out, before == now)


@pytest.mark.parametrize("action", ["show", "rotate"])
@pytest.mark.parametrize(
    ("secret", "place"),
    [
        ("${BRIDGE_TOKEN}", "$BRIDGE_TOKEN in the environment of acp-broker serve"),
        ({"source": "keyring", "id": "bridge"}, 'source "keyring", id "bridge"'),
    ],
)
def test_a_configured_token_is_not_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str, secret: object, place: str
) -> None:
    """Printing the one in the state folder would send people to a door that it does not open."""
    file = configured(tmp_path, secret)
    code = token.run(None, environment(tmp_path), action)

    why = f"acp-broker: the token comes from {place}: frontends.websocket.token in {file}\n"
    assert (1, ("", why)) == (code, capsys.readouterr())
    assert not (tmp_path / "state").exists()


def test_a_config_that_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It might have named another token."""
    write(tmp_path, {})
    code = token.run(None, environment(tmp_path), "show")
    said = capsys.readouterr()

    assert (1, "", True) == (code, said.out, "config.json: 2 problems" in said.err)


def test_a_named_config_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--config` is no guess."""
    code = token.run(tmp_path / "none.json", environment(tmp_path), "show")

    assert (1, "") == (code, capsys.readouterr().out)
