"""Three real agents, light enough for every run of the tests, that fail in three different ways.

    claude      Anthropic Messages; tells a failure as a message, then as an error
    codex-zed   OpenAI Responses; an error, after silence, behind a warning of its own
    goose       OpenAI Chat Completions; tells a failure as a message, and that the turn ended well

How each is set up is the matrix's business; here they come from tests/agents, as its lock file names them.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from matrix.agents import AGENTS, MODEL, Npm
from matrix.install import Installed
from tests.support import npm

HERE = Path(__file__).parents[1] / "agents"
NAMES = ("claude", "codex-zed", "goose")
# A model that this Codex knows: of others it warns, and a fallback is to say nothing but its answer.
_KNOWN_MODEL = "gpt-5.4"


def install() -> dict[str, Installed]:
    """By name. Not by `npm ci`: the lock file names the programs of one machine, as that of tests/acpx."""
    npm.install(HERE, "install", "--no-save")
    programs = HERE / "node_modules" / ".bin"
    chosen = [agent for agent in AGENTS if agent.name in NAMES]
    return {
        agent.name: Installed(agent, (str(programs / agent.command[0]), *agent.command[1:]), (programs,))
        for agent in chosen
    }


def fallback(name: str, agents: Mapping[str, Installed]) -> Installed:
    """Who follows that agent: one of another make, which starts quickly."""
    if name != "goose":
        return agents["goose"]
    codex = agents["codex-zed"]
    files = {path: text.replace(MODEL, _KNOWN_MODEL) for path, text in codex.agent.files.items()}
    return replace(codex, agent=replace(codex.agent, files=files))


def locked() -> dict[str, str]:
    """Package to version, as tests/agents has them."""
    wanted = json.loads((HERE / "package.json").read_text())
    return {**wanted["dependencies"], **wanted["optionalDependencies"]}


def described() -> dict[str, str]:
    """Package to version, as the matrix has them."""
    packages = [
        package
        for agent in AGENTS
        if agent.name in NAMES and isinstance(agent.source, Npm)
        for package in agent.source.packages
    ]
    return dict(package.rsplit("@", 1) for package in packages)
