"""A crowd of frontends in one process, and the backends that they talk to: each prompt says how each backend fares.

Who answers is up to the broker, for backends rest after they failed; but whoever it was must have been told to answer,
and its words must be the ones of this prompt.
"""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.support.handmade import WebSocket, shaken

BACKENDS = ("one", "two", "three")
DEADLINE_S = 30.0

POSE = "API Error: 529 Overloaded"
# What a backend does, by the word for it in the prompt. `{}` is its tag, then the prompt's text.
ECHO = [{"do": "echo", "chunks": 3}]
ANSWERS = {
    "speaks": [*ECHO],
    "notes": [{"do": "usage", "used": 1, "size": 9}, *ECHO],
    "asks": [{"do": "askPermission", "title": "May I?", "branches": {"allow": ECHO}}],
}
BREAKS = {"breaks": [*ECHO, {"do": "fail", "message": "the connection was lost"}]}
FAILS = {
    "errs": [{"do": "fail", "message": "overloaded_error"}],
    "limits": [{"do": "fail", "code": 429, "message": "rate limit"}],
    "hints": [{"do": "usage", "used": 1, "size": 9}, {"do": "fail", "message": "internal"}],
    "poses": [{"do": "say", "text": POSE}, {"do": "end"}],
    "dies": [{"do": "die"}],
    "babbles": [{"do": "garbage", "text": "no message"}, {"do": "badJson"}],
    "nods": [{"do": "end"}],
    "stalls": [{"do": "stall"}],
}
# What hostile frontends ask of any backend: more than all buffers between here and there hold, within seconds.
FLOOD, STALL = "flood me", "keep me waiting"
_GUSH = {"do": "flood", "count": 100, "perWrite": 100, "text": "flood " * 500}
_ON_DEMAND = {
    FLOOD: [{"do": "repeat", "times": 40, "steps": [_GUSH, {"do": "stall", "ms": 5}]}],
    STALL: [{"do": "say", "text": "wait"}, {"do": "stall"}],
}
# Two of three prompts find their primary well; a spare is as likely to fail as not.
WELL = {"one": 0.66, "two": 0.5, "three": 0.5}


def backends(turns: int) -> dict[str, dict]:
    """Their entries in config.json, for sessions of so many turns."""
    return {name: {"kind": "scripted", "script": script(name, turns)} for name in BACKENDS}


def script(name: str, turns: int) -> dict:
    """What one of them plays. A prompt may bring the earlier ones along (a handoff): the latest one counts."""
    steps: list[dict] = [{"do": "fail", "message": "nobody said what to do"}]
    for turn in range(turns):
        steps = [_if(_key(name, turn), _fates(name, turn), steps)]
    for text, does in _ON_DEMAND.items():
        steps = [_if(text, does, steps)]
    return {"turns": [steps]}


def _fates(name: str, turn: int) -> list[dict]:
    tag = {"do": "say", "text": f"<{name}>"}
    steps: list[dict] = []
    for word, does in {**ANSWERS, **BREAKS, **FAILS}.items():
        tagged = [tag, *does] if word in ("speaks", "notes", "breaks") else does
        steps = [_if(f"{_key(name, turn)}{word};", tagged, steps)]
    return steps


def _if(text: str, does: list[dict], otherwise: list[dict]) -> dict:
    return {"do": "ifText", "contains": text, "steps": does, "else": otherwise}


def _key(name: str, turn: int) -> str:
    return f"{name}.{turn}="


class Plan(NamedTuple):
    """What is in one prompt, the `turn`th of its session: how each backend fares with it."""

    word: str
    turn: int
    fate: Mapping[str, str]

    @property
    def text(self) -> str:
        return " ".join(
            [self.word, *(f"{_key(name, self.turn)}{fate};" for name, fate in self.fate.items()), "é\u2028 end"]
        )

    def shown(self, served: str) -> str:
        """All the words of a backend that speaks."""
        return self.text if self.fate[served] == "asks" else f"<{served}>{self.text}"


def plans(seed: object, count: int) -> list[Plan]:
    """The prompts of one session, no two with the same word; the same for the same seed."""
    dice = random.Random(repr(seed))
    return [Plan(f"{seed}.{turn}.{dice.getrandbits(64):x}", turn, _fate(dice)) for turn in range(count)]


