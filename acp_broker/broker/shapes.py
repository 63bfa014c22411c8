"""The params of the ACP v1 agent methods, as far as the broker reads them. What else they hold is passed on."""

from msgspec import UNSET, Raw, Struct, UnsetType, field


class Initialize(Struct):
    version: int = field(name="protocolVersion")
    capabilities: Raw = field(name="clientCapabilities", default=Raw(b"{}"))
    info: Raw | UnsetType = field(name="clientInfo", default=UNSET)


class Block(Struct):
    type: str


class Prompt(Struct):
    session: str = field(name="sessionId")
    prompt: Raw


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
