"""From a profile to who gets newer tokens for it. A module of its own: most brokers have no such profile."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from acp_broker.auth.google import GoogleSource
from acp_broker.auth.oauth import Client, Endpoint, OAuthSource
from acp_broker.auth.tokens import TokenSource
from acp_broker.clock import Clock
from acp_broker.config import GoogleProfile, OAuthProfile, SecretRef, reference

# Looks a secret up. Raises Unresolved.
Resolve = Callable[[SecretRef], Awaitable[str]]


def token_source(
    profile: OAuthProfile | GoogleProfile, resolve: Resolve, environ: Mapping[str, str], clock: Clock
) -> TokenSource:
    """`environ` is the broker's: it says where Google's credentials are."""
    match profile:
        case OAuthProfile():
            return OAuthSource(endpoint(profile, resolve, clock))
        case GoogleProfile(credentials_file=file, scopes=scopes, metadata_server=may_ask_machine):
            return GoogleSource(clock, environ, scopes, file, may_ask_machine)


def endpoint(profile: OAuthProfile, resolve: Resolve, clock: Clock) -> Endpoint:
    """Where a profile's tokens come from."""
    return Endpoint(profile.token_url, client(profile, resolve), clock)


def client(profile: OAuthProfile, resolve: Resolve) -> Client:
    """Who a profile is to its server; its secret is looked up each time."""
    secret = profile.client_secret
    look_up = None if secret is None else partial(resolve, reference(secret))
    return Client(profile.client_id, look_up, profile.client_authentication)
