"""What `check` makes of what it has seen: an agent's own retries, its modes, what two backends have in common."""

import json
import sys
from pathlib import Path

import anyio
import pytest

from acp_broker.app import kinds
from acp_broker.app.checkup import domains, modes, retries
from acp_broker.app.checkup.chain import checked
from acp_broker.app.checkup.domains import Domain, Shares
from acp_broker.app.checkup.modes import Modes
from acp_broker.app.checkup.retries import Edit, Retries
from acp_broker.config import load
from acp_broker.contract import About
from acp_broker.core.names import BackendId
from acp_broker.wire.jsonrpc import encode
from backends.acp.row import Login, Pointing, Row, Setting
from tests.support.client import DEADLINE_S
from tests.support.config import write
from tests.support.served_agent import served

BY_VARIABLE = Row(env={"MAX_RETRIES": "0"})
BY_FILE = Row(settings=(Setting("~/.x/settings.json", "general.maxAttempts", "1", "it asks for minutes"),))
EDIT = Edit("~/.x/settings.json", "general.maxAttempts", "1", None, "it asks for minutes")
A, B, C = map(BackendId, "abc")


# --- its own retries


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MAX_RETRIES": "0"}, Retries("off", None, {"MAX_RETRIES": "0"})),
        ({"MAX_RETRIES": "5"}, Retries("on", None, {"MAX_RETRIES": "5"})),
        ({}, Retries("on", None, {})),
    ],
)
def test_a_variable_decides_as_the_agent_gets_it(environment: dict[str, str], expected: Retries) -> None:
    """Whoever has set it: a user's own holds, and the last of the chain is given none."""
    assert expected == retries.of(BY_VARIABLE, environment)


@pytest.mark.parametrize(
    ("content", "edits"),
    [
        (None, (EDIT,)),
        ({"general": {}}, (EDIT,)),
        ({"general": {"maxAttempts": 10}}, (Edit(EDIT.file, EDIT.key, "1", "10", EDIT.why),)),
        ({"general": {"maxAttempts": True}}, (Edit(EDIT.file, EDIT.key, "1", "true", EDIT.why),)),
        ({"general": {"maxAttempts": 1}}, ()),
        ({"general": {"maxAttempts": 1.0}}, ()),
    ],
)
def test_a_setting_is_read_and_the_edit_is_named(tmp_path: Path, content: object, edits: tuple[Edit, ...]) -> None:
    """The file is the user's: what should stand in it is said, and not written."""
    if content is not None:
        (tmp_path / ".x").mkdir()
        (tmp_path / ".x" / "settings.json").write_text(json.dumps(content))

    found = retries.of(BY_FILE, {"HOME": str(tmp_path)})

    assert Retries("on" if edits else "off", None, {}, edits) == found


@pytest.mark.parametrize(
    ("row", "expected"), [(None, Retries()), (Row(), Retries()), (Row(retries_ms=9), Retries("on", 9))]
)
def test_of_others_nothing_turns_them_off(row: Row | None, expected: Retries) -> None:
    """If it is not known that they retry, neither is that they do not."""
    assert expected == retries.of(row, {"MAX_RETRIES": "0"})


# --- where it is opened


@pytest.mark.anyio
@pytest.mark.parametrize(("members", "expected", "is_advised"), [({}, "/", True), ({"cwd": "/srv"}, "/srv", False)])
async def test_on_another_machine_a_session_is_opened_in_a_folder_that_is_there(
    tmp_path: Path, members: dict[str, str], expected: str, is_advised: bool
) -> None:
    """A temporary one of ours is not; a broker over there would refuse it, and the backend would seem to be broken."""
    async with served((sys.executable, "-m", "backends.scripted", "--script", "{}")) as agent:
        entry = {"kind": "acp", "url": agent.url, **members}
        path = write(tmp_path, {"acp": {"backend": "box"}, "backends": {"box": entry}})
        environ = {"HOME": str(tmp_path)}
        with anyio.fail_after(DEADLINE_S):
            config = load(kinds(), path=path, environ=environ)
            found = await checked(config, environ, takes_turn=False, done=lambda _: None)
    said = map(json.loads, agent.heard)
    folders = [one["params"]["cwd"] for one in said if one.get("method") == "session/new"]

    assert (True, [expected]) == (found.ok, folders)
    assert is_advised == any("write `cwd` in backends.box" in one for one in found.backends[0].advice)


# --- modes

MODES = {"currentModeId": "default", "availableModes": [{"id": "default"}, {"id": "plan"}]}
OPTION = {
    "id": "m",
    "category": "mode",
    "type": "select",
    "currentValue": "default",
    "options": [{"value": "default"}, {"name": "group", "options": [{"value": "yolo"}]}],
}
KNOWN = Row(modes={"default": "asks", "yolo": "acts"}, posture="edits")


