"""What is measured, set up in a folder of its own: one agent, and three ways to it."""

import os
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.peer import Peer

FIRST = "measure the first word"
FLOOD = "flood"
# One write of the agent: several fill a pipe, so its reader never waits for the next.
UPDATES_PER_WRITE = 500


class Place(Struct, frozen=True):
    """A folder with the agent's script, the broker's config, and state folders."""

    folder: Path
    # How many small updates the prompt FLOOD is answered with, after one first chunk.
    flood: int

    def direct(self) -> Peer:
        return Peer(self._agent(), self.environ)

    def splice(self) -> Peer:
        return Peer([sys.executable, "-m", "bench.splice", *self._agent()], self.environ)

    def broker(self, state: str = "state") -> Peer:
        """Brokers with the same `state` share what they learn."""
        command = [str(Path(sys.executable).with_name("acp-broker")), "--config", str(self._config), "stdio"]
        return Peer(command, {**self.environ, "ACP_BROKER_HOME": str(self.folder / state)})

    @property
    def environ(self) -> dict[str, str]:
        """Ours, with bytecode kept from the first start on, as pip leaves it for whoever installs the package."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode")}

    def prepare(self) -> None:
        flood = {"do": "flood", "count": self.flood, "text": "word ", "perWrite": UPDATES_PER_WRITE}
        steps = [{"do": "say", "text": "first"}, flood]
        choice = {"do": "ifText", "contains": FLOOD, "steps": steps, "else": [{"do": "echo", "chunks": 1}]}
        self._script.write_bytes(msgspec.json.encode({"turns": [[choice]]}))
        backend = {"kind": "acp", "command": self._agent()}
        config = {
            "acp": {"backend": "agent", "fallbacks": ["spare"]},
            "backends": {"agent": backend, "spare": {**backend, "env": {"SPARE": "1"}}},
        }
        self._config.write_bytes(msgspec.json.encode(config))
        self._config.chmod(0o600)

    def _agent(self) -> list[str]:
        return [sys.executable, "-m", "backends.scripted", "--script", str(self._script)]

    @property
    def _script(self) -> Path:
        return self.folder / "script.json"

    @property
    def _config(self) -> Path:
        return self.folder / "config.json"
