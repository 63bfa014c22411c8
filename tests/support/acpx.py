"""acpx, a command line for ACP agents that starts the agent anew for each prompt: its package, and a user of it."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support import npm, processes
from tests.support.run import ENVIRONMENT, RUN

HERE = Path(__file__).parents[1] / "acpx"
# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 60.0
# It keeps its agent for this many seconds after a prompt.
KEEPS_S = "0.1"


def install() -> None:
    """Have the package of tests/acpx.

    Not by `npm ci`: a lock file that is made where some of its optional packages, for other machines, are not to be
    had does not name them, and `ci` takes offence at that.
    """
    npm.install(HERE, "install", "--no-save")


class Acpx:
    """It runs `acp-broker stdio` with this config, for a user who has never run either."""

    def __init__(self, folder: Path, config: Mapping[str, object]) -> None:
        self.work, self.home = folder / "work", folder / "home"
        self.work.mkdir()
        self.home.mkdir()
        path = folder / "config.json"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        self._agent = shlex.join([sys.executable, "-m", "acp_broker.cli.main", "--config", str(path), "stdio"])
        self._run = os.urandom(8).hex()
        kept = {name: ENVIRONMENT[name] for name in ("PATH", "PYTHONPATH") if name in ENVIRONMENT}
        self._environ = {**kept, "HOME": str(self.home), RUN: self._run}

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """`acpx WORDS`, with the messages of the connection on stdout."""
        options = ["--approve-all", "--format", "json", "--json-strict", "--ttl", KEEPS_S, "--agent", self._agent]
        return subprocess.Popen(
            ["node", str(HERE / "node_modules" / "acpx" / "dist" / "cli.js"), *options, *words],
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
