"""What docs/daemon.md promises, as far as it can be held against the code and parsed by whoever reads it."""

import configparser
import json
import plistlib
import re
import typing

import msgspec
import pytest

from acp_broker.app.status import Status
from acp_broker.config import Limits
from acp_broker.config.shape import Frontends
from tests.support.architecture import TOP

PAGE = (TOP / "docs" / "daemon.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(blocks("ini")[0])
    return parser


def test_every_key_of_the_status_is_explained() -> None:
    """Programs read them: a key that nobody explains is one that nobody may rely on."""
    rows = PAGE[PAGE.index("| key |") :].partition("\n\n")[0]
    explained = set(re.findall(r"`([a-z]\w*)`", rows))
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(Status)}
    inner = {
        one.encode_name
        for type_ in fields.values()
        for struct in (*typing.get_args(type_), type_)
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct)
        for one in msgspec.structs.fields(struct)
    }

    assert set() == {*fields, *inner} - explained


@pytest.mark.parametrize("text", blocks("json"))
def test_what_is_to_be_pasted_into_config_is_taken(text: str) -> None:
    """With every key as it is written."""
    frontends = json.loads(text)["frontends"]
    tls = frontends["websocket"].pop("tls", None)
    if tls is not None:  # its paths are expanded before the shape is looked at
        frontends["websocket"]["host"] = "localhost"
        assert {"certificate", "key"} == set(tls)

    assert msgspec.convert(frontends, Frontends).websocket is not None


def test_systemd_waits_longer_than_a_drain_takes() -> None:
    """Else it kills what was promised to end in peace."""
    drain_s = Limits().drain_ms / 1000

    assert int(unit()["Service"]["TimeoutStopSec"]) >= 2 * drain_s


def test_systemd_ends_the_daemon_and_not_its_agents() -> None:
    """They have turns to finish; and a reload is a SIGHUP."""
    service = unit()["Service"]

    assert ("mixed", "/bin/kill -HUP $MAINPID") == (service["KillMode"], service["ExecReload"])


def test_the_plist_is_one() -> None:
    """It starts serve, again if it dies, and waits for its drain."""
    (text,) = blocks("xml")
    read = plistlib.loads(text.encode())

    assert ("acp-broker", {"SuccessfulExit": False}) == (read["Label"], read["KeepAlive"])
    assert read["ProgramArguments"][-1].startswith('exec "$HOME/.local/bin/acp-broker" serve ')
    assert read["ExitTimeOut"] * 1000 >= 2 * Limits().drain_ms
