"""A provider that plays the turns of a script, in Chat Completions or another speech: the words of docs/scripted.md
that fit one.

`say`, `think`, `stall`, `die` (a reset), `fail` (status 401), `repeat`, `end` (`max_tokens`, `refusal`), and, for what
only a provider can do, `raw`: bytes of the stream, as they are. `answer` replaces the whole answer.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
import anyio.lowlevel
import msgspec

from tests.support.provider.door import Door
from tests.support.provider.wire import Gone, Request, Wire, chunk, head

Step = Mapping[str, object]
_EVENTS = "text/event-stream"


class Speech(NamedTuple):
    """Pieces of a stream: its beginning, words, thoughts, and its end by ACP's stop reason."""

    beginning: bytes
    say: Callable[[str], bytes]
    think: Callable[[str], bytes]
    end: Callable[[str], bytes]


class ChatPlayer:
    """`requests` are those that came. Each takes the next turn of the script; the last one is played again."""

    def __init__(self, turns: Sequence[Sequence[Step]], speech: Speech) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        # Set by `stall`, and when a client has gone away.
        self.stalled = anyio.Event()
        self.left = anyio.Event()
        self._turns = turns
        self._speech = speech
        self._door = Door()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._door.port}/v1"

    @property
    def messages(self) -> list[list[dict]]:
        """What was said in each request."""
        return [msgspec.json.decode(request.body)["messages"] for request in self.requests]

    async def serve(self) -> None:
        async with anyio.create_task_group() as tasks:
            await self._door.let_in(tasks, self._talk)

    def close(self) -> None:
        self._door.close()

    async def _talk(self, sock: socket.socket) -> None:
        self.connections += 1
        try:
            wire = Wire(sock, self.stalled.set)
            while True:
                self.requests.append(await wire.request())
                await self._play(wire, self._turns[min(len(self.requests), len(self._turns)) - 1])
        except Gone:
            self.left.set()
        finally:
            sock.close()

    async def _play(self, wire: Wire, steps: Sequence[Step]) -> None:
        first = steps[0] if steps else {}
        match first.get("do"):
            case "fail":
                return await self._refuse(wire, str(first["message"]))
            case "answer":
                body = str(first["body"]).encode()
                return await wire.send(
                    head(int(str(first.get("status", 200))), str(first["type"]), len(body), {}) + body
                )
        await wire.send(head(200, _EVENTS, None, {}) + chunk(self._speech.beginning))
        reason = "end_turn"
        for step in steps:
            if step["do"] == "end":
                reason = str(step.get("stopReason"))
            else:
                await self._step(wire, step)
        if first.get("do") != "raw":
            await wire.send(chunk(self._speech.end(reason)))
        return await wire.send(chunk(b""))

    async def _step(self, wire: Wire, step: Step) -> None:
        match step["do"]:
            case "say":
                await wire.send(chunk(self._speech.say(str(step["text"]))))
            case "think":
                await wire.send(chunk(self._speech.think(str(step["text"]))))
            case "raw":
                await wire.send(chunk(str(step["text"]).encode()))
            case "stall":
                await wire.gone()
            case "die":
                await anyio.sleep(0.05)
                wire.reset()
                raise Gone
            case "repeat":
                steps = step["steps"]
                assert isinstance(steps, list)
                while True:
                    for one in steps:
                        await self._step(wire, one)
                    await anyio.lowlevel.checkpoint()
            case other:
                raise AssertionError(f"no server can {other}")

    async def _refuse(self, wire: Wire, message: str) -> None:
        body = msgspec.json.encode({"error": {"message": message, "type": None, "code": None}})
        await wire.send(head(401, "application/json", len(body), {}) + body)


def said(**delta: str) -> bytes:
    """One event of a stream."""
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def ended(reason: str) -> bytes:
    """The end of a stream, and what it has used."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    return _event(end) + _event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"


def _event(data: object) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(data)


CHAT = Speech(
    said(role="assistant", content=""),
    lambda text: said(content=text),
    lambda text: said(reasoning_content=text),
    lambda reason: ended({"max_tokens": "length", "refusal": "content_filter"}.get(reason, "stop")),
)


@asynccontextmanager
async def playing(turns: Sequence[Sequence[Step]], speech: Speech = CHAT) -> AsyncIterator[ChatPlayer]:
    """A server in this process; it ends with the block."""
    player = ChatPlayer(turns, speech)
    # No task group: what fails in the block is raised as it is.
    serving = asyncio.create_task(player.serve())
    try:
        yield player
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        player.close()
