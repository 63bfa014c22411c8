"""`acp-broker auth`: how the profiles are, and putting a secret in, logging out, and taking a claim from its owner."""

import getpass
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import msgspec

from acp_broker.app import credentials, kinds
from acp_broker.app.auth_status import auth_status
from acp_broker.app.references import provider_id, provider_of, shown
from acp_broker.auth.lease import Logins
from acp_broker.cli.auth_table import told
from acp_broker.cli.terminal import plain, table_console
from acp_broker.clock import SystemClock
from acp_broker.config import (
    AgentProfile,
    Config,
    EnvSecret,
    FileProvider,
    KeyringSecret,
    OAuthProfile,
    Profile,
    SecretRef,
    load,
    secrets_of,
    state_dir,
)
from acp_broker.core.names import ProfileId
from acp_broker.core.ownership import Kind
from acp_broker.errors import BrokerError, UsageError

# The longest that any provider gives out is a tenth of it.
_MOST_BYTES = 65_536


def status(path: Path | None, environ: Mapping[str, str], *, as_json: bool) -> int:
    """A table for a person, or all of it as JSON; 1 where a profile of the chain has no credential to be tried."""
    try:
        config = load(kinds(), path=path, environ=environ)
        clock = SystemClock()
        found = anyio.run(auth_status, config, environ, clock)
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        table_console().print(told(found, clock.wall()))
    return 0 if found.ok else 1


def run(path: Path | None, environ: Mapping[str, str], action: str, name: str, words: Sequence[str]) -> int:
    """`set`, `logout` or `unlock` for one profile; 1 where it cannot be done, which is said."""
    try:
        config = load(kinds(), path=path, environ=environ)
        profile = config.auth.profiles.get(ProfileId(name))
        if profile is None:
            known = ", ".join(config.auth.profiles) or "none"
            raise UsageError(f"no profile is called {name!r} in {config.source}; known: {known}")
        match action:
            case "set":
                _set(config, environ, ProfileId(name), _wanted(config, name, profile, words))
            case "logout" if isinstance(profile, OAuthProfile):
                _log_out(config, environ, ProfileId(name), profile)
            case "logout" if isinstance(profile, AgentProfile):
                backend = anyio.run(credentials.log_agent_out, config, environ, ProfileId(name))
                print(f"The agent of {backend} has logged out of {name}.")
            case "logout":
                _forget(config, environ, _wanted(config, name, profile, words))
            case _:
                _unlock(environ, ProfileId(name), profile, is_forced=bool(words))
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1
    return 0


def _set(config: Config, environ: Mapping[str, str], name: ProfileId, wanted: KeyringSecret) -> None:
    secret = _asked(name)
    path = anyio.run(credentials.keep, config, environ, wanted, secret)
    if path is None:
        print(f"Kept in the keyring, as {wanted.id}.")
    else:
        print(f"No keyring service is here: kept in {path}, which you alone can read. It is not encrypted.")
    print("A broker that runs may believe the old one for five minutes, unless that is refused.")


def _asked(name: ProfileId) -> str:
    """What a person types without seeing it, or what comes by a pipe. Raises UsageError."""
    if sys.stdin.isatty():
        try:
            secret = getpass.getpass(f"The secret of {name} (it is not shown): ")
        except EOFError:
            secret = ""
    else:
        data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UsageError(f"that is longer than any secret: more than {_MOST_BYTES} bytes")
        try:
            secret = data.decode()
        except UnicodeDecodeError:
            raise UsageError("that is no text in UTF-8") from None
        secret = secret.removesuffix("\n").removesuffix("\r")
    if not secret or "\0" in secret:
        raise UsageError("a secret has at least one character, and no NUL; nothing was changed")
    return secret


def _log_out(config: Config, environ: Mapping[str, str], name: ProfileId, profile: OAuthProfile) -> None:
    trouble = anyio.run(credentials.log_out, config, environ, name, profile)
    if trouble is not None:
        print(f"acp-broker: its server could not be told: {trouble}", file=sys.stderr)
    told = "" if profile.revocation_url is None or trouble is not None else ", and its tokens are revoked"
    print(f"Logged out of {name}{told}. Agents that run keep what they were started with.")


def _forget(config: Config, environ: Mapping[str, str], wanted: KeyringSecret) -> None:
    if not anyio.run(credentials.forget, config, environ, wanted):
        raise UsageError(f"there is no {shown(config, wanted)}")
    print(f"Removed {shown(config, wanted)}. Agents that run keep what they were started with.")


def _unlock(environ: Mapping[str, str], name: ProfileId, profile: Profile, *, is_forced: bool) -> None:
    if not isinstance(profile, OAuthProfile):
        raise UsageError(f"{name} is no login: nobody renews it, so nothing of it is locked")
    logins = Logins(state_dir(environ), SystemClock())
    verdict = logins.unlock(name, is_forced=is_forced)
    if verdict is None:
        print(f"Nobody renews {name}: nothing is locked.")
    elif verdict.kind is Kind.LIVE and not is_forced:
        why = "two that ask at a time may end the login. It gives up by itself within a minute"
        raise UsageError(f"{plain(verdict.text)}: {why}; or all the same: acp-broker auth unlock {name} --force")
    else:
        print(f"Removed the claim on {name}. {plain(verdict.text)}")


def _wanted(config: Config, name: str, profile: Profile, words: Sequence[str]) -> KeyringSecret:
    """The reference that is meant. Raises UsageError, which says where the secret is kept instead."""
    every = secrets_of(profile)
    ours = [one for one in every if isinstance(one, KeyringSecret)]
    named = [one for one in ours if not words or one.id == words[0]]
    if len(named) == 1:
        return named[0]
    if ours:
        raise UsageError(
            f"profile {name} has these: {', '.join(one.id for one in ours)}; name one of them behind {name}"
        )
    if not every:
        raise UsageError(f"profile {name} holds no secret of its own: {_login_of(name, profile)}")
    raise UsageError(f"profile {name} reads {shown(config, every[0])}: {_place_of(config, name, every[0])}")


def _login_of(name: str, profile: Profile) -> str:
    if isinstance(profile, OAuthProfile):
        return f"acp-broker login {name}"
    return "it is kept by the agent, or by Google's own tools"


def _place_of(config: Config, name: str, wanted: SecretRef) -> str:
    if isinstance(wanted, EnvSecret):
        kept = f'{{"source": "keyring", "id": "{name}"}}'
        return f"set that variable where acp-broker is started, or refer to {kept} in config.json"
    provider = provider_of(config, wanted)
    if isinstance(provider, FileProvider):
        return f"it is kept in {provider.path}"
    return f'the program of "{provider_id(config, wanted)}" keeps it'
