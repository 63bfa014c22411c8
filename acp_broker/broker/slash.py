"""Slash commands: a prompt that begins with one belongs to the backend that advertised it."""

import msgspec
from msgspec import Raw, Struct

# Room for what a client may write before the text of the first block.
_START_BYTES = 4096


class _Block(Struct):
    type: str = ""
    text: str = ""


def slash_command(prompt: Raw) -> str | None:
    """The command that a prompt starts with (`/name ...`), or None."""
    # A prompt may be megabytes: whether its first text can be a command shows in its first bytes.
    if b'"/' not in bytes(memoryview(prompt)[:_START_BYTES]):
        return None
    try:
        blocks = msgspec.json.decode(prompt, type=list[_Block])
    except msgspec.DecodeError:
        return None
    text = blocks[0].text if blocks and blocks[0].type == "text" else ""
    name = text[1:].split(maxsplit=1) if text.startswith("/") else []
    return name[0] if name else None
