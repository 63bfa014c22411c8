"""The provider kinds, each with a server that speaks its API: what a turn asks there, what it shows, how it ends."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import NamedTuple

import msgspec
import pytest

from acp_broker.contract import Backend, Finished, TurnRequest
from acp_broker.core.failures import Failure
from acp_broker.errors import BackendFailure
from backends import anthropic, anthropic_vertex, gemini, openai
from tests.support import chat_player
from tests.support.chat_player import ChatPlayer, Speech, Step, playing
from tests.support.client import FakeClient, FakeTools, setup, turn
from tests.support.gemini_speech import GEMINI as GEMINI_SPEECH
from tests.support.messages_speech import MESSAGES as MESSAGES_SPEECH
from tests.support.provider.wire import Request
from tests.support.responses_speech import RESPONSES as RESPONSES_SPEECH

# What a provider says when it does not matter what it says.
WORDS = {"do": "say", "text": "a duck"}
KEY = "key-0123456789"


class Api(NamedTuple):
    """A kind, how its server speaks, and what its entry in config.json says besides kind and model."""

    kind: ModuleType
    speech: Speech
    entry: Mapping[str, object] = {}

    def config(self, **members: object):
        tag = self.kind.config.__struct_config__.tag
        return msgspec.convert({"kind": tag, "model": "m", **self.entry, **members}, self.kind.config)

    def open(self, tools: FakeTools, **members: object) -> AbstractAsyncContextManager[Backend]:
        return self.kind.open(self.config(**members), tools)

    @asynccontextmanager
    async def played(
        self, turns: Sequence[Sequence[Step]], tools: FakeTools, **members: object
    ) -> AsyncIterator[tuple[Backend, ChatPlayer]]:
        """A backend, and its server, which answers with these turns."""
        async with playing(turns, self.speech) as server, self.open(tools, baseUrl=server.url, **members) as backend:
            yield backend, server

    async def run(
        self, tools: FakeTools, client: FakeClient, *steps: Step, order: TurnRequest | None = None, **members: object
    ) -> tuple[Finished, Request]:
        """How a turn that is answered so ended, and the one request that it was."""
        async with self.played([steps], tools, **members) as (backend, server):
            finished = await backend.run(order or turn(), client)
        (request,) = server.requests
        return finished, request

    async def failure(
        self, tools: FakeTools, client: FakeClient, *steps: Step, order: TurnRequest | None = None, **members: object
    ) -> Failure:
        """How a turn failed that is answered so."""
        with pytest.raises(BackendFailure) as raised:
            await self.run(tools, client, *steps, order=order, **members)
        return raised.value.failure

    async def refusal(self, tools: FakeTools, **members: object) -> Failure:
        """How opening one fails."""
        with pytest.raises(BackendFailure) as raised:
            async with self.open(tools, **members):
                pass
        return raised.value.failure

    async def sent(
        self, tools: FakeTools, client: FakeClient, order: TurnRequest | None = None, **members: object
    ) -> dict:
        """What a turn asked."""
        _, request = await self.run(tools, client, WORDS, order=order, **members)
        return msgspec.json.decode(request.body)


CHAT = Api(openai, chat_player.CHAT)
RESPONSES = Api(openai, RESPONSES_SPEECH, {"api": "responses"})
MESSAGES = Api(anthropic, MESSAGES_SPEECH)
GEMINI = Api(gemini, GEMINI_SPEECH)
CLAUDE_ON_VERTEX = Api(anthropic_vertex, MESSAGES_SPEECH, {"model": "claude-x@20250929"})
GEMINI_ON_VERTEX = Api(gemini, GEMINI_SPEECH, {"model": "gemini-x", "vertex": {}})

BY_KIND = {"openai": CHAT, "anthropic": MESSAGES, "gemini": GEMINI}


def given(**members: object) -> FakeTools:
    """What such a kind is given: no variables, and a folder that it never looks into."""
    return FakeTools(**{"setup": setup("/"), "environment": {}, **members})


def stream(*parts: bytes) -> Step:
    """An answer of these bytes, in one piece."""
    return {"do": "raw", "text": b"".join(parts).decode()}


def whole(answer: object) -> Step:
    """An answer that is no stream."""
    return {"do": "answer", "type": "application/json", "body": msgspec.json.encode(answer).decode()}
