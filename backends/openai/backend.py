"""One session at an API that speaks Chat Completions."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
from anyio import sleep_forever
from msgspec import Raw

from acp_broker import __version__
from acp_broker.contract import Client as Frontend
from acp_broker.contract import Finished, Tools, TurnRequest
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import METHOD_NOT_FOUND, BackendFailure, RpcError
from backends.http.client import Client, connected
from backends.http.introducing import about
from backends.http.turn import Order, Usage, converse
from backends.openai import OpenAIConfig
from backends.openai.chat import ChatDecoder
from backends.openai.messages import messages

_DONE = Raw(b"{}")


@asynccontextmanager
async def opened(settings: OpenAIConfig, tools: Tools) -> AsyncIterator["OpenAI"]:
    """Raises BackendFailure."""
    tools.reached("starting")
    headers = _headers(settings, tools)
    async with connected(settings.url, tools.environment, settings.connect_s) as client:
        if tools.setup is not None:
            tools.reached("opening")
        yield OpenAI(settings, tools, client, headers)


class OpenAI:
    """contract.Backend. It has no process that could die, and no memory but the session's log."""

    def __init__(self, settings: OpenAIConfig, tools: Tools, client: Client, headers: Mapping[str, str]) -> None:
        self.about = about(settings, settings.preset or "openai", _title(settings), tools.setup)
        self._settings = settings
        self._clock = tools.clock
        self._client = client
        self._headers = headers
        self._cost = 0.0

    async def run(self, turn: TurnRequest, client: Frontend) -> Finished:
        if turn.cancel_asked.is_set():
            return Finished("cancelled")
        settings = self._settings
        past = await turn.past(settings.history_bytes)
        order = Order(
            f"{settings.url}/chat/completions",
            self._headers,
            _body(settings, messages(settings.system, past, turn.prompt)),
            settings.first_byte_s,
            settings.context_window,
        )
        return await converse(order, ChatDecoder(), turn, client, self._client, self._clock, self._spent)

    async def call(self, method: str, params: dict[str, Raw]) -> Raw:  # noqa: ARG002 - the contract's shape
        if method == "session/set_mode":
            # It does nothing but talk: it stays within the boundary of any mode.
            return _DONE
        raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")

    def tell(self, method: str, params: dict[str, Raw]) -> None:
        """There is nobody to tell."""

    async def gone(self) -> str:
        await sleep_forever()
        raise AssertionError("unreachable")

    def _spent(self, usage: Usage) -> float:
        self._cost += usage.cost or 0.0
        return self._cost


def _title(settings: OpenAIConfig) -> str:
    model, where = settings.model or "its model", settings.preset or settings.url
    return f"{model} at {where}"


def _headers(settings: OpenAIConfig, tools: Tools) -> Mapping[str, str]:
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream, application/json",
        # Tokens would wait in a compressor's window.
        "accept-encoding": "identity",
        "user-agent": f"acp-broker/{__version__}",
        **settings.headers,
    }
    key = (tools.credential or "").strip()
    if not key:
        if settings.known.needs_key and tools.setup is not None:
            text = f"{settings.preset} needs a key: name a profile that holds one under `auth`"
            raise BackendFailure(Failure(FailureKind.AUTH_MISSING, text, seen_at="starting"))
        return headers
    if not (key.isascii() and key.isprintable()):
        text = "its key holds characters that no key has: a line break, or part of something else"
        raise BackendFailure(Failure(FailureKind.AUTH_MISSING, text, seen_at="starting"))
    return {**headers, "authorization": f"Bearer {key}"}


def _body(settings: OpenAIConfig, said: list[dict[str, object]]) -> bytes:
    body: dict[str, object] = {"messages": said, "stream": True, "stream_options": {"include_usage": True}}
    if settings.model is not None:
        body["model"] = settings.model
    if settings.max_tokens is not None:
        body[settings.known.max_tokens_as] = settings.max_tokens
    return msgspec.json.encode(body)
