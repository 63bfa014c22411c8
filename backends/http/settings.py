"""What config.json says of every backend that asks a provider over HTTP."""

from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, field
from msgspec.structs import replace

from acp_broker.backend_config import BackendConfig, Milliseconds, PhaseLimits
from acp_broker.core.rules import Rule
from backends.http.rows import FailureRow
from backends.http.written import LOOPBACK, PORTS, check_address, check_header, split

# Members of a request that a session's turns are made of, or that have a key of their own.
_OWN = frozenset(
    {"model", "messages", "input", "contents", "stream", "n"}
    | {"system", "instructions", "systemInstruction", "system_instruction"}
)
_CONNECT_S, _FIRST_BYTE_S = 5.0, 45.0
# A server of one's own reads its model from disk before it says a word.
_OWN_FIRST_BYTE_S = 180.0


def needs_key(who: str) -> str:
    """What people are told to do."""
    return f"{who} needs a key: name a profile that holds one under `auth`"


def address(url: str) -> str:
    """As addresses are compared: host in small letters, no port that goes without saying, no slash at the end."""
    if (parts := split(url)) is None:
        return url
    host = parts.netloc.lower().removesuffix(f":{PORTS.get(parts.scheme)}").removesuffix(":")
    return parts._replace(netloc=host).geturl().rstrip("/")


class HttpLimits(PhaseLimits, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """`connectMs` is for the connection, `firstByteMs` from the request to the head of its answer."""

    connect_ms: Milliseconds | None = None
    first_byte_ms: Milliseconds | None = None


class HttpConfig(BackendConfig, frozen=True, rename="camel", kw_only=True):
    """A provider's API. `headers` and the members of `body` are sent with every request; neither is a place for a key.

    `body` is merged into what the broker writes, as RFC 7396 says.
    """

    base_url: str | None = None
    limits: HttpLimits | None = None
    system: str | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, object] = field(default_factory=dict)
    images: bool = True
    audio: bool = False
    context_window: Annotated[int, Meta(ge=1, description="Tokens.")] | None = None
    failures: tuple[FailureRow, ...] = ()
    history_bytes: Annotated[int, Meta(ge=0, le=64 * 1024 * 1024, description="Bytes.")] = 256 * 1024

    def __post_init__(self) -> None:
        if self.base_url is not None:
            check_address(self.base_url, has_key=self.auth is not None)
        if self.model is not None and (not self.model or self.model != self.model.strip()):
            raise ValueError("`model`: expected a model's name, without blanks around it")
        if taken := sorted(self.body.keys() & _OWN):
            raise ValueError(f"`body.{taken[0]}`: the broker writes it")
        for name, value in self.headers.items():
            check_header(name, value)

    @property
    def url(self) -> str:
        """Where the API is, without a slash at its end."""
        return address(self.base_url or "")

    @property
    def lacking(self) -> frozenset[str]:
        """What its model is not to be sent."""
        return frozenset(what for what, takes in (("image", self.images), ("audio", self.audio)) if not takes)

    @property
    def provider(self) -> str | None:
        return self.host

    @property
    def host(self) -> str | None:
        parts = urlsplit(self.url)
        host = "127.0.0.1" if parts.hostname in LOOPBACK else parts.hostname
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"

    @property
    def is_own(self) -> bool:
        """Whether its server is one of this machine."""
        return urlsplit(self.url).hostname in LOOPBACK

    @property
    def connect_s(self) -> float:
        own = self.limits.connect_ms if self.limits is not None else None
        return _CONNECT_S if own is None else own / 1000

    @property
    def first_byte_s(self) -> float:
        own = self.limits.first_byte_ms if self.limits is not None else None
        if own is not None:
            return own / 1000
        return _OWN_FIRST_BYTE_S if self.is_own else _FIRST_BYTE_S

    def known_limits(self) -> PhaseLimits | None:
        return PhaseLimits(first_output_ms=int(_OWN_FIRST_BYTE_S * 1000)) if self.is_own else None

    @property
    def asks(self) -> "HttpConfig":
        """Where, of which model, as whom; not how it is put, or how long is waited."""
        return replace(
            self,
            base_url=self.url or None,
            limits=None,
            modes={},
            system=None,
            max_tokens=None,
            images=True,
            audio=False,
            context_window=None,
            failures=(),
            history_bytes=0,
        )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """By which its failures are told before everything else; the first that fits counts."""
        return tuple(row.rule for row in self.failures)

    @property
    def window(self) -> int | None:
        return self.context_window

    @property
    def takes_credential(self) -> bool:
        return True

    @property
    def as_opened(self) -> BackendConfig:
        """Its own two clocks are read when it is opened."""
        limits = self.limits
        kept = HttpLimits(connect_ms=limits.connect_ms, first_byte_ms=limits.first_byte_ms) if limits else None
        return replace(self, limits=kept, modes={})
