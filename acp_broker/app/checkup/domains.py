"""What two backends of a chain have in common: what stops one of them may stop the other."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from acp_broker.app import logins
from acp_broker.app.references import shown, wanted_by
from acp_broker.backend_config import BackendConfig
from acp_broker.config import AgentProfile, Config, GoogleProfile, OAuthProfile
from acp_broker.core.names import BackendId
from backends.acp.row import Row

# `everything`: but for its name the one is the other.
What = Literal["provider", "credential", "command", "everything"]


class Shares(Struct, frozen=True):
    """`backend` is the other one; a chain survives what they do not share."""

    backend: BackendId
    what: tuple[What, ...]


class Domain(Struct, frozen=True):
    """Where one backend can fail; None: it is not known."""

    provider: str | None = None
    credential: str | None = None
    command: tuple[str, ...] | None = None
    asks: BackendConfig | None = None


def of(config: Config, name: BackendId, row: Row | None, environment: Mapping[str, str]) -> Domain:
    """`environment` is its agent's own."""
    settings = config.backends[name]
    command = getattr(settings, "command", None)
    provider = settings.provider or _provider(row, environment)
    return Domain(provider, _credential(config, name, row, environment), command, settings.asks)


def shares(name: BackendId, domains: Mapping[BackendId, Domain]) -> tuple[Shares, ...]:
    """What a backend shares, and with whom, in the chain's order."""
    mine = domains[name]
    found = ((other, _common(mine, domain)) for other, domain in domains.items() if other != name)
    return tuple(Shares(other, what) for other, what in found if what)


def _common(one: Domain, other: Domain) -> tuple[What, ...]:
    if one.asks is not None and one.asks == other.asks:
        return ("everything",)
    kinds: Sequence[What] = ("provider", "credential", "command")
    alike = (what for what in kinds if getattr(one, what) == getattr(other, what))
    return tuple(what for what in alike if getattr(one, what) is not None)


def _provider(row: Row | None, environment: Mapping[str, str]) -> str | None:
    """The row's, unless a variable sends the agent to another address: then that is what it depends on."""
    if row is None:
        return None
    ways = (row.pointing.local, row.pointing.env) if row.pointing is not None else ()
    elsewhere = [place for way in ways for place in _places(way, environment)]
    return elsewhere[0].rstrip("/").removesuffix("/v1") if elsewhere else row.provider or None


def _places(way: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """The addresses in the variables of one way of pointing, if those of a fixed value have it."""
    if any("{" not in value and environment.get(name) != value for name, value in way.items()):
        return []
    return [environment[name] for name, value in way.items() if "{base}" in value and environment.get(name)]


def _credential(config: Config, name: BackendId, row: Row | None, environment: Mapping[str, str]) -> str | None:
    """The references that its profile reads; else the variable, or the login file, that its agent finds by itself."""
    wanted, auth = wanted_by(config, name), config.backends[name].auth
    if wanted:
        return ", ".join(shown(config, one) for one in wanted)
    if auth is not None and isinstance(config.auth.profiles[auth], AgentProfile | GoogleProfile | OAuthProfile):
        return f"login of {auth}"
    if row is None or row.login is None or (row.pointing is not None and _places(row.pointing.local, environment)):
        return None
    credentials = logins.seen(row, environment).credentials
    return f"${credentials[0]}" if credentials else next(iter(row.login.files), None)
