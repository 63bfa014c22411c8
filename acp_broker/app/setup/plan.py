"""Everything that `init` would do, before it does it: stable fields, which docs/setup.md explains."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from acp_broker.app.setup.choosing import MOST, Chosen, chosen, servers_left
from acp_broker.app.setup.finding import Agent, found
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


class Place(Struct, frozen=True):
    """A backend of the chain, and why it stands there."""

    id: str
    why: str


class Advised(Struct, frozen=True, rename="camel"):
    """An agent that is not here: what installs it, and how to log in then."""

    name: str
    install: str
    login: str
    is_logged_in: bool


class Plan(Struct, frozen=True, rename="camel", kw_only=True):
    """`config` is what would stand in `file`; null: nobody was found. `unused` are agents beyond what a chain holds.

    `variables`: those that must be set where the broker runs, by name. `idle`: model servers that nobody is sent to.
    """

    file: str
    is_there: bool
    is_written: bool = False
    agents: tuple[Here, ...]
    servers: tuple[Server, ...]
    idle: tuple[str, ...]
    chain: tuple[Place, ...]
    unused: tuple[str, ...]
    variables: tuple[str, ...]
    install: tuple[Advised, ...]
    config: dict[str, object] | None


async def planned(
    file: Path,
    environ: Mapping[str, str],
    rows: Mapping[str, Row] | None = None,
) -> Plan:
    """Look at this machine, and decide; nothing is written or started. `rows` are the known agents, unless given."""
    here = await found(known_rows() if rows is None else rows, environ)
    everybody = chosen(here)
    chain, beyond = everybody[:MOST], everybody[MOST:]
    return Plan(
        file=str(file),
        is_there=is_there(file),
        agents=tuple(_here(one) for one in here.agents if one.program is not None or one.login.files),
        servers=here.servers,
        idle=tuple(server.name for server in servers_left(here, chain)),
        chain=tuple(Place(one.id, one.why) for one in chain),
        unused=tuple(one.id for one in beyond),
        variables=tuple(dict.fromkeys(_variables(chain))),
        install=tuple(_advised(here.agents)),
        config=document(chain, beyond) if chain else None,
    )


def _variables(chain: Sequence[Chosen]) -> Iterator[str]:
    return (one.variable for one in chain if one.variable is not None)


def _here(agent: Agent) -> Here:
    return Here(agent.name, agent.row.title or agent.name, agent.program, agent.login.names, agent.is_logged_in)


def _advised(agents: Sequence[Agent]) -> Iterator[Advised]:
    """Those whose login is there already first."""
    missing = [agent for agent in agents if agent.program is None and agent.row.install]
    for agent in sorted(missing, key=lambda one: not one.login.any):
        hint = agent.row.login.hint if agent.row.login is not None else ""
        yield Advised(agent.name, agent.row.install, hint, agent.login.any)
