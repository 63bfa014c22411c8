"""One session at the Gemini API."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

from msgspec import Raw

from acp_broker.contract import Tools
from acp_broker.core.history import Exchange
from backends.gemini import GeminiConfig
from backends.gemini.contents import contents
from backends.gemini.stream import GeminiDecoder
from backends.http.session import Api, Body, Talk, headers, key, talking


@asynccontextmanager
async def opened(settings: GeminiConfig, tools: Tools) -> AsyncIterator[Talk]:
    """Raises BackendFailure."""
    tools.reached("starting")
    api = Api(
        "gemini",
        f"{settings.model} at {settings.base_url or 'Google'}",
        _url(settings),
        _headers(settings, tools),
        partial(_body, settings),
        GeminiDecoder,
    )
    async with talking(settings, tools, api) as talk:
        yield talk


def _url(settings: GeminiConfig) -> str:
    """A model is `models/NAME`, a tuned one `tunedModels/NAME`."""
    model = quote(settings.model or "")
    path = model if "/" in model else f"models/{model}"
    return f"{settings.url}/v1beta/{path}:streamGenerateContent?alt=sse"


def _headers(settings: GeminiConfig, tools: Tools) -> Mapping[str, str]:
    found = key(tools, "gemini" if settings.needs_key else None)
    if found is None:
        return headers(settings)
    return headers(settings) | ({"authorization": f"Bearer {found}"} if tools.is_token else {"x-goog-api-key": found})


def _body(settings: GeminiConfig, past: Sequence[Exchange], prompt: Raw) -> Body:
    body: Body = {"contents": contents(past, prompt)}
    if settings.system is not None:
        body["systemInstruction"] = {"parts": [{"text": settings.system}]}
    generation: dict[str, object] = {}
    if settings.max_tokens is not None:
        generation["maxOutputTokens"] = settings.max_tokens
    if settings.thoughts:
        generation["thinkingConfig"] = {"includeThoughts": True}
    if generation:
        body["generationConfig"] = generation
    return body
