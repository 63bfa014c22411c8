"""A real broker, spoken to in bytes: for messages that no client would send, and ids that no driver would choose."""

import json
import sys
from pathlib import Path

from tests.support.broker import BrokerProcess


class Wire(BrokerProcess):
    """A BrokerProcess whose test chooses bytes and ids itself."""

    def send(self, *lines: bytes) -> None:
        """These lines, each with its newline, in one write."""
        self.put(b"".join(line + b"\n" for line in lines))

    def put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def say(self, method: str, params: object, id: object = None) -> None:  # noqa: A002 - JSON-RPC's own word
        """One message; a notification without an id."""
        named = {} if id is None else {"id": id}
        self.send(json.dumps({"jsonrpc": "2.0", **named, "method": method, "params": params}).encode())

    def next_line(self) -> bytes:
        """The next line as it came."""
        line = self._read_line()
        assert line is not None, "the broker closed its output"
        return line

    def answer_to(self, line: bytes) -> dict:
        """What comes back for one line."""
        self.send(line)
        return json.loads(self.next_line())

    def lives(self) -> bool:
        """Whether the connection still answers, and with nothing before that answer."""
        self.say("session/list", {"cwd": "/nowhere"}, "alive?")
        return json.loads(self.next_line()) == {"jsonrpc": "2.0", "id": "alive?", "result": {"sessions": []}}

    def check_answers(self) -> None:
        """Ids are the test's own here, and an id may be used again once it was answered."""


def error_of(message: dict) -> tuple[object, int]:
    return message["id"], message["error"]["code"]


def overheard(script: object, heard: Path) -> dict:
    """A backend's entry: the scripted agent, and a file that keeps every byte that it is sent."""
    agent = [sys.executable, "-m", "backends.scripted", "--script", json.dumps(script)]
    return {"kind": "acp", "command": ["/bin/sh", "-c", 'tee "$0" | exec "$@"', str(heard), *agent]}


def says(raw: bytes) -> dict:
    """A step that puts this line on the agent's stdout as it stands."""
    return {"do": "garbage", "hex": (raw + b"\n").hex()}
