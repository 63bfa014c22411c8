"""What an agent said in `initialize`, as far as the broker reads it; every field is optional in practice."""

import msgspec
from msgspec import Raw, Struct


class Prompt(Struct, frozen=True):
    image: bool = False
    audio: bool = False
    embedded: bool = msgspec.field(name="embeddedContext", default=False)


class Mcp(Struct, frozen=True):
    http: bool = False
    sse: bool = False


class SessionMethods(Struct, frozen=True):
    # Present and not null means supported; what is in it says nothing to us.
    resume: dict[str, Raw] | None = None
    close: dict[str, Raw] | None = None
    delete: dict[str, Raw] | None = None
    additional_directories: dict[str, Raw] | None = msgspec.field(name="additionalDirectories", default=None)


class Auth(Struct, frozen=True):
    logout: dict[str, Raw] | None = None


class Capabilities(Struct, frozen=True):
    load: bool = msgspec.field(name="loadSession", default=False)
    prompt: Prompt = msgspec.field(name="promptCapabilities", default=Prompt())
    mcp: Mcp = msgspec.field(name="mcpCapabilities", default=Mcp())
    session: SessionMethods = msgspec.field(name="sessionCapabilities", default=SessionMethods())
    auth: Auth = Auth()


class _Info(Struct, frozen=True):
    name: str


class _Introduced(Struct, frozen=True):
    info: _Info = msgspec.field(name="agentInfo")


class Initialized(Struct, frozen=True):
    """The result of `initialize`. `version` is None where the agent named none."""

    version: int | None = msgspec.field(name="protocolVersion", default=None)
    can: Capabilities = msgspec.field(name="agentCapabilities", default=Capabilities())
    auth_methods: tuple[Raw, ...] = msgspec.field(name="authMethods", default=())

    @property
    def can_come_back(self) -> bool:
        """Whether it says that it can take up a session that another process of it has held."""
        return self.can.load or self.can.session.resume is not None


def initialized(result: Raw) -> Initialized:
    """Read an `initialize` result. Raises msgspec.ValidationError for one of another shape.

    Agents in the wild send null where an object or a boolean is due: it counts as left out.
    """
    try:
        return _decode(result)
    except msgspec.ValidationError:
        return _decode(msgspec.json.encode(_without_nulls(msgspec.json.decode(result))))


def name_of(result: Raw) -> str | None:
    """What the agent calls itself in an `initialize` result, `agentInfo.name`; None where it says nothing of it."""
    try:
        return msgspec.json.decode(result, type=_Introduced).info.name
    except msgspec.ValidationError:
        return None


_decode = msgspec.json.Decoder(Initialized).decode


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return value
