"""A session's history and a prompt as Messages: user and assistant take turns, and neither says nothing."""

from collections.abc import Sequence

from msgspec import Raw

from acp_broker.core.history import Exchange
from backends.http.prompts import NOTHING, File, earlier, no_place, parts, unsupported

Part = dict[str, object]
Message = dict[str, object]

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"


def messages(past: Sequence[Exchange], prompt: Raw) -> list[Message]:
    """The whole conversation. Raises BackendFailure for a prompt with what the API has no place for.

    What of earlier turns has no place is told by its name.
    """
    said: list[Message] = []
    for one in past:
        asked = earlier(one, _content)
        said.append(_message("user", _words(asked) if isinstance(asked, str) else asked))
        said.append(_message("assistant", _words(one.answer)))
    if not (content := _content(prompt)):
        raise unsupported("takes no prompt without a word")
    said.append(_message("user", content))
    return said


def _message(role: str, content: list[Part]) -> Message:
    return {"role": role, "content": content or _words(NOTHING)}


def _content(prompt: Raw) -> list[Part]:
    return [part for one in parts(prompt) for part in (_words(one) if isinstance(one, str) else [_file(one)])]


def _words(text: str) -> list[Part]:
    return [{"type": "text", "text": text}] if text.strip() else []


def _file(file: File) -> Part:
    what = "image" if file.mime in _IMAGES else "document" if file.mime == _PDF else None
    if what is None:
        raise no_place(file)
    if file.data:
        return {"type": what, "source": {"type": "base64", "media_type": file.mime, "data": file.data}}
    if file.link:
        return {"type": what, "source": {"type": "url", "url": file.link}}
    raise no_place(file)
