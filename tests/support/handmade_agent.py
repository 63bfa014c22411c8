"""An agent elsewhere that does its worst: WebSocket and ACP by hand, as far as it has to pretend."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

AGENT: Mapping[str, object] = {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}
# What says that it is an ACP Broker.
BROKER: Mapping[str, object] = {
    "protocolVersion": 1,
    "agentCapabilities": {"loadSession": True, "_meta": {"acp-broker": {"seq": True}}},
}
END = {"stopReason": "end_turn"}


class HandmadeAgent:
    """`on_prompt` is what it does with a prompt; `hellos` are its answers to `initialize`, one a connection."""

    def __init__(
        self,
        on_prompt: Callable[["HandmadeAgent", int], Awaitable[None]],
        *hellos: Mapping[str, object],
    ) -> None:
        self.url = ""
        # A method that it never answers, and the error that it answers `session/load` with.
        self.ignores = ""
        self.refusal: Mapping[str, object] | None = None
        # The status that whoever comes next is refused with; or they get no answer at all.
        self.status: int | None = None
        self.is_silent = False
        # How many were not let in.
        self.refused = 0
        # Of each prompt.
        self.keys: list[str | None] = []
        self.methods: list[str] = []
        self.answers: list[dict] = []
        self.connections: list[ServerConnection] = []
        self._on_prompt = on_prompt
        self._hellos = hellos or (AGENT,)

    async def judge(self, connection: ServerConnection, _: Request) -> Response | None:
        if self.status is None and not self.is_silent:
            return None
        self.refused += 1
        if self.is_silent:
            await connection.wait_closed()
        return connection.respond(self.status or 500, "")

    async def serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        hello = self._hellos[min(len(self.connections), len(self._hellos)) - 1]
        try:
            async for message in connection:
                await self._heard(json.loads(message), hello)
        except ConnectionClosed:
            pass

    async def begin(self, key: str | None = None) -> None:
        """With the latest prompt, unless it is another's `key`."""
        told = {"sessionId": "s", "turn": "t", "state": "started", "idempotencyKey": key or self.keys[-1]}
        await self.send(method="_acp-broker/turn", params=told)

    async def say(self, text: str, seq: int | None = None) -> None:
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
        noted = {} if seq is None else {"_meta": {"acp-broker": {"seq": seq}}}
        await self.send(method="session/update", params={"sessionId": "s", "update": update, **noted})

    async def end(self, prompt: int) -> None:
        await self.send(id=prompt, result=END)

    async def send(self, **message: object) -> None:
        await self.connections[-1].send(json.dumps({"jsonrpc": "2.0", **message}))

    def lose(self) -> None:
        self.connections[-1].transport.abort()

    async def _heard(self, message: dict, hello: Mapping[str, object]) -> None:
        method = message.get("method")
        if method is None:
            self.answers.append(message)
            return
        self.methods.append(method)
        if method == "session/prompt":
            self.keys.append(message["params"].get("_meta", {}).get("acp-broker", {}).get("idempotencyKey"))
            await self._on_prompt(self, message["id"])
        elif method == "session/load" and self.refusal is not None:
            await self.send(id=message["id"], error=self.refusal)
        elif "id" in message and method != self.ignores:
            results = {"initialize": hello, "session/new": {"sessionId": "s"}}
            await self.send(id=message["id"], result=results.get(method, {}))


@asynccontextmanager
async def served_by_hand(agent: HandmadeAgent) -> AsyncIterator[HandmadeAgent]:
    ways = {"process_request": agent.judge, "max_size": None, "close_timeout": 1}
    async with serve(agent.serve, "127.0.0.1", 0, **ways) as server:
        agent.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/acp"
        yield agent
