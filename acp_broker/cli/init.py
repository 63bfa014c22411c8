"""`acp-broker init`: find what is installed, and write a first config.json. It overwrites nothing.

Exit status: 0 it was written, or printed; 1 nobody was found, or a file is there already, or cannot be written.
"""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import anyio
import msgspec
from msgspec.structs import replace
from rich.console import Console, Group
from rich.text import Text

from acp_broker.app.setup.plan import Keyed, Plan, planned
from acp_broker.app.setup.writing import text, write
from acp_broker.app.user_files import shown
from acp_broker.cli.facts import Fact, facts
from acp_broker.cli.terminal import plain, table_console
from acp_broker.config import find
from acp_broker.errors import BrokerError


def run(path: Path | None, environ: Mapping[str, str], *, prints: bool, as_json: bool, may_ask: bool = False) -> int:
    """With `may_ask` providers are asked for their models. With `prints` the file's content goes to stdout, and nowhere
    else; with `as_json` a report does."""
    try:
        plan = anyio.run(partial(planned, find(path, environ), environ, may_ask=may_ask))
        if plan.config is not None and not prints and not plan.is_there:
            write(Path(plan.file), text(plan.config))
            plan = replace(plan, is_written=True)
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(plan), indent=2).decode())
    else:
        console = table_console(sys.stderr if prints else sys.stdout)
        console.print(told(plan, environ, console, prints=prints), soft_wrap=True)
        if prints and plan.config is not None:
            print(text(plan.config), end="")
    return 0 if plan.config is not None and (prints or plan.is_written) else 1


def told(plan: Plan, environ: Mapping[str, str], console: Console, *, prints: bool = False) -> Group:
    """What was found, what was chosen and why, and what to do next."""
    parts: list[Text | Group] = []
    for title, rows in (("found", _found(plan, environ)), ("chain", _chain(plan))):
        if rows:
            parts += [Text(title, "bold"), facts(rows, console), Text()]
    if plan.config is None:
        nobody = "no agent is here" if not any(agent.program for agent in plan.agents) else "nobody can be asked"
        parts += [Text(f"{nobody}; install one of these, then run acp-broker init again", "bold red")]
        parts.append(facts(_install(plan), console))
        parts.append(
            Text("or set the key of a provider, such as OPENROUTER_API_KEY, or start a model server: Ollama, LM Studio")
        )
    elif not prints:
        parts += _outcome(plan, environ)
    return Group(*parts)


def _found(plan: Plan, environ: Mapping[str, str]) -> list[Fact]:
    rows: list[Fact] = []
    for agent in plan.agents:
        place = shown(Path(agent.program), environ) if agent.program is not None else "not installed"
        login = f"logged in: {', '.join(agent.login)}" if agent.login else "no login seen"
        rows.append(
            (agent.name, f"{agent.title}, {place}" + ("" if agent.is_logged_in and not agent.login else f", {login}"))
        )
    rows += [(one.id, Text(plain(f"{one.title}, {one.login}; {one.says}"), _style(one))) for one in plan.providers]
    asked = ", ".join(one.id for one in plan.providers if one.is_asked)
    if asked:
        rows.append(("asked", f"{asked}, each with its key: for the list of models, no tokens; --offline asks nobody"))
    for server in plan.servers:
        idle = "; nobody is sent there" if server.name in plan.idle else ""
        rows.append((server.name, f"{server.url}, {_count(len(server.models), 'model')}{idle}"))
    return rows


def _style(one: Keyed) -> str:
    return "" if one.model is not None and not one.is_assumed else "yellow"


def _chain(plan: Plan) -> list[Fact]:
    rows: list[Fact] = [(place.id, f"{number}. {place.why}") for number, place in enumerate(plan.chain, 1)]
    if plan.unused:
        rows.append(("beside it", f"{', '.join(plan.unused)}: put them into acp.fallbacks as you like"))
    return rows


def _install(plan: Plan) -> list[Fact]:
    """One command each; those that need no new login first."""
    rows: list[Fact] = []
    for one in plan.install:
        then = "its login is here already" if one.is_logged_in else one.login
        rows.append(
            (one.name, Text(plain(one.install), "green").append(plain(f"   then: {then}") if then else "", "dim"))
        )
    return rows


def _outcome(plan: Plan, environ: Mapping[str, str]) -> list[Text | Group]:
    file = shown(Path(plan.file), environ)
    if not plan.is_written:
        stays = f"{file} is there already, and stays as it is"
        return [Text(stays, "bold yellow"), Text("`acp-broker init --print` shows what would be in it")]
    said = [Text(f"written: {file}", "bold green")]
    if plan.variables:
        names = ", ".join(f"${name}" for name in plan.variables)
        said.append(Text(f"{names} must be set where your editor starts: a desktop has no shell's variables", "yellow"))
    assumed = [one.id for one in plan.providers if one.is_assumed]
    if not any(place.is_agent for place in plan.chain):
        said.append(Text("no agent is among them: they talk, and change no file", "yellow"))
    if assumed:
        said.append(Text(f"the models of {', '.join(assumed)} are assumed; acp-broker check verifies them", "yellow"))
    if plan.withheld:
        names = ", ".join(f"${name}" for name in plan.withheld)
        said.append(Text(f"{names}: no agent gets it any more, as a backend of its own has it", "yellow"))
    return [*said, Text("next: acp-broker check")]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
