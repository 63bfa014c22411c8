"""Lists of models, as providers and model servers give them; which name of a list a person may have meant."""

import json
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

# Enough to find one's own in.
_SHOWN = 8


def names(body: bytes) -> tuple[str, ...] | None:
    """The names in a list such as OpenAI's (`data[].id`), Ollama's or Gemini's (`models[].name`); None: it is none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(said, list):  # Together
        return tuple(_named(said, "id")) or None
    for listed, key in (("data", "id"), ("models", "name")):
        match said.get(listed) if isinstance(said, dict) else None:
            case list(models):
                return tuple(_named(models, key))
    return None


def has(listed: Sequence[str], model: str) -> bool:
    """Ollama lists `x:latest` for `x`; OpenRouter takes `x:free` for `x`, and `@preset/x` that it does not list."""
    known = {name.casefold() for name in listed}
    folded = model.casefold()
    return folded.startswith("@") or bool({folded, f"{folded}:latest", folded.rpartition(":")[0]} & known)


def nearest(listed: Sequence[str], model: str) -> str | None:
    """The name that looks most like it, if one does."""
    return next(iter(get_close_matches(model, listed, 1, 0.5)), None)


def shown(listed: Sequence[str], model: str = "") -> str:
    """Some of them, for a sentence: those first that look like a name."""
    like = get_close_matches(model, listed, _SHOWN, 0.3)
    few = list(dict.fromkeys([*like, *listed]))[:_SHOWN]
    left = len(listed) - len(few)
    return ", ".join(few) + (f" and {left} more" if left else "") if few else "no model at all"


def _named(models: list[object], key: str) -> Iterator[str]:
    for model in models:
        match model.get(key) if isinstance(model, dict) else None:
            case str(name):
                yield name.removeprefix("models/")
