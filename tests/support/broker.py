"""A real `acp-broker stdio` process with a config and a state folder of its own, and the editor's end of its pipes.

    with BrokerProcess(tmp_path, chain(primary={"turns": [[{"do": "die"}]]}, spare={})) as broker:
        session = broker.open()
        turn = broker.prompt(session, "hello")
        assert turn.reply["result"]["stopReason"] == "end_turn"

Leaving closes stdin and expects of every run: exit status 0, one answer to each request, no process left, and logs
whose steps the turn machine plays again alike (`check_logs`). One driver belongs to one thread; reads have a deadline.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.run import ENVIRONMENT, ROLE, RUN, Run
from tests.support.session_logs import check_logs
from tests.support.talk import CAPABILITIES, DEADLINE_S, Talk

__all__ = ["CAPABILITIES", "DEADLINE_S", "ENVIRONMENT", "ROLE", "RUN", "BrokerProcess", "agent", "chain"]


def agent(script: object, **members: object) -> dict:
    """A backend's entry in config.json: the scripted agent as a process of its own."""
    text = script if isinstance(script, str) else json.dumps(script)
    return {"kind": "acp", "command": [sys.executable, "-m", "backends.scripted", "--script", text], **members}


def chain(
    *,
    limits: Mapping[str, object] | None = None,
    acp: Mapping[str, object] | None = None,
    frontends: Mapping[str, object] | None = None,
    **backends: object,
):
    """A config.json: these backends in this order. One without a `kind` is a script for `agent`."""
    entries = {
        name: given if isinstance(given, dict) and "kind" in given else agent(given) for name, given in backends.items()
    }
    for name, entry in entries.items():
        if entry["kind"] == "acp":
            entry.setdefault("env", {ROLE: name})
    first, *rest = entries
    return {
        "acp": {"backend": first, "fallbacks": rest, **(acp or {})},
        "backends": entries,
        "limits": limits or {},
        "frontends": frontends or {},
    }


class BrokerProcess(Run, Talk):
    """Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, object],
        *,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
        capabilities: Mapping[str, object] = CAPABILITIES,
    ) -> None:
        Run.__init__(self, folder, config, home=home, env=env)
        Talk.__init__(self, self.work, capabilities)

    def __enter__(self) -> "BrokerProcess":
        self.begin("stdio", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and not self._is_over:
                self.leave()
        finally:
            self.clean_up()
            for stream in (self.process.stdin, self.process.stdout):
                with suppress(BrokenPipeError):
                    stream.close()

    def until_at(self) -> None:
        """Wait for an agent's sign, the notification `_at`: shown, or held and logged before the commit point."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            assert time.monotonic() < deadline, f"no sign of the agent; the log: {self.log()}"
            if self._lines or select.select([self.process.stdout], [], [], 0.005)[0]:
                message = self.read()
                if message is not None and message.get("method") == "_at":
                    return
            elif any(line["session"] in self.sessions for line in self.log("notification_held")):
                return

    # --- its end

    def leave(self) -> int:
        """Close stdin, hear it to its end, and hold it to what every run promises; the exit status."""
        self.process.stdin.close()
        return self.ended()

    def ended(self, status: int = 0) -> int:
        """Wait for the end that was asked for, then look at everything that is left of the run."""
        self._is_over = True
        self.until_end()
        got = self.process.wait(DEADLINE_S)
        assert status == got, f"exit status {got}: {self.stderr.read_text()}"
        self.check_answers()
        # At once: what is left when it exits was forgotten, and another broker's sweep may soon hide that.
        assert [] == self.left_over(within_s=0)
        check_logs(self.home)
        return got

    # --- its pipes

    def _send(self, data: bytes) -> None:
        self.process.stdin.write(data)

    def _receive(self, deadline: float) -> bytes:
        ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, self.nothing_came()
        return os.read(self.process.stdout.fileno(), 1 << 20)

    def _story(self) -> str:
        return f"stderr: {self.stderr.read_text()}"
