"""Kind `gemini`: Google's models by the Gemini API, with an API key, or on Vertex AI, with Google's credentials.

{"kind": "gemini", "model": "gemini-2.5-flash", "auth": "gemini"}
{"kind": "gemini", "model": "gemini-2.5-flash", "auth": "google", "vertex": {"location": "europe-west1"}}
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager

from acp_broker.contract import Backend, Tools
from backends.http.settings import HttpConfig, address, needs_key
from backends.http.vertex import NEEDS_TOKEN, Vertex
from backends.offering import Offer

BASE_URL = "https://generativelanguage.googleapis.com"


class GeminiConfig(HttpConfig, frozen=True, tag="gemini", rename="camel", kw_only=True):
    """The Gemini API, or what speaks it at another `baseUrl`. `thoughts` asks for summaries of the model's thinking:
    a model that does not think refuses a request that does. With `vertex` the model is asked there."""

    audio: bool = True
    thoughts: bool = False
    vertex: Vertex | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise ValueError("write the `model` that is to answer")

    @property
    def url(self) -> str:
        base = self.base_url or (BASE_URL if self.vertex is None else self.vertex.origin)
        return address(base).removesuffix("/v1beta").removesuffix("/v1")

    @property
    def provider(self) -> str | None:
        return "google" if self.url == BASE_URL else super().provider

    @property
    def needs_key(self) -> bool:
        """A gateway may have the key itself."""
        return self.base_url is None or self.url == BASE_URL


config = GeminiConfig


def check(settings: GeminiConfig, environment: Mapping[str, str]) -> str | None:  # noqa: ARG001 - the kind's shape
    """Whether it names a key; nobody is called."""
    if not settings.needs_key or settings.auth is not None:
        return None
    return needs_key("gemini") if settings.vertex is None else f"gemini on Vertex AI {NEEDS_TOKEN}"


def open(settings: GeminiConfig, tools: Tools) -> AbstractAsyncContextManager[Backend]:  # noqa: A001 - the contract's name
    """A backend of one session; nobody is called before its first turn. Raises BackendFailure."""
    from backends.gemini.backend import opened  # noqa: PLC0415 - with httpx2: for those alone who use it

    return opened(settings, tools)


def offers(environment: Mapping[str, str]) -> Iterable[Offer]:
    """What of it could be written for a machine with this environment."""
    from backends.gemini.offered import offered  # noqa: PLC0415 - for `init` alone

    return offered(environment)
