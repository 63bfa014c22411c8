"""Who plays in a life: chains of every kind of backend, drawn by dice."""

import json
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.support import fake_claude
from tests.support.broker import ROLE
from tests.support.chaos.place import Place

# Nobody fails on purpose in a turn whose prompt has it.
CALM = "calm"
KINDS = ("agent", "chat", "responses", "anthropic", "gemini", "far", "cli")
AGENTS = ("agent", "cli")
# Those behind the far broker, which `far` stands for.
FAR = ("farchat", "faragent")
_HTTP = {
    "chat": {"kind": "openai"},
    "responses": {"kind": "openai", "api": "responses"},
    "anthropic": {"kind": "anthropic"},
    "gemini": {"kind": "gemini"},
}
# The agent is the process itself, so that its death is seen.
_HEARS = 'exec "$@" < <(tee "$0.$$")'
# What a real turn takes, on a busy machine, is far less; what a silent one costs is this.
LIMITS = {
    "cancellingMs": 500,
    "stoppingMs": 300,
    "startingMs": 15_000,
    "openingMs": 15_000,
    "chainMs": 20_000,
    "reserveMs": 1_000,
    "sessionNewMs": 300,
    "learnMs": 300,
}
# Of each backend; and in a turn that must not fail.
BRIEF = {"firstOutputMs": 700, "idleMs": 600}
PATIENT = {"firstOutputMs": 20_000, "idleMs": 20_000}


class Stage(NamedTuple):
    """`near` is a place that is reached by a proxy at this port, `right` another; so is the far broker at `far`."""

    folder: Path
    near: int
    right: Place
    far: int


def agent_says(name: str, prompt: str) -> str:
    """All that an agent of this name says to a prompt."""
    return f"<{name} {prompt} done>"


def cast(dice: Random, stage: Stage) -> dict[str, dict]:
    """Three to five backends in the order of a chain."""
    kinds = dice.sample(KINDS, dice.randint(3, 5))
    return {kind: _entry(dice, kind, stage) for kind in kinds}


def far_cast(dice: Random, stage: Stage) -> dict[str, dict]:
    """The far broker's own chain."""
    backends = {"farchat": _http(dice, "farchat", "chat", stage.right.url), "faragent": _agent(dice, "faragent", stage)}
    return dict(dice.sample(sorted(backends.items()), 2))


def _entry(dice: Random, kind: str, stage: Stage) -> dict:
    match kind:
        case "agent" | "cli":
            return (_agent if kind == "agent" else _cli)(dice, kind, stage)
        case "far":
            url = f"ws://127.0.0.1:{stage.far}/acp"
            return {
                "kind": "acp",
                "url": url,
                "auth": "box",
                "limits": {"reconnectMs": dice.choice([500, 3_000])},
                "env": {},
            }
        case _:
            url = dice.choice([f"http://127.0.0.1:{stage.near}", stage.right.url])
            return _http(dice, kind, kind, url)


def _http(dice: Random, name: str, kind: str, url: str) -> dict:
    limits = {"firstByteMs": 500} if dice.random() < 0.5 else {}
    return {**_HTTP[kind], "baseUrl": f"{url}/v1", "model": f"{name}-model", "auth": "keys", "limits": limits}


def _agent(dice: Random, name: str, stage: Stage) -> dict:
    half = [{"do": "say", "text": f"<{name} "}, {"do": "echo", "chunks": 5, "everyMs": 2}]
    whole = [*half, {"do": "say", "text": " done>"}]
    fail = {"do": "fail", "message": "overloaded"}
    ways = [
        (8, whole),
        (1, [{"do": "die"}]),
        (1, [fail]),
        (1, [{"do": "stall"}]),
        (1, []),
        (1, [*half, {"do": "die"}]),
        (1, [*half, fail]),
        (1, [*half, {"do": "stall"}]),
        (1, [*half, {"do": "end", "stopReason": "max_tokens"}]),
    ]
    branches = [{"weight": weight, "steps": steps} for weight, steps in ways]
    choose = {"do": "choose", "seed": dice.randrange(1 << 30), "branches": branches}
    script = {"turns": [[{"do": "ifText", "contains": CALM, "steps": whole, "else": [choose]}]]}
    return _heard(stage, name, "acp", ["-m", "backends.scripted", "--script", json.dumps(script)])


def _cli(dice: Random, name: str, stage: Stage) -> dict:
    half = [{"do": "say", "text": f"<{name} "}, {"do": "echo"}]
    whole = [*half, {"do": "say", "text": " done>"}]
    ways = [
        whole,
        whole,
        whole,
        whole,
        [{"do": "die"}],
        [{"do": "stall"}],
        [],
        [*half, {"do": "die"}],
        [*half, {"do": "stall"}],
    ]
    turns = [[{"do": "ifText", "contains": CALM, "steps": whole, "else": dice.choice(ways)}] for _ in range(12)]
    return _heard(stage, name, "anthropic-cli", [str(Path(fake_claude.__file__)), json.dumps({"turns": turns})])


def _heard(stage: Stage, name: str, kind: str, program: list[str]) -> dict:
    """A child process, with all that it is sent in a file of its own."""
    command = ["bash", "-c", _HEARS, str(stage.folder / f"heard-{name}"), sys.executable, *program]
    return {"kind": kind, "command": command, "env": {ROLE: name}}
