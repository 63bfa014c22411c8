"""Where a cell of the matrix runs: a folder with a home for each agent, and an environment that holds nothing else.

Nothing of the user's is inherited: no login, no settings, no proxy. What an agent may reach is on loopback.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL

from msgspec import Struct

from matrix.agents import Agent
from matrix.install import Installed

# In the environment of every process of a cell, so that those which are left can be found.
MARKER = "ACP_MATRIX_CELL"
# On a busy machine.
PREPARE_S = 60.0
# What a program needs of its surroundings to run at all.
_KEPT = ("PATH", "LANG", "LC_ALL", "TERM", "TZ")


class Seat(Struct, frozen=True):
    """An agent that is set up in a cell."""

    agent: Agent
    command: tuple[str, ...]
    env: Mapping[str, str]


class Place:
    """`work` is the folder of the session, `stderr` for what programs say there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        self.stderr = folder / "stderr.txt"
        self.mark = os.urandom(8).hex()

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {
            **kept,
            MARKER: self.mark,
            "TMUX_TMPDIR": str(self.folder),
            "NO_COLOR": "1",
            "DO_NOT_TRACK": "1",
            "DISABLE_TELEMETRY": "1",
        }

    def seat(self, installed: Installed, base: str) -> Seat:
        """Set an agent up before the provider at `base`."""
        agent = installed.agent
        home = self.folder / agent.name
        home.mkdir()
        filled = {"$BASE": base, "$HOME": str(home)}
        for name, text in agent.files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_fill(text, filled))
        own = {name: _fill(value, filled) for name, value in agent.env.items()}
        path_of = os.pathsep.join([*map(str, installed.path), os.environ.get("PATH", os.defpath)])
        seat = Seat(agent, installed.command, {"HOME": str(home), "PATH": path_of, **own})
        if agent.prepare:
            self._prepare(seat)
        return seat

    def _prepare(self, seat: Seat) -> None:
        command, environ = [seat.command[0], *seat.agent.prepare], {**self.environ, **seat.env}
        with self.stderr.open("ab") as sink:
            subprocess.run(
                command,
                env=environ,
                cwd=self.work,
                stdin=DEVNULL,
                stdout=sink,
                stderr=sink,
                timeout=PREPARE_S,
                check=True,
            )


def _fill(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text
