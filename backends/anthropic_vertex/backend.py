"""One session with Claude on Vertex AI: Messages, but for the model, which is in the address."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from acp_broker.contract import Tools
from backends.anthropic.backend import body
from backends.anthropic.stream import MessageDecoder
from backends.anthropic_vertex import AnthropicVertexConfig
from backends.http.counting import WORD, Counting
from backends.http.session import Api, Body, Talk, headers, key, keyless, talking
from backends.http.vertex import NEEDS_TOKEN, projectless, quota

# The version of Messages that body and decoder are written for, and that Anthropic's client sends here up to 1.17; from
# 2.0 on it sends "2026-10-21", with the same stream. The model is no part of the body.
_OWN: Body = {"anthropic_version": "vertex-2023-10-16"}


@asynccontextmanager
async def opened(settings: AnthropicVertexConfig, tools: Tools) -> AsyncIterator[Talk]:
    """Raises BackendFailure."""
    tools.reached("starting")
    asked_as = _headers(settings, tools)
    api = Api(
        "anthropic-vertex",
        f"{settings.model} at {settings.base_url or 'Vertex AI'}",
        _url(settings, tools),
        asked_as,
        partial(body, settings, _OWN),
        MessageDecoder,
        _counting(settings, tools),
    )
    async with talking(settings, tools, api) as talk:
        yield talk


def _url(settings: AnthropicVertexConfig, tools: Tools) -> str:
    project = settings.place.project_for(tools)
    if project is None and tools.setup is not None:
        raise projectless()
    return f"{_there(settings, project, settings.model or '')}:streamRawPredict"


def _there(settings: AnthropicVertexConfig, project: str | None, model: str) -> str:
    return f"{settings.url}{settings.place.path(project, f'publishers/anthropic/models/{model}')}"


def _counting(settings: AnthropicVertexConfig, tools: Tools) -> Counting:
    """As Anthropic's client counts: at an address for all models, with the model in the body."""
    project, model = settings.place.project_for(tools), settings.model or ""
    said = {"model": model, "messages": [{"role": "user", "content": WORD}]}
    body = {**_OWN, **{name: settings.body[name] for name in _OWN if name in settings.body}, **said}
    return Counting(f"{_there(settings, project, 'count-tokens')}:rawPredict", body, model, settings.location, project)


def _headers(settings: AnthropicVertexConfig, tools: Tools) -> Mapping[str, str]:
    found = key(tools, None)
    # Vertex takes API keys for models of Google's alone.
    if settings.needs_key and tools.setup is not None and not (found and tools.is_token):
        raise keyless(f"anthropic-vertex {NEEDS_TOKEN}")
    return headers(settings) | quota(tools) | ({} if found is None else {"authorization": f"Bearer {found}"})
