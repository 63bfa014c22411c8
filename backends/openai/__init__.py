"""Kind `openai`: Chat Completions or Responses, at OpenAI and at everybody who speaks one of them.

{"kind": "openai", "preset": "openrouter", "model": "qwen/qwen3-coder", "auth": "openrouter"}
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from acp_broker.contract import Backend, Tools
from acp_broker.core.rules import Rule
from backends.http.rows import FailureRow
from backends.http.settings import HttpConfig, address, needs_key
from backends.offering import Offer


class Preset(Struct, frozen=True):
    """A provider or server that is known by name; whose address holds RESOURCE has one for each of its customers."""

    base_url: str
    needs_key: bool = False
    needs_model: bool = True
    # OpenAI's newer models refuse the older name of this limit; others know the older one alone.
    max_tokens_as: str = "max_tokens"
    # In which a key is sent; a token goes into `authorization`.
    key_header: str = "authorization"
    # Mistral refuses a request that asks for the usage, which it tells unasked.
    has_stream_options: bool = True
    # Below `base_url`. OpenRouter tells its whole list to anybody, and this one to those who have a key.
    models_path: str = "models"
    # Whether a model that is not in the list is not there.
    lists_all: bool = False
    # How its server is started on this machine.
    start: str = ""
    # How it alone words its failures.
    failures: tuple[FailureRow, ...] = ()


PRESETS: Mapping[str, Preset] = {
    "openai": Preset(
        "https://api.openai.com/v1", needs_key=True, max_tokens_as="max_completion_tokens", lists_all=True
    ),
    "openrouter": Preset("https://openrouter.ai/api/v1", needs_key=True, models_path="models/user"),
    # Its newer API, without an `api-version`. Its list is of models, not of one's deployments.
    "azure": Preset(
        "https://RESOURCE.openai.azure.com/openai/v1",
        needs_key=True,
        max_tokens_as="max_completion_tokens",
        key_header="api-key",
    ),
    "deepseek": Preset("https://api.deepseek.com", needs_key=True, lists_all=True),
    "fireworks": Preset("https://api.fireworks.ai/inference/v1", needs_key=True),
    "groq": Preset(
        "https://api.groq.com/openai/v1", needs_key=True, max_tokens_as="max_completion_tokens", lists_all=True
    ),
    "mistral": Preset("https://api.mistral.ai/v1", needs_key=True, has_stream_options=False),
    "together": Preset("https://api.together.xyz/v1", needs_key=True),
    "xai": Preset("https://api.x.ai/v1", needs_key=True, max_tokens_as="max_completion_tokens"),
    "ollama": Preset("http://127.0.0.1:11434/v1", lists_all=True, start="`ollama serve`"),
    "lmstudio": Preset(
        "http://127.0.0.1:1234/v1",
        lists_all=True,
        start="`lms server start`",
        # It answers with 400 where it has lost a model.
        failures=(
            FailureRow(kind="overloaded", text="model (?:is |was |has )?unloaded"),
            FailureRow(kind="server_error", text="model has crashed|failed to load model|error loading model"),
        ),
    ),
    "vllm": Preset("http://127.0.0.1:8000/v1", lists_all=True, start="`vllm serve MODEL`"),
    "llamacpp": Preset("http://127.0.0.1:8080/v1", needs_model=False, start="`llama-server -m FILE`"),
}
PresetName = Literal[
    "openai",
    "openrouter",
    "azure",
    "deepseek",
    "fireworks",
    "groq",
    "mistral",
    "together",
    "xai",
    "ollama",
    "lmstudio",
    "vllm",
    "llamacpp",
]


class OpenAIConfig(HttpConfig, frozen=True, tag="openai", rename="camel", kw_only=True):
    """An API that speaks OpenAI's Chat Completions or (`api`) Responses: a `preset`, or any other by its `baseUrl`.

    `thoughts` asks Responses for summaries of the model's thinking; Chat Completions has no word for it.
    """

    preset: PresetName | None = None
    api: Literal["chat", "responses"] = "chat"
    thoughts: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset is None and self.base_url is None:
            raise ValueError(f"write a `preset` ({', '.join(PRESETS)}), or the `baseUrl` of another server")
        if self.base_url is None and "RESOURCE" in self.known.base_url:
            raise ValueError(f"write the `baseUrl` of your own resource, as in {self.known.base_url}")
        if address(self.base_url or "").endswith(".azure.com"):
            raise ValueError(f"`baseUrl`: its path is missing, as in {PRESETS['azure'].base_url}")
        if self.model is None and self.known.needs_model:
            raise ValueError("write the `model` that is to answer")
        if self.thoughts and self.api == "chat":
            raise ValueError('only Responses can be asked for `thoughts`: write "api": "responses", too')
        if self.audio and self.api == "responses":
            raise ValueError("Responses take no `audio`")

    @property
    def known(self) -> Preset:
        return PRESETS[self.preset] if self.preset is not None else Preset(self.base_url or "")

    @property
    def provider(self) -> str | None:
        host = urlsplit(self.url).netloc
        named = (name for name, preset in PRESETS.items() if urlsplit(preset.base_url).netloc == host)
        return super().provider if self.is_own else next(named, super().provider)

    @property
    def url(self) -> str:
        return address(self.base_url or self.known.base_url)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """One's own before those of the preset."""
        return (*super().rules, *(row.rule for row in self.known.failures))

    @property
    def asks(self) -> HttpConfig:
        return replace(super().asks, preset=None, thoughts=False)


config = OpenAIConfig


def check(settings: OpenAIConfig, environment: Mapping[str, str]) -> str | None:  # noqa: ARG001 - the kind's shape
    """Whether it has the key that its provider asks for; nobody is called."""
    if settings.known.needs_key and settings.auth is None:
        return needs_key(settings.preset or "")
    return None


def open(settings: OpenAIConfig, tools: Tools) -> AbstractAsyncContextManager[Backend]:  # noqa: A001 - the contract's name
    """A backend of one session; nobody is called before its first turn. Raises BackendFailure."""
    from backends.openai.backend import opened  # noqa: PLC0415 - with httpx2: for those alone who use it

    return opened(settings, tools)


def offers(environment: Mapping[str, str]) -> Iterable[Offer]:
    """What of it could be written for a machine with this environment."""
    from backends.openai.offered import offered  # noqa: PLC0415 - for `init` alone

    return offered(environment)
