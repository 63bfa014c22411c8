"""Kind `anthropic-vertex`: Claude on Vertex AI, with Google's credentials.

{"kind": "anthropic-vertex", "model": "claude-sonnet-4-5@20250929", "location": "europe-west1", "auth": "google"}
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager

from acp_broker.contract import Backend, Tools
from backends.anthropic import AnthropicConfig
from backends.http.settings import address
from backends.http.vertex import GLOBAL, NEEDS_TOKEN, Location, Project, Vertex
from backends.offering import Offer


class AnthropicVertexConfig(AnthropicConfig, frozen=True, tag="anthropic-vertex", rename="camel", kw_only=True):
    """Claude on Vertex AI, in a `location`; in the project of its profile's credentials, or in another `project`."""

    project: Project | None = None
    location: Location = GLOBAL

    @property
    def place(self) -> Vertex:
        return Vertex(self.project, self.location)

    @property
    def url(self) -> str:
        return address(self.base_url or self.place.origin).removesuffix("/v1")

    @property
    def needs_key(self) -> bool:
        """A gateway may have credentials itself."""
        return self.base_url is None


config = AnthropicVertexConfig


def check(settings: AnthropicVertexConfig, environment: Mapping[str, str]) -> str | None:  # noqa: ARG001 - the kind's shape
    """Whether it names credentials; nobody is called."""
    return f"anthropic-vertex {NEEDS_TOKEN}" if settings.needs_key and settings.auth is None else None


def open(settings: AnthropicVertexConfig, tools: Tools) -> AbstractAsyncContextManager[Backend]:  # noqa: A001 - the contract's name
    """A backend of one session; nobody is called before its first turn. Raises BackendFailure."""
    from backends.anthropic_vertex.backend import opened  # noqa: PLC0415 - with httpx2: for those alone who use it

    return opened(settings, tools)


def offers(environment: Mapping[str, str]) -> Iterable[Offer]:
    """What of it could be written for a machine with this environment."""
    from backends.anthropic_vertex.offered import offered  # noqa: PLC0415 - for `init` alone

    return offered(environment)
