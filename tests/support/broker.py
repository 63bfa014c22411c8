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
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.support import processes
from tests.support.heard import Turn
from tests.support.session_logs import check_logs

# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 30.0
# What every process of a run inherits from its broker, agents and their children too. The guardian does not.
RUN = "E2E_RUN"
# Which backend an agent process is of.
ROLE = "E2E_ROLE"
# Taken once: brokers are started on threads, while pytest changes a variable with every test that it begins.
ENVIRONMENT = dict(os.environ)
CAPABILITIES = {"fs": {"readTextFile": True, "writeTextFile": True}, "terminal": True}


def agent(script: object, **members: object) -> dict:
    """A backend's entry in config.json: the scripted agent as a process of its own."""
    text = script if isinstance(script, str) else json.dumps(script)
    return {"kind": "acp", "command": [sys.executable, "-m", "backends.scripted", "--script", text], **members}


def chain(*, limits: Mapping[str, object] | None = None, acp: Mapping[str, object] | None = None, **backends: object):
    """A config.json: these backends in this order. One without a `kind` is a script for `agent`."""
    entries = {
        name: given if isinstance(given, dict) and "kind" in given else agent(given) for name, given in backends.items()
    }
    for name, entry in entries.items():
        if entry["kind"] == "acp":
            entry.setdefault("env", {ROLE: name})
    first, *rest = entries
    return {"acp": {"backend": first, "fallbacks": rest, **(acp or {})}, "backends": entries, "limits": limits or {}}


