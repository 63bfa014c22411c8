"""From a profile in config.json to what asks for its tokens."""

from pathlib import Path

import pytest

from acp_broker.app.token_sources import token_source
from acp_broker.auth.google import GoogleSource
from acp_broker.auth.tokens import TokenSet
from acp_broker.config import GoogleProfile, OAuthProfile, SecretRef
from tests.support.clock import FakeClock
from tests.support.token_server import said, token_server

pytestmark = pytest.mark.anyio


async def shown(wanted: SecretRef) -> str:
    return f"secret of {wanted.id}"


async def test_an_oauth_profile_is_refreshed_by_its_own_client() -> None:
    """Its secret is looked up when it is needed."""
    async with token_server(said({"access_token": "new"})) as server:
        profile = OAuthProfile("me", server.url, client_secret="${MINE}", client_authentication="post")
        await token_source(profile, shown, {}, FakeClock()).refresh(TokenSet(access="a", refresh="r"))

    client = {"client_id": "me", "client_secret": "secret of MINE"}
    assert {"grant_type": "refresh_token", "refresh_token": "r", **client} == server.asked[0].form


async def test_a_google_profile_is_what_config_says() -> None:
    """The file, the scopes, and whether the machine may be asked."""
    clock, environ = FakeClock(), {"HOME": "/home/u"}
    profile = GoogleProfile(Path("/key.json"), ("mail",), metadata_server=True)

    assert GoogleSource(clock, environ, ("mail",), Path("/key.json"), may_ask_machine=True) == token_source(
        profile, shown, environ, clock
    )
