"""A real `acp-broker` process with a config and a state folder of its own, and everything that it starts."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.support import processes
from tests.support.talk import DEADLINE_S

# What every process of a run inherits from its broker, agents and their children too. The guardian does not.
RUN = "E2E_RUN"
# Which backend an agent process is of.
ROLE = "E2E_ROLE"
# Taken once: brokers are started on threads, while pytest changes a variable with every test that it begins.
ENVIRONMENT = dict(os.environ)


class Run:
    """`home` is the state folder, `work` a folder for sessions; `stderr` is the file that the broker's own goes to."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, object],
        *,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home or folder / "state"
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        self.run = os.urandom(8).hex()
        self.stderr = folder / "stderr.txt"
        self.config = folder / "config.json"
        self.configure(config)
        self.env = {**ENVIRONMENT, "ACP_BROKER_HOME": str(self.home), RUN: self.run, **(env or {})}
        self.log_file = self.home / "log" / "broker.jsonl"
        # What starts it, where it is not started directly.
        self.wrapper: list[str] = []
        self.process: subprocess.Popen[bytes]
        self.seen: processes.Seen
        self._is_over = False

    def configure(self, config: Mapping[str, object]) -> None:
        """Put this in config.json, which nobody ever finds half written."""
        beside = self.config.with_suffix(".new")
        beside.write_text(json.dumps(config))
        beside.chmod(0o600)
        beside.replace(self.config)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "acp_broker.cli.main", "--config", str(self.config), *words]

    def begin(self, *words: str, **streams: object) -> None:
        """Start `acp-broker WORDS` in a session of its own."""
        with self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*self.wrapper, *self.command(*words)],
                stderr=stderr,
                env=self.env,
                bufsize=0,
                start_new_session=True,
                **streams,
            )
        seen = processes.look(self.process.pid)
        assert seen is not None
        self.seen = seen

    # --- its processes

    def agents(self, role: str) -> list[processes.Seen]:
        """The living agents of one backend, their children too; the oldest first."""
        ours = {seen.pid for seen in processes.carrying(f"{RUN}={self.run}")}
        return [seen for seen in processes.carrying(f"{ROLE}={role}") if seen.pid in ours]

    def pause(self) -> None:
        """Stop the broker's process (SIGSTOP); what happens until `resume` happens to it at one instant."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL; nothing further is expected of it when it is left."""
        self._is_over = True
        self.process.kill()
        self.process.wait()

    def left_over(self, within_s: float = processes.GONE_WITHIN_S) -> list[processes.Seen]:
        """Processes of this run that do not end within that time."""
        return processes.still_there(f"{RUN}={self.run}", broker=self.seen, within_s=within_s)

    def until_agents(self, backend: str, count: int) -> None:
        """Wait until that many processes of a backend are there."""
        deadline = time.monotonic() + DEADLINE_S
        while len(self.agents(backend)) < count:
            assert time.monotonic() < deadline, f"only {self.agents(backend)}"
            select.select([], [], [], 0.005)

    # --- its log

    def log(self, event: str | None = None) -> list[dict]:
        """The lines of the broker's log, those of one event or all."""
        text = self.log_file.read_text() if self.log_file.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n") and line[0] == "{"]
        return [line for line in lines if event in (None, line["event"])]

    def until_logged(self, event: str, count: int = 1) -> dict:
        """Wait for the last of so many lines of the broker's log: what happens inside shows itself nowhere else."""
        deadline = time.monotonic() + DEADLINE_S
        while len(lines := self.log(event)) < count:
            assert self.process.poll() is None, f"it has ended: {self.stderr.read_text()}"
            assert time.monotonic() < deadline, f"no {event} in the log: {self.log()}"
            select.select([], [], [], 0.005)
        return lines[count - 1]

    # --- its end

    def clean_up(self) -> None:
        """Whatever happened, nothing of this run is left; each process is ended by its own pid."""
        left = processes.carrying(f"{RUN}={self.run}") + processes.guardians_of(self.seen)
        for pid in {self.process.pid if self.process.poll() is None else 0, *(seen.pid for seen in left)} - {0}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
