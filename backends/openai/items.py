"""A session's history and a prompt as the input items of Responses."""

from collections.abc import Sequence
from urllib.parse import unquote

from msgspec import Raw

from acp_broker.core.history import Exchange
from backends.http.prompts import NOTHING, File, earlier, no_place, parts, unsupported

Part = dict[str, object]
Item = dict[str, object]

_PDF = "application/pdf"


def items(past: Sequence[Exchange], prompt: Raw) -> list[Item]:
    """The whole conversation. Raises BackendFailure for a prompt with what the API has no place for.

    What of earlier turns has no place is told by its name.
    """
    said: list[Item] = []
    for one in past:
        asked = earlier(one, _content)
        said.append(_message("user", _words(asked) if isinstance(asked, str) else asked))
        said.append(_message("assistant", _words(one.answer, "output_text")))
    if not (content := _content(prompt)):
        raise unsupported("takes no prompt without a word")
    said.append(_message("user", content))
    return said


def _message(role: str, content: list[Part]) -> Item:
    """With its type, and an assistant's words as output: llama.cpp takes no other shape."""
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": content or _words(NOTHING, kind)}


def _content(prompt: Raw) -> list[Part]:
    return [part for one in parts(prompt) for part in (_words(one) if isinstance(one, str) else [_file(one)])]


def _words(text: str, kind: str = "input_text") -> list[Part]:
    return [{"type": kind, "text": text}] if text.strip() else []


def _file(file: File) -> Part:
    url = f"data:{file.mime};base64,{file.data}" if file.data else file.link
    if not url:
        raise no_place(file)
    if file.what == "image":
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    if file.mime != _PDF:
        raise no_place(file)
    if not file.data:
        return {"type": "input_file", "file_url": url}
    name = unquote(file.uri.rpartition("/")[2]) or "file.pdf"
    return {"type": "input_file", "filename": name, "file_data": url}
