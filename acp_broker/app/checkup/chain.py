"""The whole chain looked at, all of it at once, and what there is to say about it."""

from collections.abc import Callable, Iterator, Mapping

import msgspec
from anyio import create_task_group

from acp_broker.app.checkup import modes
from acp_broker.app.checkup.advice import advice
from acp_broker.app.checkup.looking import Look, looking
from acp_broker.app.checkup.report import About, Checked, Report, about, report
from acp_broker.app.policy import missing
from acp_broker.config import Config
from acp_broker.core.names import BackendId


async def checked(
    config: Config, environ: Mapping[str, str], *, takes_turn: bool, done: Callable[[BackendId], None]
) -> Checked:
    """Start each backend, ask it what there is to ask, and end it; `done` is called as each of them is through.

    Cancelled, it leaves no process. Raises UsageError for a kind that cannot be loaded.
    """
    order = (config.acp.backend, *config.acp.fallbacks)
    looks: dict[BackendId, Look] = {}
    async with looking(config, environ) as looks_at:
        environments = {name: looks_at.environment(name) for name in order}

        async def look(name: BackendId) -> None:
            looks[name] = await looks_at.look(name, takes_turn=takes_turn)
            done(name)

        async with create_task_group() as group:
            for name in order:
                group.start_soon(look, name)
    known = {name: about(config, name, environments[name], looks[name]) for name in order}
    lacks = tuple(missing(config, environ))
    reports = tuple(_reports(config, known, looks, {problem.path: problem.finding for problem in lacks}))
    started = {f"backends.{name}" for name in config.backends}
    warnings = (*config.warnings, *(problem for problem in lacks if problem.path not in started))
    return Checked(str(config.source), all(one.can_answer for one in reports), reports, warnings)


def _reports(
    config: Config, known: Mapping[BackendId, About], looks: Mapping[BackendId, Look], lacks: Mapping[str, str]
) -> Iterator[Report]:
    """`lacks`: what `config check` finds, by its path. Backends were really started, so it counts where that failed."""
    primary: Report | None = None
    for name, own in known.items():
        one = report(config, name, looks[name], known)
        if primary is None:
            primary = one
        else:
            mapped = config.backends[name].modes
            one = msgspec.structs.replace(one, modes=modes.beside(one.modes, primary.modes, mapped))
        lacking = lacks.get(f"backends.{name}") if one.failure == "unreachable" else None
        said = (*([lacking] if lacking else []), *advice(config, one, primary, own))
        yield msgspec.structs.replace(one, advice=said)