@pytest.mark.parametrize(
    ("opened", "row", "expected"),
    [
        ({}, None, Modes()),
        ({}, KNOWN, Modes(posture="edits")),
        ({"modes": MODES}, None, Modes("default", ("default", "plan"))),
        ({"modes": MODES}, KNOWN, Modes("default", ("default", "plan"), "asks", {"default": "asks"})),
        ({"modes": None, "configOptions": [OPTION]}, None, Modes("default", ("default", "yolo"))),
        (
            {"modes": MODES, "configOptions": [OPTION, {"id": "model"}]},
            None,
            Modes("default", ("default", "plan", "yolo")),
        ),
        ({"modes": 7}, None, Modes()),
        ({"configOptions": [{**OPTION, "options": 7}]}, None, Modes("default")),
    ],
)
def test_modes_are_told_in_two_ways(opened: dict[str, object], row: Row | None, expected: Modes) -> None:
    """ACP v1: session modes, and options of category `mode`; what a row says of them is what they let it do."""
    assert expected == modes.of(About(opened=encode(opened)), row)


def test_a_fallback_without_a_counterpart_is_passed_over() -> None:
    """In each mode of the primary that `modes` does not map; never in the one that it opens in."""
    primary = Modes("default", ("default", "plan", "yolo"))
    own = Modes("ask", ("ask", "full"))

    held = modes.beside(own, primary, {"yolo": "full", "auto": "nowhere"})

    assert (("plan",), ("nowhere",)) == (held.unmapped, held.unknown)


# --- what they have in common


def test_only_what_is_known_can_be_shared() -> None:
    """Two agents of which nothing is known are not one."""
    all_of_them = {A: Domain("p", None, ("x",)), B: Domain("p", "$K", ("y",)), C: Domain(None, None, ("x",))}

    expected = (Shares(B, ("provider",)), Shares(C, ("command",)))
    assert expected == domains.shares(A, all_of_them)


@pytest.mark.parametrize(
    ("members", "environment", "expected"),
    [
        ({}, {}, "~/.x/login"),
        ({}, {"X_KEY": "k"}, "$X_KEY"),
        ({"auth": "key"}, {"X_KEY": "k"}, "$MINE"),
        ({"auth": "login"}, {}, "login of login"),
    ],
)
def test_a_credential_is_named_by_where_it_is(
    tmp_path: Path, members: dict[str, str], environment: dict[str, str], expected: str
) -> None:
    """The profile's reference, else what the agent finds by itself; its value is nobody's."""
    profiles = {"key": {"type": "api_key", "key": "${MINE}"}, "login": {"type": "agent"}}
    backends = {"a": {"kind": "acp", "command": ["x"], **members}}
    content = {"acp": {"backend": "a"}, "backends": backends, "auth": {"profiles": profiles}}
    config = load(kinds(), path=write(tmp_path, content), environ={"HOME": "/home/u"})
    row = Row(provider="p", login=Login(files=("~/.x/login",), environment=("X_KEY",)))

    assert Domain("p", expected, ("x",)) == domains.of(config, A, row, environment)


def test_an_agent_that_is_sent_to_a_server_of_this_machine_needs_no_credential(tmp_path: Path) -> None:
    """It does not fail with one that does."""
    content = {"acp": {"backend": "a"}, "backends": {"a": {"kind": "acp", "command": ["x"]}}}
    config = load(kinds(), path=write(tmp_path, content), environ={"HOME": "/home/u"})
    row = Row(login=Login(files=("~/.x/login",)), pointing=Pointing(local={"HOST": "{base}"}))

    found = [domains.of(config, A, row, env).credential for env in ({}, {"HOST": "http://127.0.0.1:2"})]

    assert ["~/.x/login", None] == found


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "openai"),
        ({"BASE": "http://127.0.0.1:1/v1/"}, "http://127.0.0.1:1"),
        ({"KIND": "local", "HOST": "http://127.0.0.1:2"}, "http://127.0.0.1:2"),
        ({"KIND": "openai", "HOST": "http://127.0.0.1:2"}, "openai"),
    ],
)
def test_an_agent_that_is_sent_elsewhere_has_another_provider(
    tmp_path: Path, environment: dict[str, str], expected: str
) -> None:
    """Who stands at that address is what it depends on; an address that another variable turns off is none."""
    content = {"acp": {"backend": "a"}, "backends": {"a": {"kind": "acp", "command": ["x"]}}}
    config = load(kinds(), path=write(tmp_path, content), environ={"HOME": "/home/u"})
    pointing = Pointing(env={"BASE": "{base}/v1"}, local={"KIND": "local", "HOST": "{base}"})

    assert expected == domains.of(config, A, Row(provider="openai", pointing=pointing), environment).provider
