"""What somebody may have meant by a name that config.json does not know."""

import json
from collections.abc import Collection, Iterable

# More names than this hide the one that was meant.
_MANY = 8
_LONG = 64
# What other programs call it, in small letters and without underscores, the key that it is here, and how to write it.
_ELSEWHERE = (
    (
        {"apikey", "key", "token", "secret", "profile"},
        "auth",
        'a key is kept in auth.profiles; name it: "auth": "PROFILE"',
    ),
    ({"url", "apibase", "base", "endpoint", "apiurl", "host"}, "baseUrl", 'did you mean "baseUrl"?'),
    ({"connectms", "firstbytems", "reconnectms"}, "queuedPrompts", "it is one of the `limits` of a backend"),
)


def suggest(name: str, known: Iterable[str]) -> str:
    """`did you mean "spare"? known: claude, spare`: what a wrong name could have been."""
    from difflib import get_close_matches  # noqa: PLC0415 - for those alone who made a mistake

    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    meant = f"did you mean {json.dumps(close[0])}?" if close else ""
    return meant if meant and len(names) > _MANY else f"{meant} known: {listed(names)}".lstrip()


def instead(key: str, known: Collection[str]) -> str:
    """What to write in place of a key that an object of these keys does not have."""
    small = key.lower().replace("_", "").replace("-", "")
    for names, belongs_to, text in _ELSEWHERE:
        if small in names and belongs_to in known:
            return text
    text = suggest(key, known)
    is_the_providers = "body" in known and not text.startswith("did you mean")
    return f'{text}; what its provider alone knows goes into "body"' if is_the_providers else text


def quoted(name: str) -> str:
    """A name as an error shows it: on one line, and not the whole of what can hardly be a name."""
    return json.dumps(name if len(name) <= _LONG else f"{name[:_LONG]}...")


def listed(names: Iterable[str]) -> str:
    return ", ".join(name if name.isprintable() else json.dumps(name) for name in sorted(names)) or "none"
