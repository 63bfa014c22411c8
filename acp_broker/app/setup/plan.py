"""Everything that `init` would do, before it does it: stable fields, which docs/setup.md explains."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from acp_broker.app.setup.choosing import MOST, Chosen, chosen, servers_left, withheld
from acp_broker.app.setup.finding import Agent, found
from acp_broker.app.setup.providers import Provider
from acp_broker.app.setup.servers import Server
from acp_broker.app.setup.writing import document, is_there
from backends.acp.row import Row
from backends.acp.rows import known as known_rows


class Here(Struct, frozen=True, rename="camel"):
    """A known agent that is here, or whose login is. `program` is where it was found."""

    name: str
    title: str
    program: str | None
    login: tuple[str, ...]
    is_logged_in: bool


class Keyed(Struct, frozen=True, rename="camel"):
    """A provider that there is a key or a login for. `model`: null where it makes no backend, and `says` why.

    `is_assumed`: the model is one that is known to be good, and not one that the provider has told. `is_asked`: it
    was called, with that key, for its list of models.
    """

    id: str
    title: str
    login: str
    says: str
    model: str | None
    is_assumed: bool
    is_asked: bool


class Place(Struct, frozen=True, rename="camel"):
    """A backend of the chain, and why it stands there."""

    id: str
    why: str
    is_agent: bool


class Advised(Struct, frozen=True, rename="camel"):
    """An agent that is not here: what installs it, and how to log in then."""

    name: str
    install: str
    login: str
    is_logged_in: bool


class Plan(Struct, frozen=True, rename="camel", kw_only=True):
    """`config` is what would stand in `file`; null: nobody was found. `unused` are agents beyond what a chain holds.

    `variables`: those that must be set where the broker runs, by name. `withheld`: those that agents which may ask any
    provider do not get, as providers do. `idle`: model servers that nobody is sent to.
    """

    file: str
    is_there: bool
    is_written: bool = False
    agents: tuple[Here, ...]
    providers: tuple[Keyed, ...]
    servers: tuple[Server, ...]
    idle: tuple[str, ...]
    chain: tuple[Place, ...]
    unused: tuple[str, ...]
    variables: tuple[str, ...]
    withheld: tuple[str, ...]
    install: tuple[Advised, ...]
    config: dict[str, object] | None


async def planned(
    file: Path,
    environ: Mapping[str, str],
    rows: Mapping[str, Row] | None = None,
    *,
    may_ask: bool = False,
) -> Plan:
    """Look at this machine, and decide; nothing is written or started. `rows` are the known agents, unless given.

    `may_ask`: providers are asked for their models, with the keys that are here.
    """
    here = await found(known_rows() if rows is None else rows, environ, may_ask=may_ask)
    everybody = chosen(here)
    chain, beyond = everybody[:MOST], everybody[MOST:]
    return Plan(
        file=str(file),
        is_there=is_there(file),
        agents=tuple(_here(one) for one in here.agents if one.program is not None or one.login.files),
        providers=tuple(map(_keyed, here.providers)),
        servers=here.servers,
        idle=tuple(server.name for server in servers_left(here, chain)),
        chain=tuple(Place(one.id, one.why, one.row is not None) for one in chain),
        unused=tuple(one.id for one in beyond),
        variables=tuple(dict.fromkeys(_variables(chain))),
        withheld=withheld(everybody)[0],
        install=tuple(_advised(here.agents)),
        config=document(chain, beyond) if chain else None,
    )


def _variables(chain: Sequence[Chosen]) -> Iterator[str]:
    return (one.variable for one in chain if one.variable is not None)


def _keyed(one: Provider) -> Keyed:
    return Keyed(one.id, one.title, one.login, one.says, one.model, one.is_assumed, one.is_asked)


def _here(agent: Agent) -> Here:
    return Here(agent.name, agent.row.title or agent.name, agent.program, agent.login.names, agent.is_logged_in)


def _advised(agents: Sequence[Agent]) -> Iterator[Advised]:
    """Those whose login is there already first."""
    missing = [agent for agent in agents if agent.program is None and agent.row.install]
    for agent in sorted(missing, key=lambda one: not one.login.any):
        hint = agent.row.login.hint if agent.row.login is not None else ""
        yield Advised(agent.name, agent.row.install, hint, agent.login.any)
