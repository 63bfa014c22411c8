"""The params of the ACP v1 agent methods, as far as the broker reads them. What else they hold is passed on."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field


class Initialize(Struct):
    version: int = field(name="protocolVersion")
    capabilities: Raw = field(name="clientCapabilities", default=Raw(b"{}"))
    info: Raw | UnsetType = field(name="clientInfo", default=UNSET)


class Block(Struct):
    type: str


class Prompt(Struct):
    session: str = field(name="sessionId")
    prompt: list[Block]


class Open(Struct):
    cwd: str
    mcp_servers: tuple[Raw, ...] = field(name="mcpServers", default=())
    directories: tuple[str, ...] | None = field(name="additionalDirectories", default=None)


class Reopen(Open, kw_only=True):
    session: str = field(name="sessionId")


class OfSession(Struct):
    session: str = field(name="sessionId")


class MaybeOfSession(Struct):
    session: str | None = field(name="sessionId", default=None)


class SetMode(Struct):
    session: str = field(name="sessionId")
    mode: str = field(name="modeId")


class SetOption(Struct):
    session: str = field(name="sessionId")
    option: str = field(name="configId")
    value: Raw


class List(Struct):
    cwd: str | None = None
    cursor: str | None = None


class Authenticate(Struct):
    method: str = field(name="methodId")


class Cancelled(Struct):
    request: Raw = field(name="requestId")


class _Ours(Struct):
    key: Annotated[str, Meta(min_length=1, max_length=256)] | None = field(name="idempotencyKey", default=None)
    after: Annotated[int, Meta(ge=0)] | None = None


class _Meta(Struct):
    ours: _Ours | None = field(name="acp-broker", default=None)


_meta = msgspec.json.Decoder(_Meta).decode


def idempotency_key(meta: Raw) -> str | None:
    """The key in a prompt's `_meta`. Raises msgspec.DecodeError for one that is no string of 1 to 256 characters."""
    if b'"idempotencyKey"' not in bytes(meta):
        return None
    ours = _meta(meta).ours
    return ours.key if ours is not None else None


def after(meta: Raw) -> int | None:
    """The number up to which a client has seen a session. Raises msgspec.DecodeError for one that is no number."""
    if b'"after"' not in bytes(meta):
        return None
    ours = _meta(meta).ours
    return ours.after if ours is not None else None
