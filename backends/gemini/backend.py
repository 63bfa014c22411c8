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
from backends.http.counting import WORD, Counting
from backends.http.looking import Listing
from backends.http.session import Api, Body, Talk, headers, key, talking
from backends.http.vertex import Vertex, projectless, quota


@asynccontextmanager
async def opened(settings: GeminiConfig, tools: Tools) -> AsyncIterator[Talk]:
    """Raises BackendFailure."""
    tools.reached("starting")
    asked_as = _headers(settings, tools)
    api = Api(
        "gemini",
        f"{settings.model} at {settings.base_url or 'Google'}",
        _url(settings, tools),
        asked_as,
        partial(_body, settings),
        GeminiDecoder,
        _listing(settings) if settings.vertex is None else _counting(settings, settings.vertex, tools),
    )
    async with talking(settings, tools, api) as talk:
        yield talk


def _url(settings: GeminiConfig, tools: Tools) -> str:
    """On Vertex a model is `publishers/google/models/NAME`, or `endpoints/ID`."""
    place = settings.vertex
    path = f"/v1beta/{_path(settings)}" if place is None else _there(settings, place, tools)
    return f"{settings.url}{path}:streamGenerateContent?alt=sse"


def _there(settings: GeminiConfig, place: Vertex, tools: Tools) -> str:
    model = settings.model or ""
    return place.path(_project(place, tools), model if "/" in model else f"publishers/google/models/{model}")


def _path(settings: GeminiConfig) -> str:
    """A model is `models/NAME`, a tuned one `tunedModels/NAME`."""
    model = quote(settings.model or "")
    return model if "/" in model else f"models/{model}"


def _listing(settings: GeminiConfig) -> Listing:
    return Listing(f"{settings.url}/v1beta/models?pageSize=1000", f"{settings.url}/v1beta/{_path(settings)}")


def _counting(settings: GeminiConfig, place: Vertex, tools: Tools) -> Counting:
    url = f"{settings.url}{_there(settings, place, tools)}:countTokens"
    body = {"contents": [{"role": "user", "parts": [{"text": WORD}]}]}
    return Counting(url, body, settings.model or "", place.location, _project(place, tools))


def _project(place: Vertex, tools: Tools) -> str | None:
    """None with an API key, unless config names one: the key is of a project."""
    has_key = bool(tools.credential) and not tools.is_token
    project = place.project if has_key else place.project_for(tools)
    if project is None and not has_key and tools.setup is not None:
        raise projectless()
    return project


def _headers(settings: GeminiConfig, tools: Tools) -> Mapping[str, str]:
    found = key(tools, "gemini" if settings.needs_key else None)
    shared = headers(settings) | quota(tools)
    if found is None:
        return shared
    return shared | ({"authorization": f"Bearer {found}"} if tools.is_token else {"x-goog-api-key": found})


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
