"""A frontend of a broker in the test whose backends are real: its turns take as long as they take.

turn = await prompted(home, await listening(home), session, "hello")
"""

import anyio

from tests.support.client import DEADLINE_S
from tests.support.clock import settled
from tests.support.harness import Editor, House, Turn


class Listening(Editor):
    """An editor that can be waited for."""

    def __init__(self, home: House) -> None:
        self._news = anyio.Event()
        super().__init__(home)

    def on_lines(self, lines: list[bytes]) -> None:
        super().on_lines(lines)
        self._news.set()
        self._news = anyio.Event()

    async def call(self, method: str, **params: object) -> dict:
        request = self.request(method, **params)
        await settled()
        with anyio.fail_after(DEADLINE_S):
            while not self.replies(request):
                await self._news.wait()
        return self.reply(request)

    async def until_answered(self, turn: Turn) -> Turn:
        with anyio.fail_after(DEADLINE_S):
            while not turn.is_answered:
                await self._news.wait()
        return turn

    async def until_shown(self, turn: Turn) -> Turn:
        """Wait for its first words."""
        with anyio.fail_after(DEADLINE_S):
            while not turn.words:
                await self._news.wait()
        return turn

    async def prompted(self, session: str, text: str = "hello", **members: object) -> Turn:
        """A prompt and all that it brings."""
        return await self.until_answered(self.start(session, text, **members))


async def listening(home: House) -> Listening:
    editor = Listening(home)
    await home.connected(editor)
    await editor.initialize()
    return editor
