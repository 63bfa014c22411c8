"""`acp-broker serve` under measurement."""

import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

LEAVE_S = 10.0
_ADDRESS = re.compile(r"ws://[^\s\"]+")


class Daemon:
    """Use it with `with`; inside, it listens. `command` ends with `serve`; `log` is a file for what it says."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(command, stderr=stderr, env=environ)
        self.pid = self._process.pid
        self.url = self._until_it_listens()
        asked = [*command[:-1], "token", "show"]
        self.token = subprocess.run(asked, env=environ, check=True, capture_output=True, text=True).stdout.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process as process:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def _until_it_listens(self) -> str:
        while True:
            is_over = self._process.poll() is not None
            said = self._log.read_text()
            found = _ADDRESS.search(said)
            if found is not None:
                return found.group()
            if is_over:
                raise EOFError(f"the daemon did not start:\n{said}")
            time.sleep(0.01)
