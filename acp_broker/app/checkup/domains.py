"""What two backends of a chain have in common: what stops one of them may stop the other."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from acp_broker.app.references import shown, wanted_by
from acp_broker.config import AgentProfile, Config, GoogleProfile, OAuthProfile
from acp_broker.core.names import BackendId
from backends.acp.row import Row

What = Literal["provider", "credential", "command"]


class Shares(Struct, frozen=True):
    """`backend` is the other one; a chain survives what they do not share."""

    backend: BackendId
    what: tuple[What, ...]


class Domain(Struct, frozen=True):
    """Where one backend can fail; None: it is not known."""

    provider: str | None = None
    credential: str | None = None
    command: tuple[str, ...] | None = None


def of(config: Config, name: BackendId, row: Row | None, environment: Mapping[str, str]) -> Domain:
    """`environment` is its agent's own."""
    command = getattr(config.backends[name], "command", None)
    return Domain(_provider(row, environment), _credential(config, name, row, environment), command)


def shares(name: BackendId, domains: Mapping[BackendId, Domain]) -> tuple[Shares, ...]:
    """What a backend shares, and with whom, in the chain's order."""
    mine = domains[name]
    found = ((other, _common(mine, domain)) for other, domain in domains.items() if other != name)
    return tuple(Shares(other, what) for other, what in found if what)


def _common(one: Domain, other: Domain) -> tuple[What, ...]:
    kinds: Sequence[What] = ("provider", "credential", "command")
    alike = (what for what in kinds if getattr(one, what) == getattr(other, what))
    return tuple(what for what in alike if getattr(one, what) is not None)


def _provider(row: Row | None, environment: Mapping[str, str]) -> str | None:
    """The row's, unless a variable sends the agent to another address: then that is what it depends on."""
    if row is None:
        return None
    pointed = row.pointing.env if row.pointing is not None else {}
    elsewhere = [environment[name] for name, value in pointed.items() if "{base}" in value and environment.get(name)]
    return elsewhere[0].rstrip("/").removesuffix("/v1") if elsewhere else row.provider or None


def _credential(config: Config, name: BackendId, row: Row | None, environment: Mapping[str, str]) -> str | None:
    """The references that its profile reads; else the variable, or the login file, that its agent finds by itself."""
    wanted, auth = wanted_by(config, name), config.backends[name].auth
    if wanted:
        return ", ".join(shown(config, one) for one in wanted)
    if auth is not None and isinstance(config.auth.profiles[auth], AgentProfile | GoogleProfile | OAuthProfile):
        return f"login of {auth}"
    login = row.login if row is not None else None
    if login is None:
        return None
    variable = next((one for one in login.environment if environment.get(one)), None)
    if variable is not None:
        return f"${variable}"
    return next(iter(login.files), None)