class BrokerProcess:
    """Use as a context manager. `heard` keeps every message that came; `home` is the state folder."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, object],
        *,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
        capabilities: Mapping[str, object] = CAPABILITIES,
    ) -> None:
        self.home = home or folder / "state"
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        self.heard: list[dict] = []
        self.answers: dict[str, object] = {}
        self.run = os.urandom(8).hex()
        self.stderr = folder / "stderr.txt"
        self._capabilities = capabilities
        self.sessions: list[str] = []
        self._config = folder / "config.json"
        self._config.write_text(json.dumps(config))
        self._config.chmod(0o600)
        self._env = {**ENVIRONMENT, "ACP_BROKER_HOME": str(self.home), RUN: self.run, **(env or {})}
        self._rest = b""
        self._lines: list[bytes] = []
        self._next_id = 0
        self._is_over = False

    def __enter__(self) -> "BrokerProcess":
        command = [sys.executable, "-m", "acp_broker.cli.main", "--config", str(self._config), "stdio"]
        with self.stderr.open("wb") as stderr:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=stderr, env=self._env, bufsize=0, start_new_session=True
            )
        seen = processes.look(self.process.pid)
        assert seen is not None
        self.seen = seen
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and not self._is_over:
                self.leave()
        finally:
            self._clean_up()

    # --- speaking

    def write(self, *messages: Mapping[str, object]) -> None:
        """All of them in one write."""
        data = b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages)
        self.process.stdin.write(data)

    def request(self, method: str, **params: object) -> int:
        message = self.asking(method, **params)
        self.write(message)
        return message["id"]

    def asking(self, method: str, **params: object) -> dict:
        """A request with a fresh id, to be written."""
        self._next_id += 1
        return {"id": self._next_id, "method": method, "params": params}

    def notify(self, method: str, **params: object) -> None:
        self.write({"method": method, "params": params})

    def cancel(self, session: str) -> None:
        self.notify("session/cancel", sessionId=session)

    def answer(self, request: Mapping[str, object], result: object) -> None:
        self.write({"id": request["id"], "result": result})

    # --- listening

    def read(self) -> dict | None:
        """The next message; None at the end of the stream. A request that `answers` knows is answered."""
        line = self._read_line()
        if line is None:
            return None
        message = json.loads(line)
        self.heard.append(message)
        if "id" in message and message.get("method") in self.answers:
            self.answer(message, self.answers[message["method"]])
        return message

    def until(self, is_it: Callable[[dict], bool]) -> list[dict]:
        """Everything up to and with the message that `is_it` accepts."""
        got: list[dict] = []
        while True:
            message = self.read()
            assert message is not None, f"the broker closed its output: {got}\n{self.stderr.read_text()}"
            got.append(message)
            if is_it(message):
                return got

    def until_method(self, method: str) -> dict:
        return self.until(lambda message: message.get("method") == method)[-1]

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

    def until_reply(self, request: int) -> Turn:
        return Turn(self.until(lambda message: message.get("id") == request and "method" not in message))

    def call(self, method: str, **params: object) -> dict:
        """The answer to a request, whatever comes before it."""
        return self.until_reply(self.request(method, **params)).reply

    def initialize(self) -> dict:
        return self.call("initialize", protocolVersion=1, clientCapabilities=self._capabilities)

    def new(self) -> str:
        """The id of a new session."""
        session = self.call("session/new", cwd=str(self.work), mcpServers=[])["result"]["sessionId"]
        self.sessions.append(session)
        return session

    def open(self) -> str:
        """initialize, then the id of a new session."""
        self.initialize()
        return self.new()

    def prompting(self, session: str, text: str = "hello") -> dict:
        """The request of a prompt, to be written."""
        return self.asking("session/prompt", sessionId=session, prompt=[{"type": "text", "text": text}])

    def start(self, session: str, text: str = "hello") -> int:
        """Send a prompt; the request's id."""
        prompt = self.prompting(session, text)
        self.write(prompt)
        return prompt["id"]

    def prompt(self, session: str, text: str = "hello") -> Turn:
        return self.until_reply(self.start(session, text))

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

    # --- its end

    def leave(self) -> int:
        """Close stdin, hear it to its end, and hold it to what every run promises; the exit status."""
        self.process.stdin.close()
        return self.ended()

    def ended(self, status: int = 0) -> int:
        """Wait for the end that was asked for, then look at everything that is left of the run."""
        self._is_over = True
        while self.read() is not None:
            pass
        got = self.process.wait(DEADLINE_S)
        assert status == got, f"exit status {got}: {self.stderr.read_text()}"
        self.check_answers()
        # At once: what is left when it exits was forgotten, and another broker's sweep may soon hide that.
        assert [] == self.left_over(within_s=0)
        check_logs(self.home)
        return got

    def check_answers(self) -> None:
        """JSON-RPC 2.0: one answer to a request, and none that nobody asked for."""
        answered = [message["id"] for message in self.heard if "method" not in message]
        assert len(answered) == len(set(answered)), f"answered twice: {answered}"
        assert set(answered) <= set(range(1, self._next_id + 1)), f"answers nobody asked for: {answered}"

    def left_over(self, within_s: float = processes.GONE_WITHIN_S) -> list[processes.Seen]:
        """Processes of this run that do not end within that time."""
        return processes.still_there(f"{RUN}={self.run}", broker=self.seen, within_s=within_s)

    def log(self, event: str | None = None) -> list[dict]:
        """The lines of the broker's log, those of one event or all."""
        path = self.home / "log" / "broker.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if event in (None, line["event"])]

    def until_agents(self, backend: str, count: int) -> None:
        """Wait until that many processes of a backend are there."""
        deadline = time.monotonic() + DEADLINE_S
        while len(self.agents(backend)) < count:
            assert time.monotonic() < deadline, f"only {self.agents(backend)}"
            select.select([], [], [], 0.005)

    def until_logged(self, event: str) -> dict:
        """Wait for a line in the broker's log: what happens inside shows itself nowhere else."""
        deadline = time.monotonic() + DEADLINE_S
        while not (lines := self.log(event)):
            assert time.monotonic() < deadline, f"no {event} in the log: {self.log()}"
            select.select([], [], [], 0.005)
        return lines[0]

    def _read_line(self) -> bytes | None:
        deadline = time.monotonic() + DEADLINE_S
        while not self._lines:
            chunk = self._read(deadline)
            if not chunk:
                return None
            *self._lines, self._rest = (self._rest + chunk).split(b"\n")
        return self._lines.pop(0)

    def _read(self, deadline: float) -> bytes:
        ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        said = "\n".join(json.dumps(message)[:300] for message in self.heard[-20:])
        assert ready, f"nothing within {DEADLINE_S:g} s; heard:\n{said}\nstderr: {self.stderr.read_text()}"
        return os.read(self.process.stdout.fileno(), 1 << 20)

    def _clean_up(self) -> None:
        """Whatever happened, nothing of this run is left; each process is ended by its own pid."""
        left = processes.carrying(f"{RUN}={self.run}") + processes.guardians_of(self.seen)
        for pid in {self.process.pid if self.process.poll() is None else 0, *(seen.pid for seen in left)} - {0}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                stream.close()