def _fate(dice: random.Random) -> dict[str, str]:
    def one(name: str) -> str:
        if dice.random() < WELL[name]:
            return dice.choice(list(ANSWERS))
        return dice.choice([*BREAKS, *FAILS])

    return {name: one(name) for name in BACKENDS}


class Told(NamedTuple):
    """One prompt and what came of it: every reply to it, and every word that its session showed meanwhile."""

    plan: Plan
    replies: Sequence[dict]
    words: str
    took_s: float

    def wrong(self) -> str | None:
        """What is wrong with it, in one sentence."""
        if len(self.replies) != 1:
            return f"{self.plan} got {len(self.replies)} answers"
        reply, fate = self.replies[0], self.plan.fate
        is_answer = reply.get("result", {}).get("stopReason") == "end_turn"
        told = reply["result"]["_meta"]["acp-broker"] if is_answer else reply["error"]["data"]
        tried = [attempt["backend"] for attempt in told["attempts"]]
        failed = all(fate[name] in FAILS for name in tried[:-1])
        served = tried[-1]
        match fate[served]:
            case word if word in ANSWERS:
                is_right = is_answer and self.words == self.plan.shown(served)
            case word if word in BREAKS:
                is_right = not is_answer and reply["error"]["code"] == -33002 and self.words == self.plan.shown(served)
            case "poses":  # words that look like a failure are the answer once nobody else is left: docs/failover.md
                is_right = is_answer and self.words == POSE and len(tried) == len(BACKENDS)
            case _:
                is_right = not is_answer and reply["error"]["code"] == -33001 and not self.words
        return None if failed and is_right else f"{self.plan} got {reply} and {self.words!r}"


class Guest:
    """One frontend with one session. What it hears of any other session is in `strays`."""

    def __init__(self, cwd: str) -> None:
        self.cwd = cwd
        self.session = ""
        self.strays: list[dict] = []
        self.line: WebSocket
        self._words: list[str] = []
        self._replies: dict[int, list[dict]] = {}
        self._waiting: dict[int, asyncio.Future[dict]] = {}

    async def arrive(self, url: str, headers: Mapping[str, str]) -> None:
        self.line = await shaken(url, headers, self.on_message)
        await self.introduce()

    async def introduce(self) -> None:
        assert self.line.status == 101, self.line.status
        await self.call("initialize", protocolVersion=1, clientCapabilities={})

    async def open(self) -> None:
        opened = await self.call("session/new", cwd=self.cwd, mcpServers=[])
        self.session = opened["result"]["sessionId"]

    async def prompt(self, plan: Plan) -> Told:
        self._words.clear()
        began = asyncio.get_running_loop().time()
        reply = await self.call("session/prompt", sessionId=self.session, prompt=[{"type": "text", "text": plan.text}])
        took = asyncio.get_running_loop().time() - began
        return Told(plan, self._replies[reply["id"]], self.words, took)

    @property
    def words(self) -> str:
        """What its session has said since the latest prompt."""
        return "".join(self._words)

    async def leave(self) -> None:
        await self.call("session/delete", sessionId=self.session)
        await self.line.close()

    async def call(self, method: str, **params: object) -> dict:
        number = len(self._replies) + 1
        self._replies[number] = []
        answered = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.line.write({"id": number, "method": method, "params": params})
        gone = asyncio.ensure_future(self.line.closed.wait())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.wait({answered, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        assert answered.done(), f"closed with {self.line.code} before {method} was answered"
        return answered.result()

    def on_message(self, data: bytes) -> None:
        message = json.loads(data)
        match message:
            case {"method": "session/update", "params": params}:
                self._shown(params)
            case {"method": "session/request_permission", "id": name}:
                self.line.write({"id": name, "result": {"outcome": {"outcome": "selected", "optionId": "allow"}}})
            case {"id": int(number)} if number in self._replies:
                self._replies[number].append(message)
                if not self._waiting[number].done():
                    self._waiting[number].set_result(message)

    def _shown(self, params: dict) -> None:
        if params["sessionId"] != self.session:
            # Before the answer that names it, there is nothing of it to be seen.
            self.strays.append(params)
        elif params["update"]["sessionUpdate"] == "agent_message_chunk":
            self._words.append(params["update"]["content"]["text"])
