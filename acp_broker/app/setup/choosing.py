"""Which of the agents, providers and model servers that were found make a chain, and in which order. Pure.

1. Agents that are logged in, providers that there is a key for, model servers of this machine, agents whose login was
   not seen; else the order in which they are known.
2. Within each, nobody comes right behind one with the same provider or credential while another one is left.
3. An agent that is not here is taken only if its own login is, and if it can be fetched at its first start.
4. The first model server is used through an agent that variables can send there, if there is one: it has tools.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from acp_broker.app.setup.finding import Agent, Found
from acp_broker.app.setup.providers import Provider
from acp_broker.app.setup.servers import Server
from backends.acp.row import Row
from backends.openai import PRESETS

# As many as a turn may have time for: each keeps some of it from those before it.
MOST = 6
# The mode that agents open in: a session that is in it has no mode to be mapped.
_OPENS_IN = "default"


class Chosen(Struct, frozen=True):
    """One backend to be: `variable` holds its credential, if it has no other login. `why` it stands where it stands.

    `is_alone`: nobody else could need that variable, so that a profile may keep it from all others. `provider` is who
    answers in the end. What is no agent has no `row`, and in its place an `entry`, and a `profile` by its name, as they
    stand in config.json.
    """

    id: str
    row: Row | None
    command: tuple[str, ...]
    why: str
    variable: str | None = None
    is_alone: bool = False
    env: dict[str, str] = {}
    modes: dict[str, str] = {}
    entry: Mapping[str, object] = {}
    profile: tuple[str, Mapping[str, object]] | None = None
    provider: str | None = None

    @property
    def may_ask_any(self) -> bool:
        """It is an agent whose provider is for its user to choose."""
        return self.row is not None and not self.provider


def chosen(found: Found) -> tuple[Chosen, ...]:
    """The chain; empty where nobody can be asked."""
    here = [agent for agent in found.agents if agent.command is not None]
    chain: list[Chosen] = []
    _add(chain, [agent for agent in here if agent.is_logged_in and (agent.program is not None or agent.login.files)])
    able = [one for one in found.providers if one.entry is not None]
    # What a provider has told comes before what is assumed of it, a key before a login that may be for other things.
    _add_providers(chain, sorted(able, key=lambda one: (one.is_assumed, one.variable is None)))
    chain += islice(_local(here, found.servers, chain), 1)
    chain += _direct(found.servers, chain)
    _add(chain, [agent for agent in here if not agent.is_logged_in and agent.program is not None])
    return tuple(_settled(one, chain) for one in chain)


def servers_left(found: Found, chain: Sequence[Chosen]) -> tuple[Server, ...]:
    """Model servers that nobody of the chain asks."""
    used = {one.provider for one in chain}
    return tuple(server for server in found.servers if server.url not in used)


def withheld(chain: Sequence[Chosen]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Variables that providers are given alone, and the agents that could have used them, as they may ask any."""
    agents = tuple(one.id for one in chain if one.may_ask_any)
    return tuple(one.variable for one in chain if one.row is None and one.variable) if agents else (), agents


def _add(chain: list[Chosen], group: list[Agent]) -> None:
    while group:
        agent = _next(group, chain)
        group.remove(agent)
        chain.append(_backend(agent, chain))


def _next(left: Sequence[Agent], chain: Sequence[Chosen]) -> Agent:
    return next((agent for agent in left if not chain or not _shares(agent, chain)), left[0])


def _shares(agent: Agent, chain: Sequence[Chosen]) -> bool:
    return _fails_with(agent.row.provider, _variable(agent, chain), chain[-1])


def _fails_with(provider: str | None, variable: str | None, last: Chosen) -> bool:
    """Whether one failure could stop both somebody and the last of the chain."""
    return bool(provider and provider == last.provider) or (variable is not None and variable == last.variable)


def _backend(agent: Agent, chain: Sequence[Chosen]) -> Chosen:
    assert agent.command is not None
    return Chosen(
        agent.name,
        agent.row,
        agent.command,
        _why(agent, chain),
        _variable(agent, chain),
        modes=_modes(chain, agent.row),
        provider=agent.row.provider,
        entry=agent.entry,
    )


