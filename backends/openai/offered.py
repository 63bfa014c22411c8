"""Providers that speak Chat Completions, with a key of this machine's environment."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from backends.offering import Offer, first_set
from backends.openai import PRESETS, Preset

_TITLES = {"openai": "OpenAI", "openrouter": "OpenRouter", "deepseek": "DeepSeek", "xai": "xAI", "azure": "Azure"}
# Names that are known to be good where a provider does not tell its own.
_MODELS = {
    "openai": "gpt-5-mini",
    "openrouter": "openrouter/auto",
    "deepseek": "deepseek-chat",
    "mistral": "mistral-large-latest",
}
_LIKES = {
    "openai": (r"gpt-[\d.]+-mini", r"gpt-[\d.]+", r"gpt-.*"),
    "xai": (r"grok-\d+", r"grok-.*"),
    "groq": (r".*gpt-oss-120b", r".*llama.*70b.*"),
    "mistral": (r"mistral-large-.*", r"mistral-medium-.*"),
}
_BASES = {"openai": "OPENAI_BASE_URL"}
# Azure's resource, and what its model is called there.
_ENDPOINT, _DEPLOYMENT = "AZURE_OPENAI_ENDPOINT", ("AZURE_OPENAI_DEPLOYMENT", "AZURE_OPENAI_DEPLOYMENT_NAME")


def offered(environment: Mapping[str, str]) -> Iterator[Offer]:
    """Each preset of a provider, with the variable that is called as it is."""
    for name, preset in PRESETS.items():
        if preset.needs_key and name != "azure":
            yield _offer(name, environment)
    yield from _azure(PRESETS.get("azure"), environment)


def _offer(name: str, environment: Mapping[str, str]) -> Offer:
    variable = first_set(environment, f"{name.upper()}_API_KEY")
    base = environment.get(_BASES.get(name, ""))
    entry = {"kind": "openai", "preset": name, **({"baseUrl": base} if base else {})}
    likes = _LIKES.get(name, ())
    return Offer(name, _TITLES.get(name, name.capitalize()), entry, variable, model=_MODELS.get(name), likes=likes)


def _azure(preset: Preset | None, environment: Mapping[str, str]) -> Iterator[Offer]:
    """Its models are called as their owner has called them: only a variable tells."""
    host = urlsplit(environment.get(_ENDPOINT, "")).netloc
    deployment = first_set(environment, *_DEPLOYMENT)
    if preset is None or not host or deployment is None:
        return
    entry = {"kind": "openai", "preset": "azure", "baseUrl": f"https://{host}/openai/v1"}
    variable = first_set(environment, "AZURE_OPENAI_API_KEY")
    yield Offer("azure", _TITLES["azure"], entry, variable, model=environment[deployment])
