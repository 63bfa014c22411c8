"""Prompt content: what a prompt holds, and its resources as text for a runtime that takes no embedded context."""

import msgspec
from msgspec import Raw, Struct

_encode = msgspec.json.encode
_blocks = msgspec.json.Decoder(list[Raw]).decode


class _Kind(Struct):
    type: str = ""


class _Contents(Struct):
    uri: str = ""
    text: str | None = None
    mime: str | None = msgspec.field(name="mimeType", default=None)


class _Resource(Struct):
    resource: _Contents


_kinds = msgspec.json.Decoder(list[_Kind]).decode


def kinds(prompt: Raw) -> frozenset[str]:
    """The types of content blocks in a prompt (ACP v1, content)."""
    return frozenset([block.type for block in _kinds(prompt)])


def flattened(prompt: Raw) -> tuple[Raw, int]:
    """The prompt with each embedded text resource as a text block, and how many there were.

    A resource without text (a blob) becomes a link: its name is kept, its bytes are not words. Raises
    msgspec.ValidationError for one of another shape.
    """
    flat: list[Raw] = []
    changed = 0
    for block in _blocks(prompt):
        if msgspec.json.decode(block, type=_Kind).type != "resource":
            flat.append(block)
            continue
        changed += 1
        contents = msgspec.json.decode(block, type=_Resource).resource
        flat.append(Raw(_encode(_as_text(contents))))
    return (Raw(_encode(flat)), changed) if changed else (prompt, 0)


def _as_text(contents: _Contents) -> dict[str, str]:
    if contents.text is None:
        return {"type": "resource_link", "uri": contents.uri, "name": contents.uri.rsplit("/", 1)[-1] or contents.uri}
    return {"type": "text", "text": f'<resource uri="{contents.uri}">\n{contents.text}\n</resource>'}
