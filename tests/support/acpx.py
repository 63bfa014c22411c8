"""acpx, a command line for ACP agents that starts the agent anew for each prompt: its package, and a user of it."""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support import npm, processes
from tests.support.run import ENVIRONMENT, ROLE, RUN

HERE = Path(__file__).parents[1] / "acpx"
# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 60.0
JSON = ["--approve-all", "--format", "json", "--json-strict"]


def install() -> None:
    """Have the package of tests/acpx.

    Not by `npm ci`: a lock file that is made where some of its optional packages, for other machines, are not to be
    had does not name them, and `ci` takes offence at that.
    """
    npm.install(HERE, "install", "--no-save")


class Acpx:
    """It runs this command as its agent, for a user who has never run either.

    The agent is kept for `keeps_s` seconds after a prompt, and without a prompt not at all.
    """

    def __init__(self, folder: Path, agent: Sequence[str], *, keeps_s: float = 0.1) -> None:
        self.work, self.home = folder / "work", folder / "home"
        self.work.mkdir()
        self.home.mkdir()
        self._options = ["--ttl", str(keeps_s), "--agent", shlex.join(agent)]
        self._run = os.urandom(8).hex()
        kept = {name: ENVIRONMENT[name] for name in ("PATH", "PYTHONPATH") if name in ENVIRONMENT}
        self._environ = {**kept, "HOME": str(self.home), RUN: self._run}

    def begin(self, *words: str, options: Sequence[str] = JSON) -> subprocess.Popen[str]:
        """`acpx WORDS`, with the messages of the connection on stdout unless other options are given."""
        return subprocess.Popen(
            ["node", str(HERE / "node_modules" / "acpx" / "dist" / "cli.js"), *options, *self._options, *words],
            cwd=self.work,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> list[dict]:
        return self.end(self.begin(*words))

    def end(self, begun: subprocess.Popen[str]) -> list[dict]:
        """What it still prints."""
        printed, complaints = begun.communicate(timeout=DEADLINE_S)
        assert 0 == begun.returncode, f"exit status {begun.returncode}: {printed}\n{complaints}"
        return [json.loads(line) for line in printed.splitlines()]

    def until_alone(self) -> None:
        """Wait until no process of it, of a broker or of an agent is left."""
        assert [] == processes.still_there(f"{RUN}={self._run}", within_s=DEADLINE_S)

    def kill(self, role: str) -> None:
        """SIGKILL for the agents of one backend, and wait until they are gone."""
        ours = set(processes.carrying(f"{RUN}={self._run}"))
        agents = [seen for seen in processes.carrying(f"{ROLE}={role}") if seen in ours]
        assert agents != []
        for seen in agents:
            os.kill(seen.pid, signal.SIGKILL)
        for seen in agents:
            assert processes.wait_gone(seen, time.monotonic() + DEADLINE_S)
