"""A frontend's side of one connection, spoken in a blocking way: one thread, reads with a deadline.

What carries the bytes is the business of whoever inherits: `_send` and `_receive`.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.heard import Turn

# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 30.0
CAPABILITIES = {"fs": {"readTextFile": True, "writeTextFile": True}, "terminal": True}


class Talk:
    """`heard` keeps every message that came, `raw` its bytes.

    `answers`, by method, are given as soon as a request is read.
    """

    def __init__(self, work: Path, capabilities: Mapping[str, object] = CAPABILITIES) -> None:
        self.work = work
        self.heard: list[dict] = []
        self.raw: list[bytes] = []
        self.answers: dict[str, object] = {}
        self.sessions: list[str] = []
        self._capabilities = capabilities
        self._rest = b""
        self._lines: list[bytes] = []
        self._next_id = 0

    def _send(self, data: bytes) -> None:
        """Whole lines."""
        raise NotImplementedError

    def _receive(self, deadline: float) -> bytes:
        """Some bytes, waited for until `deadline` (monotonic); none at the end of the stream."""
        raise NotImplementedError

    def _story(self) -> str:
        """What else may explain why nothing came."""
        return ""

    # --- speaking

    def write(self, *messages: Mapping[str, object]) -> None:
        """All of them in one write."""
        self._send(b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages))

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
        self.raw.append(line)
        if "id" in message and message.get("method") in self.answers:
            self.answer(message, self.answers[message["method"]])
        return message

    def until(self, is_it: Callable[[dict], bool]) -> list[dict]:
        """Everything up to and with the message that `is_it` accepts."""
        got: list[dict] = []
        while True:
            message = self.read()
            assert message is not None, f"the broker closed the connection: {got}\n{self._story()}"
            got.append(message)
            if is_it(message):
                return got

    def until_method(self, method: str) -> dict:
        return self.until(lambda message: message.get("method") == method)[-1]

    def until_reply(self, request: int) -> Turn:
        return Turn(self.until(lambda message: message.get("id") == request and "method" not in message))

    def until_end(self) -> list[dict]:
        """Everything to the end of the stream."""
        got: list[dict] = []
        while (message := self.read()) is not None:
            got.append(message)
        return got

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

    def check_answers(self) -> None:
        """JSON-RPC 2.0: one answer to a request, and none that nobody asked for."""
        answered = [message["id"] for message in self.heard if "method" not in message]
        assert len(answered) == len(set(answered)), f"answered twice: {answered}"
        assert set(answered) <= set(range(1, self._next_id + 1)), f"answers nobody asked for: {answered}"

    def _read_line(self) -> bytes | None:
        deadline = time.monotonic() + DEADLINE_S
        while not self._lines:
            chunk = self._receive(deadline)
            if not chunk:
                return None
            *self._lines, self._rest = (self._rest + chunk).split(b"\n")
        return self._lines.pop(0)

    def nothing_came(self) -> str:
        """What a read says that has waited in vain."""
        said = "\n".join(json.dumps(message)[:300] for message in self.heard[-20:])
        return f"nothing within {DEADLINE_S:g} s; heard:\n{said}\n{self._story()}"
