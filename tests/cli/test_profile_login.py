"""`acp-broker login PROFILE`, as a person runs it, before a real OAuth server; and what it says of other profiles."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from acp_broker.auth.lease import Logins
from acp_broker.auth.tokens import TokenSet
from acp_broker.cli import login
from acp_broker.clock import SystemClock
from acp_broker.core.names import ProfileId
from tests.support.config import write
from tests.support.oidc import OidcServer, oidc_server, visit
from tests.support.token_server import said, token_server

pytestmark = pytest.mark.anyio

TOP = Path(__file__).parents[2]
WORK = ProfileId("work")
# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def server():
    with oidc_server() as server:
        yield server


def config(**profiles: object) -> dict[str, object]:
    backends = {"claude": {"kind": "scripted", "auth": "work"}, "spare": {"kind": "scripted", "auth": "work"}}
    return {"acp": {"backend": "claude"}, "backends": backends, "auth": {"profiles": profiles}}


def of(server: OidcServer) -> dict[str, object]:
    return {
        "type": "oauth",
        "clientId": "public",
        "tokenUrl": server.token_url,
        "authorizationUrl": server.authorization_url,
        "deviceAuthorizationUrl": server.device_url,
        "scopes": ["openid", "email", "offline_access"],
        "parameters": {"prompt": "consent"},
    }


class Terminal:
    """`acp-broker login work` in a process of its own; `until` reads what it says up to a match."""

    def __init__(self, folder: Path, profile: object) -> None:
        self.config = write(folder, config(work=profile))
        self.home = folder / "state"
        self.said = ""

    async def begin(self, *words: str, **environ: str) -> None:
        hidden = ("SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
        env: Mapping[str, str] = {name: value for name, value in os.environ.items() if name not in hidden}
        command = ["-m", "acp_broker.cli.main", "--config", str(self.config), "login", "work", *words]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**env, "ACP_BROKER_HOME": str(self.home), **environ},
        )

    async def until(self, pattern: str) -> str:
        async with asyncio.timeout(DEADLINE_S):
            while (found := re.search(pattern, self.said)) is None:
                line = await self.process.stdout.readline()
                assert line, self.said
                self.said += line.decode()
        return found[1]

    async def end(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            self.said += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    def kept(self) -> TokenSet | None:
        stored = Logins(self.home, SystemClock()).read(WORK)
        return stored.tokens if stored is not None else None


async def test_a_person_logs_in_with_a_browser_and_the_login_is_kept(tmp_path: Path, server: OidcServer) -> None:
    """What is said, what is kept, and that nobody else can read it."""
    terminal = Terminal(tmp_path, of(server))
    await terminal.begin("--browser")
    address = await terminal.until(r"(http://127\.0\.0\.1:\d+/auth\?\S+)\n")
    page = await visit(address, {"login": "me", "password": "any"})
    code = await terminal.end()
    tokens = terminal.kept()

    assert (0, True, "me@test.example") == (code, "You are logged in" in page, tokens and tokens.account)
    assert "work is a profile; it is used by claude, spare.\n" in terminal.said
    assert re.search(
        r"\nLogged in to work as me@test\.example\. The token is good until \d\d:\d\d, and renewed by itself\.\n$",
        terminal.said,
    )
    assert [] == [one for one in (tokens.access, tokens.refresh) if one in terminal.said]
    assert [] == [file.name for file in (tmp_path / "state").rglob("*.json") if file.stat().st_mode & 0o077]


async def test_a_browser_is_opened_where_there_is_one(tmp_path: Path, server: OidcServer) -> None:
    """$BROWSER is a person's own choice. The address is shown all the same: another browser may be the right one."""
    script, person = tmp_path / "browser", f"cd {TOP} && {sys.executable} -m tests.support.oidc"
    script.write_text(f'#!/bin/sh\n{person} "$1" >/dev/null\n')
    script.chmod(0o700)
    terminal = Terminal(tmp_path, of(server))
    await terminal.begin(BROWSER=f"{script} %s")

    assert (0, "me@test.example") == (await terminal.end(), terminal.kept().account)
    assert re.search(r"\n    http://127\.0\.0\.1:\d+/auth\?\S+\n", terminal.said)


