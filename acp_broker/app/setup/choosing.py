"""Which of the agents that were found make a chain, and in which order. Pure.

1. Those that are logged in come first, those whose login was not seen behind them; else the order of the known agents.
2. Within both, nobody comes right behind one with the same provider or credential while another one is left.
3. An agent that is not here is taken only if its own login is, and if it can be fetched at its first start.
4. A model server of this machine stands between those two, through an agent that variables can send there.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from acp_broker.app.setup.finding import Agent, Found
from acp_broker.app.setup.servers import Server
from backends.acp.row import Row

# As many as a turn may have time for: each keeps some of it from those before it.
MOST = 6
# The mode that agents open in: a session that is in it has no mode to be mapped.
_OPENS_IN = "default"


class Chosen(Struct, frozen=True):
    """One backend to be: `variable` holds its credential, if it has no other login. `why` it stands where it stands.

    `is_alone`: nobody else could need that variable, so that a profile may keep it from all others.
    """

    id: str
    row: Row
    command: tuple[str, ...]
    why: str
    variable: str | None = None
    is_alone: bool = False
    env: dict[str, str] = {}
    modes: dict[str, str] = {}


def chosen(found: Found) -> tuple[Chosen, ...]:
    """The chain; empty where nobody can be asked."""
    here = [agent for agent in found.agents if agent.command is not None]
    chain: list[Chosen] = []
    _add(chain, [agent for agent in here if agent.is_logged_in and (agent.program is not None or agent.login.files)])
    chain += islice(_local(here, found.servers, chain), 1)
    _add(chain, [agent for agent in here if not agent.is_logged_in and agent.program is not None])
    return tuple(_settled(one, chain) for one in chain)


def servers_left(found: Found, chain: Sequence[Chosen]) -> tuple[Server, ...]:
    """Model servers that no agent of the chain is sent to."""
    used = {value for one in chain for value in one.env.values()}
    return tuple(server for server in found.servers if not any(value.startswith(server.url) for value in used))


def _add(chain: list[Chosen], group: list[Agent]) -> None:
    while group:
        agent = _next(group, chain)
        group.remove(agent)
        chain.append(_backend(agent, chain))


def _next(left: Sequence[Agent], chain: Sequence[Chosen]) -> Agent:
    return next((agent for agent in left if not chain or not _shares(agent, chain)), left[0])


def _shares(agent: Agent, chain: Sequence[Chosen]) -> bool:
    """Whether one failure could stop both the agent and the last of the chain."""
    last = chain[-1]
    variable = _variable(agent, chain)
    return bool(last.row.provider and last.row.provider == agent.row.provider) or (
        variable is not None and variable == last.variable
    )


def _backend(agent: Agent, chain: Sequence[Chosen]) -> Chosen:
    assert agent.command is not None
    return Chosen(
        agent.name,
        agent.row,
        agent.command,
        _why(agent, chain),
        _variable(agent, chain),
        modes=_modes(chain, agent.row),
    )


def _settled(one: Chosen, chain: Sequence[Chosen]) -> Chosen:
    """An agent whose provider is for its user to choose may read any provider's variable."""
    others = (other for other in chain if other.variable != one.variable)
    return replace(one, is_alone=one.variable is not None and all(other.row.provider for other in others))


def _variable(agent: Agent, chain: Sequence[Chosen]) -> str | None:
    """The one that holds its credential, if possible another than the others have; None: a file does."""
    variables = agent.login.credentials
    if agent.login.files or not variables:
        return None
    taken = {one.variable for one in chain}
    return next((name for name in variables if name not in taken), variables[0])


def _why(agent: Agent, chain: Sequence[Chosen]) -> str:
    if agent.row.login is None:
        login = "needs no login"
    elif agent.is_logged_in:
        login = f"logged in ({', '.join(agent.login.names)})"
    else:
        login = "no login of it was seen"
    fetched = "; fetched at its first start, with " + agent.command[0] if agent.command and not agent.program else ""
    if not chain:
        return f"{login}{fetched}"
    last = chain[-1]
    if _shares(agent, chain):
        return f"{login}{fetched}; fails with {last.id}, but nobody else was left"
    other = f"; {agent.row.provider} may answer when {last.row.provider} fails"
    return f"{login}{fetched}{other if agent.row.provider and last.row.provider else ''}"


def _modes(chain: Sequence[Chosen], own: Row) -> dict[str, str]:
    """Each mode of the primary, to one of the agent's own that lets it do as much unasked: best of the same name."""
    if not chain:
        return {}
    by_posture = {posture: mode for mode, posture in reversed(own.modes.items())}
    pairs = {
        mode: mode if own.modes.get(mode) == posture else by_posture.get(posture)
        for mode, posture in chain[0].row.modes.items()
        if mode != _OPENS_IN
    }
    return {mode: counterpart for mode, counterpart in pairs.items() if counterpart is not None}


def _local(agents: Sequence[Agent], servers: Sequence[Server], chain: Sequence[Chosen]) -> Iterator[Chosen]:
    """Agents that variables alone send to a model server that is here, and to a model of it."""
    for server in servers:
        model = next((name for name in server.models if "embed" not in name), None)
        for agent in agents:
            local = agent.row.pointing.local if agent.row.pointing is not None else {}
            if model is None or agent.program is None or not local:
                continue
            env = {name: value.replace("{base}", server.url).replace("{model}", model) for name, value in local.items()}
            name = server.name.lower().replace(" ", "-").replace(".", "-")
            why = f"{server.name} answers at {server.url} with {model}: no network, no account"
            assert agent.command is not None
            yield Chosen(f"{agent.name}-{name}", agent.row, agent.command, why, env=env, modes=_modes(chain, agent.row))
