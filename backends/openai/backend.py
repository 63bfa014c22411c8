"""One session at an API that speaks Chat Completions or Responses."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

from msgspec import Raw

from acp_broker.contract import Tools
from acp_broker.core.history import Exchange
from backends.http.looking import Listing
from backends.http.session import Api, Body, Talk, headers, key, talking
from backends.openai import OpenAIConfig
from backends.openai.chat import ChatDecoder
from backends.openai.items import items
from backends.openai.messages import messages
from backends.openai.responses import ResponseDecoder


@asynccontextmanager
async def opened(settings: OpenAIConfig, tools: Tools) -> AsyncIterator[Talk]:
    """Raises BackendFailure."""
    tools.reached("starting")
    is_chat = settings.api == "chat"
    api = Api(
        settings.preset or "openai",
        f"{settings.model or 'its model'} at {settings.preset or settings.url}",
        f"{settings.url}/chat/completions" if is_chat else f"{settings.url}/responses",
        _headers(settings, tools),
        partial(_chat if is_chat else _response, settings),
        ChatDecoder if is_chat else ResponseDecoder,
        _listing(settings),
    )
    async with talking(settings, tools, api) as talk:
        yield talk


def _listing(settings: OpenAIConfig) -> Listing:
    known, url = settings.known, settings.url
    meant = None if urlsplit(url).path else (f"{url}/v1", f"{url}/v1/{known.models_path}")
    return Listing(f"{url}/{known.models_path}", None, known.lists_all, known.start, meant)


def _headers(settings: OpenAIConfig, tools: Tools) -> Mapping[str, str]:
    found = key(tools, settings.preset if settings.known.needs_key else None)
    if found is None:
        return headers(settings)
    name = settings.known.key_header
    is_bearer = tools.is_token or name == "authorization"
    return headers(settings) | ({"authorization": f"Bearer {found}"} if is_bearer else {name: found})


def _chat(settings: OpenAIConfig, past: Sequence[Exchange], prompt: Raw) -> Body:
    said = messages(settings.system, past, prompt)
    body: Body = {"messages": said, "stream": True}
    if settings.known.has_stream_options:
        body["stream_options"] = {"include_usage": True}
    if settings.model is not None:
        body["model"] = settings.model
    if settings.max_tokens is not None:
        body[settings.known.max_tokens_as] = settings.max_tokens
    return body


def _response(settings: OpenAIConfig, past: Sequence[Exchange], prompt: Raw) -> Body:
    """Nothing of it is kept by the provider: the conversation is the session's."""
    body: Body = {"input": items(past, prompt), "stream": True, "store": False}
    if settings.model is not None:
        body["model"] = settings.model
    if settings.system is not None:
        body["instructions"] = settings.system
    if settings.max_tokens is not None:
        body["max_output_tokens"] = settings.max_tokens
    if settings.thoughts:
        body["reasoning"] = {"summary": "auto"}
    return body
