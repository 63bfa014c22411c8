"""What a kind may offer `acp-broker init`: backends that could be written for a machine, told by its environment.

A kind's module may have `offers(environment) -> Iterable[Offer]`, which calls nobody and starts nothing.
"""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

# What no model that talks has in its name.
_NO_TALK = re.compile(
    r"embed|rerank|whisper|\btts\b|moderation|dall-e|image|imagen|veo|sora|audio|realtime|transcribe|\bbge\b|minilm|\be5\b"
    r"|babbage|davinci|clip\b|guard|ocr|speech"
)


class Offer(Struct, frozen=True):
    """One backend: `entry` is what stands in config.json, but for `model` and `auth`.

    `variable` holds its key; None with a `profile`, which is how that stands in config.json. `model` is a name
    that is known to be good, `likes` are patterns of good names, the best first.
    """

    id: str
    title: str
    entry: Mapping[str, object]
    variable: str | None = None
    profile: Mapping[str, object] | None = None
    model: str | None = None
    likes: tuple[str, ...] = ()
    # Of an agent with its own login: the known agent whose login, modes and provider it has, and what starts it.
    like: str = ""
    command: tuple[str, ...] = ()


def first_set(environment: Mapping[str, str], *names: str) -> str | None:
    """The first of these variables that holds something."""
    return next((name for name in names if environment.get(name)), None)


def talking(models: Sequence[str]) -> tuple[str, ...]:
    """Those that talk, as far as their names tell."""
    return tuple(name for name in models if not _NO_TALK.search(name.casefold()))


def chosen(models: Sequence[str], model: str | None, likes: Sequence[str] = ()) -> str | None:
    """Of the models that there are, the one that is known to be good, else one of such a name, else the first."""
    if model in models:
        return model
    able = talking(models)
    liked = (name for pattern in likes for name in able if re.fullmatch(pattern, name))
    return next(liked, next(iter(able), None))
