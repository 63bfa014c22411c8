"""Clients with numbers that come and go at random, in two processes: each sees everything once, in order."""

from random import Random

import pytest

from acp_broker.broker.terms import Terms
from tests.support.harness import House, Turn, house
from tests.support.numbered import NUMBERS, TURN, after, numbered, seq

pytestmark = pytest.mark.anyio

BRIDGE = Terms("bridge", turns_go_on=True)
WAYS = ("session/load", "session/resume", "session/prompt")
STEPS = 60
SLOW = [{"do": "stall", "ms": 20}, {"do": "say", "text": "two"}]
# Held until the first word, and shown with it in one record; several words in one read; a failover; a pause.
AT_ONCE = [{"do": "usage", "used": 1, "size": 2}, {"do": "say", "text": "one", "chunks": 3}]
ASKS = [{"do": "askPermission", "toolCallId": "call"}, {"do": "sayAnswer"}]
PRIMARY = {"turns": [[*AT_ONCE, *SLOW], [{"do": "fail"}], [*AT_ONCE, *ASKS]]}
SPARE = {"turns": [[{"do": "say", "text": "spare"}, *SLOW]]}
ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}


class Wanderer:
    """A client that is now in this process, now in that one, or nowhere. `shown` is what it has seen, from anywhere."""

    def __init__(self, name: str, homes: list[House], session: str, rng: Random) -> None:
        self._name = name
        self._homes = homes
        self._session = session
        self._rng = rng
        self._editor = None
        self._read = 0
        self._sent = 0
        self.asked: list[tuple[str, str]] = []
        self.turns: list[Turn] = []
        self.shown: list[tuple[int, str]] = []

    @property
    def seen(self) -> int:
        return self.shown[-1][0] if self.shown else 0

    def listen(self) -> None:
        """Take what has come. A client that is cut off in the middle of it takes the rest the next time."""
        if self._editor is not None:
            heard = numbered(self._editor.heard[self._read :])
            self._read = len(self._editor.heard)
            for number, word in heard:
                assert number > self.seen, f"{self._name}: {number} {word} came behind {self.shown[-1]}"
                self.shown.append((number, word))

    async def leave(self) -> None:
        """Some of what was on its way to it is lost."""
        if self._editor is not None:
            fresh = [one for one in self._editor.heard[self._read :] if one.get("method") in ("session/update", TURN)]
            lost = self._rng.randrange(len(fresh) + 1) if fresh else 0
            for message in fresh[len(fresh) - lost :]:
                self._editor.heard.remove(message)
            self.listen()
            await self._editor.leave()
            self._editor = None

    async def come(self, way: str, home: House | None = None) -> None:
        """Come back by what it has seen; a prompt that does not attend yet is a way, too."""
        await self.leave()
        home = home or self._rng.choice(self._homes)
        self._editor, self._read = await home.editor(NUMBERS, terms=BRIDGE), 0
        self._editor.answers["session/request_permission"] = ALLOW
        if way == "session/prompt" and self._session in home.broker.sessions:
            await self.prompt()
        else:
            way = "session/load" if way == "session/prompt" else way
            where = {"sessionId": self._session, "cwd": str(home.path), "mcpServers": []}
            await self._editor.result(way, **where, **after(self.seen))

    async def prompt(self) -> None:
        """A new one, or the last one again, with its key."""
        if self._editor is None:
            return
        if not self.asked or self._rng.random() < 0.6:
            self._sent += 1
            self.asked.append((f"{self._name}{self._sent}", f"{self._name} asks {self._sent}"))
        key, text = self.asked[-1]
        turn = await self._editor.prompt(self._session, text, **after(self.seen, idempotencyKey=key))
        self.turns.append(turn)


@pytest.mark.parametrize("seed", range(12))
async def test_whoever_comes_and_goes_has_seen_everything_once(tmp_path, seed):
    """All of the past, but for its own prompts, which it knows; every key ran once."""
    rng = Random(seed)
    backends = {"primary": PRIMARY, "spare": SPARE}
    async with house(tmp_path, **backends) as one, house(tmp_path, **backends) as other:
        homes = [one, other]
        session = await (await one.editor(NUMBERS)).new()
        clients = [Wanderer(name, homes, session, rng) for name in "abc"]
        for _ in range(STEPS):
            client = rng.choice(clients)
            match rng.randrange(5):
                case 0:
                    await client.leave()
                case 1:
                    await client.come(rng.choice(WAYS))
                case 2:
                    await client.prompt()
                case 3:
                    client.listen()
                case _:
                    for home in rng.sample(homes, 2):
                        await home.clock.advance(rng.choice((0.001, 0.02, 0.5)))
        for _ in range(400):
            for home in homes:
                await home.clock.advance(0.1)
        async with house(tmp_path, **backends) as last:
            for client in clients:
                await client.come("session/load", last)
                client.listen()
            everything = await past(last, session)

    assert [number for number, _ in everything] == sorted({number for number, _ in everything})
    for client in clients:
        missed = [word for number, word in everything if (number, word) not in client.shown]
        assert set(client.shown) <= set(everything)
        assert set(missed) <= {f"echo {text}" for _, text in client.asked}
    asked = sorted(text for client in clients for _, text in client.asked)
    assert asked == sorted(word.removeprefix("echo ") for _, word in everything if word.startswith("echo"))
    assert len(asked) == sum(word.startswith("ended") for _, word in everything)


async def past(home: House, session: str) -> list[tuple[int, str]]:
    editor = await home.editor(NUMBERS)
    await editor.result("session/load", sessionId=session, cwd=str(home.path), mcpServers=[])
    assert [] == [one for one in editor.of("session/update") if seq(one) is None]
    return numbered(editor.heard)
