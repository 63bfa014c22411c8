"""A backend that plays whatever a test hands it next: updates, one per read, and an end."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from anyio import sleep_forever
from msgspec import Raw

from acp_broker.contract import About, Client, Finished, Tools, TurnRequest
from acp_broker.core.habits import UNKNOWN, Habits
from acp_broker.wire.acp import Update


class Player:
    """Give `player.open` to `house`. `plays` are the updates of the next turn, `end` is how it ends."""

    def __init__(self, habits: Habits = UNKNOWN) -> None:
        self.about = About(habits=habits)
        self.plays: Sequence[Update] = ()
        self.end = Finished("end_turn")

    @asynccontextmanager
    async def open(self, tools: Tools) -> AsyncIterator["Player"]:
        yield self

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        client.reached("submitted")
        for update in self.plays:
            client.show([update])
        return self.end

    async def call(self, method: str, params: object) -> Raw:
        raise AssertionError(f"nobody asks it for {method} {params}")

    def tell(self, method: str, params: object) -> None:
        """It hears nothing."""

    async def gone(self) -> str:
        await sleep_forever()
        return ""
