"""A session's history and a prompt as the Gemini API's contents: those of the user and the model take turns."""

from collections.abc import Mapping, Sequence

from msgspec import Raw

from acp_broker.core.history import Exchange
from backends.http.prompts import NOTHING, File, earlier, no_place, parts, unsupported

Part = dict[str, object]
Content = dict[str, object]

# What `inlineData` takes, and the name that it knows it by; text files come as text.
_TYPES: Mapping[str, str] = {
    **{name: name for name in ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")},
    **{name: name for name in ("audio/wav", "audio/mp3", "audio/aiff", "audio/aac", "audio/ogg", "audio/flac")},
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/mpeg": "audio/mp3",
    "application/pdf": "application/pdf",
}


def contents(past: Sequence[Exchange], prompt: Raw) -> list[Content]:
    """The whole conversation. Raises BackendFailure for a prompt with what the API has no place for.

    What of earlier turns has no place is told by its name.
    """
    said: list[Content] = []
    for one in past:
        asked = earlier(one, _parts)
        said.append(_content("user", _words(asked) if isinstance(asked, str) else asked))
        said.append(_content("model", _words(one.answer)))
    if not (prompted := _parts(prompt)):
        raise unsupported("takes no prompt without a word")
    return [*said, _content("user", prompted)]


def _content(role: str, parts: list[Part]) -> Content:
    return {"role": role, "parts": parts or _words(NOTHING)}


def _parts(prompt: Raw) -> list[Part]:
    return [part for one in parts(prompt) for part in (_words(one) if isinstance(one, str) else [_file(one)])]


def _words(text: str) -> list[Part]:
    return [{"text": text}] if text.strip() else []


def _file(file: File) -> Part:
    if file.mime not in _TYPES or not file.data:
        raise no_place(file)
    return {"inlineData": {"mimeType": _TYPES[file.mime], "data": file.data}}
