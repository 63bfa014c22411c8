"""A session's history and a prompt as Chat Completions messages."""

import base64
import binascii
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.history import Exchange
from acp_broker.errors import BackendFailure

Part = dict[str, object]
Message = dict[str, object]

# Chat Completions, `input_audio.format`.
_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


class _Resource(Struct, rename="camel"):
    uri: str = ""
    text: str | None = None
    blob: str | None = None
    mime_type: str | None = None


class _Block(Struct, rename="camel"):
    """A content block of ACP v1."""

    type: str = ""
    text: str = ""
    data: str = ""
    mime_type: str | None = None
    uri: str | None = None
    name: str = ""
    resource: _Resource = msgspec.field(default_factory=_Resource)


_blocks = msgspec.json.Decoder(list[_Block]).decode


def messages(system: str | None, past: Sequence[Exchange], prompt: Raw) -> list[Message]:
    """The whole conversation. Raises BackendFailure for a prompt with what the API has no place for.

    What of earlier turns has no place is told by its name.
    """
    said: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    for one in past:
        said.append({"role": "user", "content": _earlier(one)})
        said.append({"role": "assistant", "content": one.answer})
    said.append({"role": "user", "content": _content(prompt)})
    return said


def _earlier(one: Exchange) -> str | list[Part]:
    try:
        return _content(one.prompt)
    except BackendFailure:
        return one.said.prompt


def _content(prompt: Raw) -> str | list[Part]:
    """Parts; where all are texts, one text: not every server takes parts."""
    try:
        parts = [_part(block) for block in _blocks(prompt)]
    except msgspec.DecodeError as error:
        raise _unsupported(f"cannot read the prompt: {error}") from error
    texts = [part["text"] for part in parts if part["type"] == "text"]
    if len(texts) == len(parts):
        return "\n\n".join(str(text) for text in texts)
    return parts


def _part(block: _Block) -> Part:
    match block.type:
        case "text":
            return _text(block.text)
        case "resource_link":
            return _text(f"[link: {block.name or block.uri} {block.uri}]")
        case "image":
            return _image(block.mime_type or "image/png", block.data, block.uri)
        case "audio":
            return _audio(block.mime_type or "", block.data)
        case "resource":
            return _resource(block.resource)
        case kind:
            raise _unsupported(f"takes no {kind or 'block without a type'} in a prompt")


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _image(mime: str, data: str, uri: str | None) -> Part:
    url = f"data:{mime};base64,{data}" if data else uri or ""
    return {"type": "image_url", "image_url": {"url": url}}


def _audio(mime: str, data: str) -> Part:
    if mime not in _AUDIO:
        raise _unsupported(f"takes wav and mp3, not {mime or 'audio of an unknown format'}")
    return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO[mime]}}


def _resource(found: _Resource) -> Part:
    mime = found.mime_type or ""
    if found.text is not None:
        return _text(f'<resource uri="{found.uri}">\n{found.text}\n</resource>')
    if mime.startswith("image/"):
        return _image(mime, found.blob or "", None)
    if mime.startswith("text/") and found.blob:
        try:
            text = base64.b64decode(found.blob, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            pass
        else:
            return _text(f'<resource uri="{found.uri}">\n{text}\n</resource>')
    raise _unsupported(f"has no place for {found.uri}: {mime or 'a file of an unknown type'}")


def _unsupported(text: str) -> BackendFailure:
    return BackendFailure(Failure(FailureKind.UNSUPPORTED, text, seen_at="opening"))
