"""Tokens that end while a session goes on: what asks over HTTP has a good one at each turn, whoever made it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
from anyio import to_thread

from acp_broker.app.kinds import kinds
from acp_broker.app.policy import policy
from acp_broker.app.vault import opened
from acp_broker.auth.lease import Logins
from acp_broker.auth.tokens import TokenSet
from acp_broker.broker.runtime import Leased
from acp_broker.config import load
from acp_broker.core.names import ProfileId, ProjectId, Projects
from backends import anthropic_vertex
from tests.auth.programs import kept
from tests.auth.test_google import account, login
from tests.support.answered import listening
from tests.support.broker import BrokerProcess, chain
from tests.support.clock import FakeClock
from tests.support.config import write
from tests.support.harness import House, Log, house, runtime
from tests.support.provider import Pace, Provider, provider
from tests.support.rotating import Minting, Rotating, rotating

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare"}]] * 3}
LASTS_S = 3600.0
FAST = Pace(0.002, 0.02)
CLAUDE = {"kind": "anthropic-vertex", "model": "drill-model"}
GEMINI = {"kind": "gemini", "model": "drill-model", "vertex": {"location": "europe-west1"}}


class Lid(FakeClock):
    """The clock of a laptop that is shut for a while: the wall's time goes on, and no timer rings."""

    shut_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.shut_s


def configured(entry: dict, url: str, profile: dict) -> dict:
    primary = {"baseUrl": f"{url}/v1", "auth": "work", **entry}
    spare = {"kind": "scripted", "script": SPARE}
    return {**chain(primary=primary, spare=spare), "auth": {"profiles": {"work": profile}}}


@asynccontextmanager
async def broker(folder: Path, config: dict, clock: FakeClock) -> AsyncIterator[House]:
    """A broker in this process with the credentials of a config.json, whose tokens age by this clock."""
    environ = {"HOME": str(folder)}
    found = load(kinds(), path=write(folder, config), environ=environ)
    async with opened(_nothing_started, environ, clock, 4, folder / "home", Log()) as vault:
        runtimes = policy(found, _nothing_started, vault).runtimes
        async with house(folder, **runtimes) as home:
            yield home


async def _nothing_started(*_: object, **__: object):
    raise AssertionError("no process in these tests")


async def two_turns(folder: Path, server: Provider, issuer: Rotating, config: dict) -> list[str]:
    """The tokens that came, each good when it did; between the turns the first one has ended."""
    clock = Lid()
    issuer.now = clock.wall
    came: list[float] = []
    server.watch = lambda _: came.append(clock.wall())
    async with broker(folder, config, clock) as home:
        editor = await listening(home)
        session = await editor.new()
        first = await editor.prompted(session)
        clock.shut_s = 2 * LASTS_S
        second = await editor.prompted(session)
    tokens = [one.headers["authorization"].removeprefix("Bearer ") for one in server.asked()]

    assert (["primary"], ["primary"]) == (first.attempts, second.attempts)
    assert [True, True] == [at < issuer.ends[token] for token, at in zip(tokens, came, strict=True)]
    return tokens


@pytest.mark.parametrize("entry", [CLAUDE, GEMINI], ids=["claude", "gemini"])
async def test_a_service_accounts_token_that_ends_between_two_turns_is_made_anew(tmp_path, entry):
    """Its session was opened with the one before, which Vertex would refuse; the project is that of its file."""
    async with provider("alpha beta", pace=FAST) as server:
        with rotating(Minting(lasts_s=LASTS_S)) as issuer:
            file = kept(tmp_path, account(issuer.url, project_id="of-file", quota_project_id="payer"))
            profile = {"type": "google", "credentialsFile": str(file)}
            tokens = await two_turns(tmp_path, server, issuer, configured(entry, server.url, profile))

    assert 2 == len(set(tokens))
    assert [True, True] == ["/projects/of-file/locations/" in one.path for one in server.asked()]
    assert ["payer", "payer"] == [one.headers["x-goog-user-project"] for one in server.asked()]


