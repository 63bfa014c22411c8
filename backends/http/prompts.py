"""What people and frontends send in a prompt, and a model is told of it: words, and files."""

import base64
import binascii
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, TypeVar

import msgspec
from msgspec import Raw, Struct

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.history import Exchange, in_words
from acp_broker.errors import BackendFailure

Content = TypeVar("Content")

# For a message without a word, where an API refuses one.
NOTHING = "[nothing that could be shown here]"


class File(Struct, frozen=True):
    """`data` is in base64; where it is empty, `uri` says where it lies. `mime` is empty where nobody says it."""

    what: Literal["image", "audio", "file"]
    mime: str
    data: str
    uri: str = ""

    @property
    def link(self) -> str:
        """Where a provider could read it itself; empty where it lies elsewhere."""
        return self.uri if self.uri.startswith(("https://", "http://")) else ""


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


def parts(prompt: Raw) -> list[str | File]:
    """The content of a prompt, in order. Raises BackendFailure."""
    try:
        return [_part(block) for block in _blocks(prompt)]
    except msgspec.DecodeError as error:
        raise unsupported(f"cannot read the prompt: {error}") from error


def check(prompt: Raw, lacking: AbstractSet[str]) -> None:
    """Raises BackendFailure for a prompt with a file of a sort that a model lacks the sense for."""
    if _may_hold(prompt, lacking):
        for part in parts(prompt):
            if isinstance(part, File) and part.what in lacking:
                raise no_place(part)


def without(past: Sequence[Exchange], lacking: AbstractSet[str]) -> list[Exchange]:
    """Earlier turns, which another backend may have answered; such files are told by their names."""
    return [
        one if not _may_hold(one.prompt, lacking) or _is_fit(one.prompt, lacking) else in_words(one) for one in past
    ]


def _may_hold(prompt: Raw, lacking: AbstractSet[str]) -> bool:
    """Told by its bytes: each turn asks it of all before."""
    written = bytes(prompt)
    for what in lacking:  # noqa: SIM110 - a generator would cost more than the search
        if what.encode() in written:
            return True
    return False


def _is_fit(prompt: Raw, lacking: AbstractSet[str]) -> bool:
    try:
        check(prompt, lacking)
    except BackendFailure:
        return False
    return True


def earlier(one: Exchange, content: Callable[[Raw], Content]) -> Content | str:
    """The prompt of an earlier turn; what of it has no place in an API is told by its words."""
    try:
        return content(one.prompt)
    except BackendFailure:
        return one.said.prompt


def unsupported(text: str) -> BackendFailure:
    """Another backend may take it."""
    return BackendFailure(Failure(FailureKind.UNSUPPORTED, text, seen_at="opening"))


def no_place(file: File) -> BackendFailure:
    """For a file that an API does not take."""
    return unsupported(f"has no place for {file.uri or file.what}: {file.mime or 'a file of an unknown type'}")


def _part(block: _Block) -> str | File:
    match block.type:
        case "text":
            return block.text
        case "resource_link":
            return f"[link: {block.name or block.uri} {block.uri}]"
        case "image":
            return File("image", block.mime_type or "image/png", block.data, block.uri or "")
        case "audio":
            return File("audio", block.mime_type or "", block.data)
        case "resource":
            return _resource(block.resource)
        case kind:
            raise unsupported(f"takes no {kind or 'block without a type'} in a prompt")


def _resource(found: _Resource) -> str | File:
    mime, text = found.mime_type or "", found.text
    if text is None and mime.startswith("text/") and found.blob:
        text = _decoded(found.blob)
    if text is not None:
        return f'<resource uri="{found.uri}">\n{text}\n</resource>'
    return File("image" if mime.startswith("image/") else "file", mime, found.blob or "", found.uri)


def _decoded(blob: str) -> str | None:
    try:
        return base64.b64decode(blob, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
