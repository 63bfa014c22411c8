"""A scripted agent as a real process, and the client's end of its pipes."""

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 20.0


class AgentProcess:
    """`python -m backends.scripted`, spoken to line by line. Use as a context manager: leaving kills it."""

    def __init__(self, script: object = None, *, cwd: Path, memory: Path | None = None) -> None:
        command = [sys.executable, "-m", "backends.scripted"]
        if script is not None:
            command += ["--script", json.dumps(script)]
        if memory is not None:
            command += ["--memory", str(memory)]
        pipe = subprocess.PIPE
        self.cwd = cwd
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )
        self._rest = b""
        self._next_id = 100

    def __enter__(self) -> "AgentProcess":
        return self

    def __exit__(self, *_: object) -> None:
        # The whole group, so that a spawned child is not left behind by a test that fails.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def write(self, data: bytes) -> None:
        self.process.stdin.write(data)

    def send(self, **message: object) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def request(self, method: str, **params: object) -> int:
        self._next_id += 1
        self.send(id=self._next_id, method=method, params=params)
        return self._next_id

    def notify(self, method: str, **params: object) -> None:
        self.send(method=method, params=params)

    def read_line(self) -> bytes | None:
        """The next line without its newline; None at the end of the stream."""
        while b"\n" not in self._rest:
            chunk = self._read(self.process.stdout.fileno())
            if not chunk:
                return None
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def read(self) -> dict:
        line = self.read_line()
        assert line is not None, "the agent closed its output"
        return json.loads(line)

    def read_stderr_line(self) -> str:
        return self._read(self.process.stderr.fileno()).decode()

    def until_answer(self, request_id: int) -> list[dict]:
        """Everything up to and with the answer to that request."""
        heard = [self.read()]
        while heard[-1].get("id") != request_id or "method" in heard[-1]:
            heard.append(self.read())
        return heard

    def call(self, method: str, **params: object) -> dict:
        """The answer to a request, whatever comes before it."""
        return self.until_answer(self.request(method, **params))[-1]

    def open(self) -> str:
        """Initialize, and begin a session; its id."""
        self.call("initialize", protocolVersion=1)
        return self.call("session/new", cwd=str(self.cwd), mcpServers=[])["result"]["sessionId"]

    def prompt(self, session: str, text: str = "hello") -> int:
        return self.request("session/prompt", sessionId=session, prompt=[{"type": "text", "text": text}])

    def turn(self, session: str, text: str = "hello") -> list[dict]:
        return self.until_answer(self.prompt(session, text))

    def status(self) -> int:
        """The exit status, once the process is gone."""
        return self.process.wait(DEADLINE_S)

    def _read(self, fd: int) -> bytes:
        ready, _, _ = select.select([fd], [], [], DEADLINE_S)
        assert ready, "the agent said nothing"
        return os.read(fd, 65536)


def texts(heard: list[dict]) -> list[str]:
    """The text of every message chunk."""
    updates = [message["params"]["update"] for message in heard if message.get("method") == "session/update"]
    return [update["content"]["text"] for update in updates if update["sessionUpdate"] == "agent_message_chunk"]
