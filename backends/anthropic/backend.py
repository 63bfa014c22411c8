"""One session at an API that speaks Messages."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

from msgspec import Raw

from acp_broker.contract import Tools
from acp_broker.core.history import Exchange
from backends.anthropic import MAX_TOKENS, AnthropicConfig
from backends.anthropic.messages import messages
from backends.anthropic.stream import MessageDecoder
from backends.http.looking import Listing
from backends.http.session import Api, Body, Talk, headers, key, talking
from backends.http.settings import HttpConfig

_VERSION = "2023-06-01"


@asynccontextmanager
async def opened(settings: AnthropicConfig, tools: Tools) -> AsyncIterator[Talk]:
    """Raises BackendFailure."""
    tools.reached("starting")
    api = Api(
        "anthropic",
        f"{settings.model} at {settings.url}",
        f"{settings.url}/v1/messages",
        _headers(settings, tools),
        partial(body, settings, {"model": settings.model}),
        MessageDecoder,
        Listing(f"{settings.url}/v1/models?limit=1000", f"{settings.url}/v1/models/{quote(settings.model or '')}"),
    )
    async with talking(settings, tools, api) as talk:
        yield talk


def _headers(settings: AnthropicConfig, tools: Tools) -> Mapping[str, str]:
    found = key(tools, "anthropic" if settings.needs_key else None)
    shared = {"anthropic-version": _VERSION, **headers(settings)}
    if found is None:
        return shared
    return shared | ({"authorization": f"Bearer {found}"} if tools.is_token else {"x-api-key": found})


def body(settings: HttpConfig, own: Body, past: Sequence[Exchange], prompt: Raw) -> Body:
    """A request; `own` is what only who is asked here takes. Raises BackendFailure."""
    said: Body = {
        **own,
        "max_tokens": settings.max_tokens or MAX_TOKENS,
        "messages": messages(past, prompt),
        "stream": True,
    }
    if settings.system is not None:
        said["system"] = settings.system
    return said
