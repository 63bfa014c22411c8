"""Kind `anthropic`: the Messages API, at Anthropic and at everybody who speaks it.

{"kind": "anthropic", "model": "claude-sonnet-4-5", "auth": "anthropic"}
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager

from acp_broker.contract import Backend, Tools
from backends.http.settings import HttpConfig, address, needs_key
from backends.offering import Offer

BASE_URL = "https://api.anthropic.com"
# The API wants a limit; every model in service grants as much.
MAX_TOKENS = 16_384


class AnthropicConfig(HttpConfig, frozen=True, tag="anthropic", rename="camel", kw_only=True):
    """An API that speaks Anthropic's Messages: Anthropic's own, or another by its `baseUrl`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise ValueError("write the `model` that is to answer")
        if self.audio:
            raise ValueError("Messages take no `audio`")

    @property
    def url(self) -> str:
        return address(self.base_url or BASE_URL).removesuffix("/v1")

    @property
    def provider(self) -> str | None:
        return "anthropic" if self.url == BASE_URL else super().provider

    @property
    def needs_key(self) -> bool:
        return self.url == BASE_URL


config = AnthropicConfig


def check(settings: AnthropicConfig, environment: Mapping[str, str]) -> str | None:  # noqa: ARG001 - the kind's shape
    """Whether it has the key that Anthropic asks for; nobody is called."""
    if settings.needs_key and settings.auth is None:
        return needs_key("anthropic")
    return None


def open(settings: AnthropicConfig, tools: Tools) -> AbstractAsyncContextManager[Backend]:  # noqa: A001 - the contract's name
    """A backend of one session; nobody is called before its first turn. Raises BackendFailure."""
    from backends.anthropic.backend import opened  # noqa: PLC0415 - with httpx2: for those alone who use it

    return opened(settings, tools)


def offers(environment: Mapping[str, str]) -> Iterable[Offer]:
    """What of it could be written for a machine with this environment."""
    from backends.anthropic.offered import offered  # noqa: PLC0415 - for `init` alone

    return offered(environment)