@pytest.mark.parametrize("words", [[], ["--device"]])
async def test_without_a_browser_a_code_is_shown(tmp_path: Path, words: list[str]) -> None:
    """On a server, over ssh: the browser is on another machine."""
    begun = {
        "device_code": "d3vice",
        "user_code": "ABCD-EFGH",
        "verification_uri": "https://tokens.test/device",
        "verification_uri_complete": "https://tokens.test/device?code=ABCD-EFGH",
        "expires_in": 600,
        "interval": 0.01,
    }
    pending, good = said({"error": "authorization_pending"}, 400), said({"access_token": "s3cret"})
    async with token_server(said(begun), pending, good) as server:
        profile = {
            "type": "oauth",
            "clientId": "me",
            "tokenUrl": server.url,
            "authorizationUrl": server.url,
            "deviceAuthorizationUrl": server.url,
        }
        terminal = Terminal(tmp_path, profile)
        await terminal.begin(*words)
        code = await terminal.end()

    assert (
        """\
work is a profile; it is used by claude, spare.
Open https://tokens.test/device in a browser, on any device, and type the code:

    ABCD-EFGH

Or open https://tokens.test/device?code=ABCD-EFGH, which has it already.
The code is good for 10 minutes. Ctrl-C gives up.
Logged in to work. The token is good, and cannot be renewed: its server gave no refresh token; many do only for the \
scope offline_access.
"""
        == terminal.said
    )
    assert (0, "s3cret") == (code, terminal.kept().access)


@pytest.mark.parametrize("way", ["--browser", "--device"])
async def test_ctrl_c_gives_up(tmp_path: Path, server: OidcServer, way: str) -> None:
    """Without a word, and nothing is left of it; the server has nothing to say for minutes yet."""
    terminal = Terminal(tmp_path, of(server))
    await terminal.begin(way)
    await terminal.until(r"(Ctrl-C gives up\.)")
    terminal.process.send_signal(signal.SIGINT)
    code = await terminal.end()

    assert (130, True, None) == (code, terminal.said.endswith("Ctrl-C gives up.\n"), terminal.kept())


async def test_a_login_that_fails_keeps_what_was_there(tmp_path: Path) -> None:
    """The old one may be as good as before."""
    async with token_server(said({"error": "invalid_client"}, 401)) as server:
        profile = {
            "type": "oauth",
            "clientId": "me",
            "tokenUrl": server.url,
            "deviceAuthorizationUrl": server.url,
        }
        terminal = Terminal(tmp_path, profile)
        Logins(terminal.home, SystemClock()).put(WORK, TokenSet(access="old"))
        await terminal.begin()
        code = await terminal.end()

    why = "acp-broker: 127.0.0.1 does not take the client: look at clientId, clientSecret and clientAuthentication: "
    assert (1, True, "old") == (code, f"{why}invalid_client\n" in terminal.said, terminal.kept().access)


BOTH = """\
'both' is a backend and a profile of {path}: name a METHOD for its agent's own login, or say --browser or --device"""
OAUTH = {"type": "oauth", "clientId": "c", "tokenUrl": "https://t.test/token"}


@pytest.mark.parametrize(
    ("profile", "how", "text"),
    [
        (
            {"type": "api_key", "key": "$KEY"},
            None,
            "profile work is a secret that you have already: acp-broker auth set work",
        ),
        (
            {"type": "google"},
            None,
            "profile work has Google's own credentials: gcloud auth application-default login",
        ),
        (
            {"type": "google", "credentialsFile": "/key.json"},
            None,
            "profile work has Google's own credentials, in /key.json",
        ),
        ({"type": "agent"}, None, "profile work is its agent's own login: acp-broker login claude"),
        (
            OAUTH,
            None,
            "nobody can log in by it: say authorizationUrl or deviceAuthorizationUrl in auth.profiles.work of {path}",
        ),
        (
            {**OAUTH, "authorizationUrl": "https://t.test"},
            "device",
            "there is no deviceAuthorizationUrl in auth.profiles.work of {path}; it has: --browser",
        ),
        (
            {**OAUTH, "deviceAuthorizationUrl": "https://t.test"},
            "browser",
            "there is no authorizationUrl in auth.profiles.work of {path}; it has: --device",
        ),
    ],
)
def test_what_nobody_can_log_in_by_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], profile: object, how, text: str
) -> None:
    """With what to do in its place."""
    path = write(tmp_path, config(work=profile))
    code = login.run(path, {"ACP_BROKER_HOME": str(tmp_path / "state")}, "work", None, how)

    assert (1, f"acp-broker: {text.format(path=path)}\n") == (code, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("name", "how", "text"),
    [
        (
            "claude",
            "device",
            "--device is for profiles; no profile is called 'claude' in {path}",
        ),
        (
            "both",
            None,
            BOTH,
        ),
        ("wrok", None, "no agent is called 'wrok' in {path}; known: both; profiles: both"),
    ],
)
def test_what_a_name_means_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, how, text: str
) -> None:
    """A backend and a profile may be called alike."""
    content = config(both=OAUTH, work={"type": "agent"})
    content["backends"] = {**content["backends"], "both": {"kind": "acp", "command": ["agent"]}}
    path = write(tmp_path, content)
    code = login.run(path, {"ACP_BROKER_HOME": str(tmp_path / "state")}, name, None, how)

    assert (1, f"acp-broker: {text.format(path=path)}\n") == (code, capsys.readouterr().err)
