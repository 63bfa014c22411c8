"""Somebody's machine, as far as `init` and `check` look at it: an empty home, and a PATH of its own with fake agents.

Nothing of the machine that the tests run on is seen, nor changed. Everything that is started carries `RUN`.
"""

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.support import processes
from tests.support.run import RUN
from tests.support.talk import DEADLINE_S


class Machine:
    """`home` is empty, `bin` is all of PATH. `environ` may be added to."""

    def __init__(self, folder: Path) -> None:
        self.home, self.bin = folder / "home", folder / "bin"
        self.home.mkdir()
        self.bin.mkdir()
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.run_id = os.urandom(8).hex()
        self.config = self.home / ".config" / "acp-broker" / "config.json"
        self.environ = {
            "HOME": str(self.home),
            "PATH": str(self.bin),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.scratch),
            RUN: self.run_id,
        }

    def install(self, program: str, script: object = None, *, before: str = "", folder: Path | None = None) -> Path:
        """Put a scripted agent there under that name; `before` is shell that runs first."""
        played = (
            f"exec {shlex.quote(sys.executable)} -m backends.scripted --script {shlex.quote(json.dumps(script or {}))}"
        )
        return self.program(program, f"{before}\n{played}", folder)

    def program(self, name: str, shell: str, folder: Path | None = None) -> Path:
        file = (folder or self.bin) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{shell}\n")
        file.chmod(0o755)
        return file

    def write(self, name: str, content: object) -> Path:
        """A file below the home: text as it is, anything else as JSON."""
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def configure(self, *order: str, **backends: dict) -> None:
        """A config.json with these agents; `order` is the chain, the order of `backends` where it is left out."""
        first, *rest = order or tuple(backends)
        entries = {name: {"kind": "acp", "command": [name], **entry} for name, entry in backends.items()}
        self.write(
            ".config/acp-broker/config.json", {"acp": {"backend": first, "fallbacks": rest}, "backends": entries}
        )
        self.config.chmod(0o600)

    def run(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """`acp-broker WORDS`, to its end; nothing of it is left then."""
        done = subprocess.run(
            self._command(words),
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S * 3,
            check=False,
        )
        assert [] == processes.still_there(f"{RUN}={self.run_id}", within_s=0)
        return done

    def json(self, *words: str, status: int = 0, **environ: str) -> dict:
        """What `acp-broker WORDS --json` prints."""
        done = self.run(*words, "--json", **environ)
        assert (status, "") == (done.returncode, done.stderr), done
        return json.loads(done.stdout)

    def interrupted(self, number: signal.Signals, *words: str, agents: int) -> int:
        """`acp-broker WORDS` gets that signal once so many agents and children of theirs run; its exit status.

        Nothing is left then.
        """
        process = subprocess.Popen(
            self._command(words), env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self._until_run(agents)
            process.send_signal(number)
            status = process.wait(DEADLINE_S)
            assert [] == processes.still_there(f"{RUN}={self.run_id}", within_s=0)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
            for seen in processes.carrying(f"{RUN}={self.run_id}"):
                os.kill(seen.pid, signal.SIGKILL)
        return status

    def _until_run(self, count: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self._agents() < count:
            assert time.monotonic() < deadline
            select.select([], [], [], 0.005)

    def _agents(self) -> int:
        return sum("backends.scripted" in seen.command for seen in processes.carrying(f"{RUN}={self.run_id}"))

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-P", "-m", "acp_broker.cli.main", *words]
