"""What is measured, set up in a folder of its own: one agent, and the ways to it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.daemon import Daemon
from bench.peer import Peer
from bench.wires import Program, WebSocket

FIRST = "measure the first word"
FLOOD = "flood"
PROVIDER = "provider.json"
# One write of the agent: several fill a pipe, so its reader never waits for the next.
UPDATES_PER_WRITE = 500


class Place(Struct, frozen=True):
    """A folder with the agent's script, the broker's config, and state folders."""

    folder: Path
    # How many small updates the prompt FLOOD is answered with, after one first chunk.
    flood: int

    def direct(self) -> Peer:
        return self._program(self._agent())

    def splice(self) -> Peer:
        return self._program([sys.executable, "-m", "bench.splice", *self._agent()])

    def broker(self, state: str = "state", config: str = "config.json") -> Peer:
        """`acp-broker stdio` in process. Brokers with the same `state` share what they learn."""
        return self._program(self._command(config, "stdio"), self._state(state))

    def daemon(self, config: str = "config.json") -> Daemon:
        """`acp-broker serve`, with a state of its own."""
        return Daemon(
            self._command(config, "serve"), {**self.environ, **self._state("daemon")}, self.folder / "daemon.log"
        )

    def relay(self, daemon: Daemon) -> Peer:
        """`acp-broker stdio` beside that daemon."""
        return self._program(self._command("config.json", "stdio"), self._state("daemon"), daemon.pid)

    def websocket(self, daemon: Daemon) -> Peer:
        return Peer(WebSocket(daemon.url, daemon.token), (daemon.pid,))

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
        agent = {"kind": "acp", "command": self._agent()}
        self._configure("config.json", agent=agent, spare={**agent, "env": {"SPARE": "1"}})
        # For thousands of sessions: their agents are in the daemon's own process, and cost no start.
        self._configure("many.json", agent={"kind": "scripted"})
        self._configure("agentless.json", agent={"kind": "scripted", "script": {"new": [{"do": "fail"}]}})

    def provide(self, primary: int, spare: int) -> None:
        """`provider.json`: two providers without an agent, at these ports. The spare's path begins with /spare."""

        def chat(port: int, path: str) -> dict[str, object]:
            return {"kind": "openai", "baseUrl": f"http://127.0.0.1:{port}{path}/v1", "model": "drill-model"}

        self._configure(PROVIDER, primary=chat(primary, ""), spare=chat(spare, "/spare"))

    def _configure(self, name: str, **backends: Mapping[str, object]) -> None:
        first, *rest = backends
        config = {
            "acp": {"backend": first, "fallbacks": rest},
            "backends": backends,
            "frontends": {"websocket": {"port": 0}},
            # What is measured is how fast it can be, and how much it holds: not what it allows to one client.
            "limits": {"messagesPerSecond": 1_000_000, "sessionsPerClient": 100_000},
        }
        path = self.folder / name
        path.write_bytes(msgspec.json.encode(config))
        path.chmod(0o600)

    def _program(self, command: list[str], environ: Mapping[str, str] = {}, *pids: int) -> Peer:
        program = Program(command, {**self.environ, **environ})
        return Peer(program, (program.pid, *pids))

    def _command(self, config: str, command: str) -> list[str]:
        return [str(Path(sys.executable).with_name("acp-broker")), "--config", str(self.folder / config), command]

    def _state(self, name: str) -> dict[str, str]:
        return {"ACP_BROKER_HOME": str(self.folder / name)}

    def _agent(self) -> list[str]:
        return [sys.executable, "-m", "backends.scripted", "--script", str(self._script)]

    @property
    def _script(self) -> Path:
        return self.folder / "script.json"
