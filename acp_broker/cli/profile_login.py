"""`acp-broker login PROFILE`: log a person in, with a browser on this machine or with a code on another one."""

import sys
import threading
import time
import webbrowser
from collections.abc import Mapping
from datetime import datetime
from functools import partial

import anyio

from acp_broker.app import credentials
from acp_broker.app.credentials import How
from acp_broker.auth.device import Code
from acp_broker.auth.tokens import Stored
from acp_broker.cli.terminal import plain
from acp_broker.config import AgentProfile, ApiKeyProfile, Config, GoogleProfile, OAuthProfile, Profile, TokenProfile
from acp_broker.core.names import ProfileId
from acp_broker.errors import UsageError

_DAY_S = 86_400


def log_in(config: Config, environ: Mapping[str, str], name: ProfileId, how: How | None) -> None:
    """Until the person has logged in. Raises UsageError, AuthRejected, AuthUnavailable, StoreError."""
    profile = config.auth.profiles[name]
    if not isinstance(profile, OAuthProfile):
        raise UsageError(f"profile {name} {_elsewhere(config, name, profile)}")
    way = _way(config, name, profile, how, has_browser=_has_browser(environ))
    used_by = ", ".join(credentials.users(config, name)) or "no backend"
    _say(f"{name} is a profile; it is used by {used_by}.")
    show = partial(_show, opens=_has_browser(environ))
    stored = anyio.run(credentials.log_in, config, environ, name, profile, show, way)
    _say(_done(name, stored, time.time()))


def _elsewhere(config: Config, name: ProfileId, profile: Profile) -> str:
    match profile:
        case ApiKeyProfile() | TokenProfile():
            return f"is a secret that you have already: acp-broker auth set {name}"
        case GoogleProfile(credentials_file=None):
            return "has Google's own credentials: gcloud auth application-default login"
        case GoogleProfile(credentials_file=file):
            return f"has Google's own credentials, in {file}"
        case AgentProfile():
            backend = next(iter(credentials.users(config, name)), "BACKEND")
            return f"is its agent's own login: acp-broker login {backend}"
        case _:
            raise AssertionError("an oauth profile")


def _way(config: Config, name: ProfileId, profile: OAuthProfile, how: How | None, *, has_browser: bool) -> How:
    ways = credentials.ways(profile)
    where = f"auth.profiles.{name} of {config.source}"
    if not ways:
        raise UsageError(f"nobody can log in by it: say authorizationUrl or deviceAuthorizationUrl in {where}")
    if how is not None and how not in ways:
        key = "authorizationUrl" if how == "browser" else "deviceAuthorizationUrl"
        raise UsageError(f"there is no {key} in {where}; it has: --{ways[0]}")
    if how is not None:
        return how
    return ways[0] if has_browser else ways[-1]


def _has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a window can be opened here: without one, Python would start a browser in the terminal."""
    if environ.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _show(shown: str | Code, *, opens: bool) -> None:
    if isinstance(shown, Code):
        _say(f"Open {shown.address} in a browser, on any device, and type the code:")
        _say(f"\n    {shown.user_code}\n")
        if shown.direct is not None:
            _say(f"Or open {shown.direct}, which has it already.")
        _say(f"The code is good for {shown.lasts_s / 60:.0f} minutes. Ctrl-C gives up.")
        return
    _say(f"Log in with a browser on this machine, at:\n\n    {shown}\n\nCtrl-C gives up.")
    if opens:
        # Starting one may take as long as it likes, and has nothing to tell us.
        threading.Thread(target=webbrowser.open, args=(shown,), daemon=True).start()


def _done(name: ProfileId, stored: Stored, now: float) -> str:
    tokens = stored.tokens
    account = f" as {plain(tokens.account)}" if tokens.account is not None else ""
    until = "" if tokens.expires_at is None else f" until {when(tokens.expires_at, now)}"
    if tokens.refresh is not None:
        return f"Logged in to {name}{account}. The token is good{until}, and renewed by itself."
    why = "its server gave no refresh token; many do only for the scope offline_access"
    return f"Logged in to {name}{account}. The token is good{until}, and cannot be renewed: {why}."


def when(wall: float, now: float) -> str:
    """A point in time as a person here says it: the hour alone, if it is within a day."""
    there = datetime.fromtimestamp(wall).astimezone()
    return f"{there:%H:%M}" if abs(wall - now) < _DAY_S else f"{there:%Y-%m-%d %H:%M}"


def _say(text: str) -> None:
    # Never wrapped: an address is copied in one piece.
    print(plain(text), flush=True)
