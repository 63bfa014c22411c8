"""A frontend that prompts until its broker is dead, and remembers every byte that it was sent."""

import contextlib
import json
import threading
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from websockets.exceptions import ConnectionClosed

from tests.support.talk import Talk


class Gone(Exception):
    """The broker is dead."""


class Claim(NamedTuple):
    """What one witness was told of a session: replayed when it took it up, and shown from then on."""

    replayed: list[bytes]
    shown: list[bytes]


class Witness:
    """A frontend on a thread of its own: it prompts until the broker is dead, and remembers what it read."""

    def __init__(self, talk: Talk, dice: Random, take_up: list[str], makes: int, words: Iterator[str]) -> None:
        self.talk = talk
        # Which request took a session up: `session/load`, or `session/new`, which replays nothing.
        self.loads: dict[str, int] = {}
        self.made: list[str] = []
        self.asked: dict[int, str] = {}
        self.fault: BaseException | None = None
        # Set when it prompts, or never will.
        self.is_up = threading.Event()
        self._dice = dice
        self._take_up = take_up
        self._makes = makes
        self._words = words
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        if self.fault is not None:
            raise self.fault

    def claims(self) -> Iterator[tuple[str, Claim, bool]]:
        """By session, and whether its replay was complete."""
        messages = [(line, json.loads(line)) for line in self.talk.raw]
        ends = {message["id"]: at for at, (_, message) in enumerate(messages) if "method" not in message}
        for session in [*self.loads, *self.made]:
            end = ends.get(self.loads[session], len(messages)) if session in self.loads else 0
            updates = [(at, line) for at, (line, one) in enumerate(messages) if session_of(one) == session]
            replayed = [line for at, line in updates if at < end]
            yield session, Claim(replayed, [line for at, line in updates if at > end]), end < len(messages)

    def _run(self) -> None:
        try:
            with contextlib.suppress(Gone):
                self._live()
        except BaseException as fault:  # noqa: BLE001 - raised by `join`
            self.fault = fault
        finally:
            self.is_up.set()

    def _live(self) -> None:
        dice = self._dice
        self._call("initialize", protocolVersion=1, clientCapabilities={})
        for session in self._take_up:
            self.loads[session] = self._request(
                "session/load", sessionId=session, cwd=str(self.talk.work), mcpServers=[]
            )
            answer = self._reply(self.loads[session])
            assert "result" in answer, f"session {session} is not there again: {answer}"
        for _ in range(self._makes):
            made = self._call("session/new", cwd=str(self.talk.work), mcpServers=[])
            self.made.append(made["result"]["sessionId"])
        sessions = [*self._take_up, *self.made]
        waiting = {self._ask(session): session for session in sessions}
        self.is_up.set()
        while True:
            message = self._read()
            session = waiting.pop(message.get("id"), None) if "method" not in message else None
            if session is not None:
                waiting[self._ask(session)] = session
            if dice.random() < 0.002:
                waiting[self._ask(session := dice.choice(sessions))] = session
            elif dice.random() < 0.001:
                self._request("session/list")
            elif dice.random() < 0.001:
                self._write({"method": "session/cancel", "params": {"sessionId": dice.choice(sessions)}})

    def _ask(self, session: str) -> int:
        word = next(self._words)
        request = self._request("session/prompt", sessionId=session, prompt=[{"type": "text", "text": word}])
        self.asked[request] = word
        return request

    def _call(self, method: str, **params: object) -> dict:
        return self._reply(self._request(method, **params))

    def _reply(self, request: int) -> dict:
        while (message := self._read()).get("id") != request or "method" in message:
            pass
        return message

    def _request(self, method: str, **params: object) -> int:
        message = self.talk.asking(method, **params)
        self._write(message)
        return message["id"]

    def _write(self, message: dict) -> None:
        try:
            self.talk.write(message)
        except (OSError, ConnectionClosed) as error:
            raise Gone from error

    def _read(self) -> dict:
        message = self.talk.read()
        if message is None:
            raise Gone
        return message


def session_of(message: dict) -> str | None:
    """Whose update it is."""
    return message["params"]["sessionId"] if message.get("method") == "session/update" else None
