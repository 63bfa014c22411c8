"""A chat that lasts: a client over WebSocket that loses its connection at any byte, and comes back with its key.

It relies on nothing but what docs/bridge.md promises: keys, numbers, `after`, `_acp-broker/turn`. What it was shown is
put together from all of its connections, as a chat would show it.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from websockets.exceptions import InvalidHandshake, WebSocketException

from tests.support.daemon import Bridge
from tests.support.numbered import TURN, seq
from tests.support.talk import CAPABILITIES

ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}
NUMBERS = {**CAPABILITIES, "_meta": {"acp-broker": {"seq": True}}}
WAYS = ("session/load", "session/resume", "session/prompt")
# More connections than any run of a test needs: it bounds a fault.
MOST_CONNECTIONS = 200


class Lost(Exception):
    """The connection is gone."""


class LastingChat:
    """One session. `shown` is what came with a number, each thing once; `answers` the prompts' answers, by key."""

    def __init__(self, work: Path, url: Callable[[], tuple[str, str]], rng: Random) -> None:
        self._work = work
        self._url = url
        self._rng = rng
        self._line: Bridge | None = None
        self._attends = False
        self.session = ""
        self.connections = 0
        self.seen = 0
        self.shown: list[tuple[int, dict]] = []
        self.answers: dict[str, dict] = {}

    def open(self) -> None:
        """A new session: the one thing that is not asked for twice."""
        bridge = self._connected()
        made = self._asked(bridge.asking("session/new", cwd=str(self._work), mcpServers=[]))
        self.session, self._attends = made["result"]["sessionId"], True

    def ask(self, key: str, text: str) -> None:
        """Send a prompt until it is answered."""
        while key not in self.answers:
            with suppress(Lost):
                self._ask(key, text)

    def catch_up(self) -> None:
        """Come back once more: what was missed behind the last answer."""
        self.lose()
        while not self._attends:
            with suppress(Lost):
                self._come_back("session/load")

    def lose(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line, self._attends = None, False

    def turns(self) -> list[tuple[str, str, str]]:
        """Each turn that began: the key of its prompt, its words, and how it ended, in order."""
        told: list[tuple[str, str, str]] = []
        for _, message in self.shown:
            params = message["params"]
            if message["method"] == TURN and params["state"] == "started":
                told.append((params["idempotencyKey"], "", ""))
            elif message["method"] == TURN:
                key, words, end = told[-1]
                assert not end, "it ended twice"
                told[-1] = (key, words, params.get("stopReason") or params["error"]["message"])
            elif params["update"]["sessionUpdate"] == "agent_message_chunk":
                key, words, end = told[-1]
                assert not end, "words behind the end of their turn"
                told[-1] = (key, words + params["update"]["content"]["text"], end)
        return told

    def _ask(self, key: str, text: str) -> None:
        bridge = self._connected()
        way = self._rng.choice(WAYS)
        if not self._attends and way != "session/prompt":
            self._come_back(way)
        ours = {"idempotencyKey": key, "after": self.seen}
        prompt = bridge.prompting(self.session, text)
        prompt["params"]["_meta"] = {"acp-broker": ours}
        self._attends = True
        self.answers[key] = self._asked(prompt)

    def _come_back(self, way: str) -> None:
        bridge = self._connected()
        where = {"sessionId": self.session, "cwd": str(self._work), "mcpServers": []}
        answer = self._asked(bridge.asking(way, **where, _meta={"acp-broker": {"after": self.seen}}))
        assert "result" in answer, answer
        self._attends = True

    def _connected(self) -> Bridge:
        while self._line is None:
            self.connections += 1
            assert self.connections < MOST_CONNECTIONS, "it never gets anywhere"
            with suppress(OSError, InvalidHandshake, WebSocketException, EOFError, Lost):
                self._line = Bridge(self._work, *self._url())
                self._line.answers["session/request_permission"] = ALLOW
                self._asked(self._line.asking("initialize", protocolVersion=1, clientCapabilities=NUMBERS))
        return self._line

    def _asked(self, request: dict) -> dict:
        """The answer to a request; what comes before it is shown. Raises Lost."""
        bridge = self._connected()
        try:
            bridge.write(request)
            while True:
                message = bridge.read()
                if message is None:
                    raise Lost
                if "method" not in message and message["id"] == request["id"]:
                    return message
                self._show(message)
        except (OSError, WebSocketException, Lost):
            self.lose()
            raise Lost from None

    def _show(self, message: dict) -> None:
        number = seq(message) if message.get("method") in ("session/update", TURN) else None
        if number is not None:
            assert number > self.seen, f"{number} came behind {self.seen}: {message}"
            self.seen = number
            self.shown.append((number, message))