def _add_providers(chain: list[Chosen], group: list[Provider]) -> None:
    while group:
        free = (one for one in group if not chain or not _fails_with(one.address, one.variable, chain[-1]))
        provider = next(free, group[0])
        group.remove(provider)
        login, entry = f"key in {provider.login}", provider.entry or {}
        why = f"{login}, {provider.model}{_standing(provider.address, provider.variable, chain)}"
        chain.append(
            Chosen(
                provider.id,
                None,
                (),
                why,
                provider.variable,
                modes=_any_mode(chain),
                entry=entry,
                profile=provider.profile,
                provider=provider.address,
            )
        )


def _direct(servers: Sequence[Server], chain: Sequence[Chosen]) -> Iterator[Chosen]:
    """Model servers of their own."""
    used = {one.provider for one in chain}
    for server in servers:
        if server.model is None or not server.preset or server.url in used:
            continue
        preset = PRESETS[server.preset]
        entry = {"kind": "openai", "preset": server.preset}
        if not preset.base_url.startswith(f"{server.url}/"):
            entry["baseUrl"] = f"{server.url}/v1"
        if preset.needs_model:
            entry["model"] = server.model
        why = f"{server.name} answers at {server.url}, {_picked(server)}: no network, no account"
        yield Chosen(server.preset, None, (), why, modes=_any_mode(chain), entry=entry, provider=server.url)


def _picked(server: Server) -> str:
    if server.model in server.loaded:
        return f"{server.model} is loaded"
    return f"{server.model} is the first that talks of {len(server.models)}" if server.models[1:] else f"{server.model}"


def _any_mode(chain: Sequence[Chosen]) -> dict[str, str]:
    """What only talks stays within the boundary of every mode of the primary's."""
    row = chain[0].row if chain else None
    return {} if row is None else {mode: mode for mode in row.modes if mode != _OPENS_IN}


def _settled(one: Chosen, chain: Sequence[Chosen]) -> Chosen:
    """An agent whose provider is for its user to choose may read any provider's variable."""
    others = (other for other in chain if other.variable != one.variable)
    return replace(one, is_alone=one.variable is not None and not any(other.may_ask_any for other in others))


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
    return f"{login}{fetched}{_standing(agent.row.provider, _variable(agent, chain), chain)}"


def _standing(provider: str | None, variable: str | None, chain: Sequence[Chosen]) -> str:
    """Why somebody stands behind the last of the chain."""
    if not chain:
        return ""
    last = chain[-1]
    if _fails_with(provider, variable, last):
        return f"; fails with {last.id}, but nobody else was left"
    return f"; {provider} may answer when {last.provider} fails" if provider and last.provider else ""


def _modes(chain: Sequence[Chosen], own: Row) -> dict[str, str]:
    """Each mode of the primary, to one of the agent's own that lets it do as much unasked: best of the same name."""
    primary = chain[0].row if chain else None
    if primary is None:
        return {}
    by_posture = {posture: mode for mode, posture in reversed(own.modes.items())}
    pairs = {
        mode: mode if own.modes.get(mode) == posture else by_posture.get(posture)
        for mode, posture in primary.modes.items()
        if mode != _OPENS_IN
    }
    return {mode: counterpart for mode, counterpart in pairs.items() if counterpart is not None}


def _local(agents: Sequence[Agent], servers: Sequence[Server], chain: Sequence[Chosen]) -> Iterator[Chosen]:
    """Agents that variables alone send to a model server that is here, and to a model of it."""
    for server in servers:
        model = server.model
        for agent in agents:
            local = agent.row.pointing.local if agent.row.pointing is not None else {}
            if model is None or agent.program is None or not local:
                continue
            env = {name: value.replace("{base}", server.url).replace("{model}", model) for name, value in local.items()}
            name = server.name.lower().replace(" ", "-").replace(".", "-")
            why = f"{server.name} answers at {server.url} with {model}: no network, no account"
            assert agent.command is not None
            yield Chosen(
                f"{agent.name}-{name}",
                agent.row,
                agent.command,
                why,
                env=env,
                modes=_modes(chain, agent.row),
                provider=server.url,
            )
