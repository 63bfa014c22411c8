"""What config.json may say of every backend, whatever its kind; a kind's own config inherits from it."""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from acp_broker.core.names import ProfileId

# At most a day: what is longer was meant in another unit.
Milliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]


class PhaseLimits(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One backend's own limits, in milliseconds; None leaves the value of `limits` in config.json."""

    starting_ms: Milliseconds | None = None
    opening_ms: Milliseconds | None = None
    first_output_ms: Milliseconds | None = None
    retrying_ms: Milliseconds | None = None
    idle_ms: Milliseconds | None = None
    doubt_ms: Milliseconds | None = None
    cancelling_ms: Milliseconds | None = None
    stopping_ms: Milliseconds | None = None


class BackendConfig(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", tag_field="kind"):
    """What every backend's entry in config.json may hold; a kind's own config inherits from it.

    `modes` maps a mode of the session to the mode of this backend that draws the same permission boundary.
    """

    auth: ProfileId | None = None
    model: str | None = None
    limits: PhaseLimits | None = None
    modes: dict[str, str] = {}
    # Keys of which one is required.
    one_of: ClassVar[tuple[str, ...]] = ()

    def known_limits(self) -> PhaseLimits | None:
        """What is known of such a backend; it counts less than `limits`. Asked when a turn is first planned."""
        return None

    @property
    def as_opened(self) -> "BackendConfig":
        """What of it an opened backend holds on to: another one of these, and it is opened anew."""
        return replace(self, limits=None, modes={})

    @property
    def provider(self) -> str | None:
        """Who answers in the end, by name ("anthropic") or by address; None: it is not known, or for its agent to say.
        Two of one provider fail together."""
        return None

    @property
    def host(self) -> str | None:
        """The address whose server it asks: where that takes no connection, it takes none of anybody's."""
        return None

    @property
    def takes_credential(self) -> bool:
        """Whether it is given its profile's secret itself (`Tools.credential`), whatever variable that names."""
        return False

    @property
    def asks(self) -> "BackendConfig | None":
        """What of it decides who answers: two that are equal fail together. None: there is no telling."""
        return None

    @property
    def window(self) -> int | None:
        """How many tokens its model takes, where that is known."""
        return None

    @property
    def heeds_its_place(self) -> bool:
        """Whether what is opened for it depends on `Tools.is_followed`."""
        return False
