"""A session's history and a prompt as Chat Completions messages."""

from collections.abc import Sequence

from msgspec import Raw

from acp_broker.core.history import Exchange
from backends.http.prompts import File, earlier, no_place, parts, unsupported

Part = dict[str, object]
Message = dict[str, object]

# Chat Completions, `input_audio.format`.
_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


def messages(system: str | None, past: Sequence[Exchange], prompt: Raw) -> list[Message]:
    """The whole conversation. Raises BackendFailure for a prompt with what the API has no place for.

    What of earlier turns has no place is told by its name.
    """
    said: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    for one in past:
        said.append({"role": "user", "content": earlier(one, _content)})
        said.append({"role": "assistant", "content": one.answer})
    said.append({"role": "user", "content": _content(prompt)})
    return said


def _content(prompt: Raw) -> str | list[Part]:
    """Parts; where all are texts, one text: not every server takes parts."""
    found = parts(prompt)
    texts = [part for part in found if isinstance(part, str)]
    if len(texts) == len(found):
        return "\n\n".join(texts)
    return [_part(part) for part in found]


def _part(part: str | File) -> Part:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    match part.what:
        case "image":
            if not (url := f"data:{part.mime};base64,{part.data}" if part.data else part.link):
                raise no_place(part)
            return {"type": "image_url", "image_url": {"url": url}}
        case "audio":
            return _audio(part)
        case "file":
            raise no_place(part)


def _audio(file: File) -> Part:
    if file.mime not in _AUDIO:
        raise unsupported(f"takes wav and mp3, not {file.mime or 'audio of an unknown format'}")
    return {"type": "input_audio", "input_audio": {"data": file.data, "format": _AUDIO[file.mime]}}