@pytest.mark.parametrize("kind", ["anthropic", "openai", "gemini"])
async def test_a_login_that_ends_between_two_turns_is_renewed(tmp_path, kind):
    """Whatever made the token: the next turn must not be sent with what the session was opened with."""
    async with provider("alpha beta", pace=FAST) as server:
        with rotating(Rotating(lasts_s=LASTS_S)) as issuer:
            (tmp_path / "home").mkdir(mode=0o700)
            ended = TokenSet(access="ended", refresh=issuer.refresh, expires_at=1.0)
            Logins(tmp_path / "home", FakeClock()).put(ProfileId("work"), ended)
            profile = {"type": "oauth", "clientId": "me", "tokenUrl": issuer.url}
            entry = {"kind": kind, "model": "drill-model"}
            tokens = await two_turns(tmp_path, server, issuer, configured(entry, server.url, profile))

    assert 2 == len(set(tokens))


def one_turn(folder: Path, config: dict) -> list[object]:
    """By a process of its own: how the turn ended, and who was tried."""
    (folder / "home").mkdir(mode=0o700)
    with BrokerProcess(folder, config, home=folder / "home", env={"HOME": str(folder)}) as process:
        turn = process.prompt(process.open(), "hello")
    return [turn.reply["result"]["stopReason"], *turn.attempts]


async def test_a_persons_login_is_found_where_gcloud_leaves_it(tmp_path):
    """Nothing but `"type": "google"` is written: the project is the one that the login names for its quota."""
    folder = tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    async with provider("alpha beta", pace=FAST) as server:
        with rotating(Minting()) as issuer:
            file = folder / "application_default_credentials.json"
            file.write_text(login(issuer.url, quota_project_id="mine"))
            file.chmod(0o600)
            config = configured(CLAUDE, server.url, {"type": "google"})
            outcome = await to_thread.run_sync(partial(one_turn, tmp_path, config))
    (asked,) = server.asked()

    assert ["end_turn", "primary"] == outcome
    assert (True, "Bearer canary-access-1") == (
        "/projects/mine/locations/global/" in asked.path,
        asked.headers["authorization"],
    )


async def test_a_token_that_vertex_refuses_is_not_shown_to_it_again(tmp_path):
    """Revoked before its time: the spare answers, and when the profile has rested another token is sent."""
    tokens = ["ya29.fresh", "ya29.revoked"]

    def distrust() -> bool:
        tokens.pop()
        return True

    async def lease(_environ, _credential) -> Leased:
        return Leased(tokens[-1], is_token=True, distrust=distrust, projects=Projects(ProjectId("p")))

    async with provider("alpha beta", "401", pace=FAST) as server:
        settings = msgspec.convert({**CLAUDE, "baseUrl": server.url}, anthropic_vertex.config)
        primary = runtime("primary", partial(anthropic_vertex.open, settings), profile="gcp", lease=lease)
        async with house(tmp_path, primary=primary, spare=SPARE) as home:
            editor = await listening(home)
            session = await editor.new()
            refused = await editor.prompted(session)
            server.fault = "good"
            await home.clock.advance(31)
            after = await editor.prompted(session)

    assert (["primary auth_rejected", "spare"], ["primary"]) == (refused.attempts, after.attempts)
    assert ["Bearer ya29.revoked", "Bearer ya29.fresh"] == [one.headers["authorization"] for one in server.asked()]


async def test_a_token_is_in_no_log_and_no_file(tmp_path):
    """Google's errors do not quote it, but a gateway's may."""
    async with provider("alpha beta", "401", pace=FAST) as server:
        with rotating(Minting()) as issuer:
            file = kept(tmp_path, account(issuer.url))
            config = configured(CLAUDE, server.url, {"type": "google", "credentialsFile": str(file)})
            outcome = await to_thread.run_sync(partial(one_turn, tmp_path, config))
    (token,) = issuer.ends
    found = [path for path in tmp_path.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]

    assert (["end_turn", "primary auth_rejected", "spare"], []) == (outcome, found)
