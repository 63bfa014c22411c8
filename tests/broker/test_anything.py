"""Two brokers of one state folder, and clients that do anything, in any order: nothing is left without its answer."""

import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from acp_broker.broker import asleep
from acp_broker.broker.terms import Terms
from tests.broker.test_keys import keyed
from tests.broker.test_revival import MODES
from tests.support.clock import settled
from tests.support.harness import EVERYTHING, Editor, House, decided, house

pytestmark = pytest.mark.anyio

STEPS = 60
BRIDGE = Terms("bridge", turns_go_on=True)
WITH_NUMBERS = {**EVERYTHING, "_meta": {"acp-broker": {"seq": True}}}
TURNS = (
    [{"do": "say", "text": "a"}],
    [{"do": "say", "text": "half"}, {"do": "stall", "ms": 1000}, {"do": "say", "text": "whole"}],
    [{"do": "stall", "ms": 3000}, {"do": "say", "text": "late"}],
    [{"do": "askPermission", "title": "?"}, {"do": "say", "text": "p"}],
    [{"do": "die"}],
    [{"do": "fail"}],
)
REQUESTS = ("new", "prompt", "prompt", "prompt", "key", "load", "resume", "close", "delete", "set_mode")
ACTS = (*REQUESTS, "cancel", "leave", "connect", "adopt", "advance", "doze")


def backends(dice: Random) -> dict[str, object]:
    """Two that do well or not, in either order."""
    names = dice.sample(("one", "two"), 2)
    can = {"capabilities": {"loadSession": True}, "modes": MODES}
    return {name: {**can, "turns": [dice.choice(TURNS) for _ in range(8)]} for name in names}


class Crowd:
    """`asked` are the requests of each client that is there still."""

    def __init__(self, dice: Random, homes: list[House]) -> None:
        self.dice = dice
        self.homes = homes
        self.asked: dict[Editor, list[int]] = {}
        self.sessions: list[str] = []

    async def step(self) -> None:
        dice = self.dice
        if not self.asked:
            await self.connect()
        editor, act = dice.choice(list(self.asked)), dice.choice(ACTS if self.sessions else ("new",))
        home, session = editor.home, dice.choice(self.sessions) if self.sessions else ""
        match act:
            case "new":
                answer = await editor.call("session/new", cwd=str(home.path), mcpServers=[])
                self.sessions.append(answer["result"]["sessionId"])
            case "prompt":
                self.asked[editor].append(editor.start(session).request)
            case "key":
                self.asked[editor].append(editor.start(session, **keyed(f"k{dice.randrange(3)}")).request)
            case "load" | "resume":
                where = {"sessionId": session, "cwd": str(home.path), "mcpServers": []}
                self.asked[editor].append(editor.request(f"session/{act}", **where))
            case "close" | "delete":
                self.asked[editor].append(editor.request(f"session/{act}", sessionId=session))
            case "set_mode":
                mode = dice.choice(["plan", "code"])
                self.asked[editor].append(editor.request("session/set_mode", sessionId=session, modeId=mode))
            case _:
                await self.beside(act, editor, session)
        if dice.random() < 0.5:
            await settled()

    async def beside(self, act: str, editor: Editor, session: str) -> None:
        """What is no request."""
        home = editor.home
        match act:
            case "cancel":
                editor.cancel(session)
            case "leave":
                del self.asked[editor]
                editor.channel.close()
            case "connect":
                await self.connect()
            case "adopt":
                home.broker.adopt(decided(backends(self.dice)))
            case "advance":
                await home.clock.advance(self.dice.choice([0, 0.05, 1, 3, 70]))
            case "doze":
                for one in tuple(home.broker.sessions.values()):
                    one.repose.doze()

    async def connect(self) -> None:
        dice = self.dice
        home, can = dice.choice(self.homes), dice.choice([EVERYTHING, WITH_NUMBERS])
        editor = await home.editor(can, terms=dice.choice([BRIDGE, Terms("editor")]))
        editor.answers["session/request_permission"] = {"outcome": {"outcome": "cancelled"}}
        self.asked[editor] = []

    def unanswered(self) -> list[int]:
        """The requests that did not get exactly one answer."""
        return [one for editor, asked in self.asked.items() for one in asked if len(editor.replies(one)) != 1]


def doubled(state: Path) -> list[str]:
    """Turns with two answers, and keys with two turns."""
    found: list[str] = []
    for path in (state / "sessions").iterdir():
        records = [json.loads(line) for line in path.read_bytes().splitlines()]
        answers = Counter(one["turn"] for one in records if one["record"] == "answer")
        keys = Counter(one["key"] for one in records if "key" in one and one["record"] == "accepted")
        found += [f"{path.name}: {name}" for name, count in (answers + keys).items() if count > 1]
    return found


# The last one once found an answer that a close had lost.
@pytest.mark.parametrize("seed", [*range(20), 148])
async def test_whatever_clients_do_each_request_has_one_answer(tmp_path, monkeypatch, seed):
    """No fault of ours, no turn that never ends, no prompt run twice."""
    dice = Random(seed)
    monkeypatch.setattr(asleep, "MOST_CLOSED", dice.choice([0, 1, 1000]))
    async with house(tmp_path, **backends(dice)) as home, house(tmp_path, **backends(dice)) as other:
        crowd = Crowd(dice, [home, other])
        for _ in range(STEPS):
            await crowd.step()
        for _ in range(60):
            await home.clock.advance(30)
            await other.clock.advance(30)
        running = [one.id for it in (home, other) for one in it.broker.sessions.values() if one.turn is not None]
        faults = [line for it in (home, other) for line in it.log.of("broker_fault")]

        assert ([], [], []) == (crowd.unanswered(), running, faults)
    assert [] == doubled(tmp_path / "state")
