"""What a login is: the tokens of one profile, and who gets newer ones. No secret of it is part of a repr."""

from typing import Protocol

import msgspec
from msgspec import Struct

from acp_broker.core.names import ProfileId, Projects
from acp_broker.errors import Unresolved

# Of the file's shape; another one is for another version of us to read.
VERSION = 1


class TokenSet(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One answer of a token endpoint (RFC 6749, section 5.1). `refresh` is None where it gave none.

    Times are seconds of the wall clock: `obtained_at` when it was asked for, `expires_at` None for a token that
    does not say. `account` is who it is for, as a person would know it; None where nobody said.
    """

    access: str
    refresh: str | None = None
    obtained_at: float = 0.0
    expires_at: float | None = None
    scopes: tuple[str, ...] = ()
    token_type: str = "Bearer"  # noqa: S105 - a kind of token, no token
    account: str | None = None
    projects: Projects = Projects()

    def __repr__(self) -> str:
        return "TokenSet(...)"


class TokenSource(Protocol):
    """Who gets newer tokens for one profile. `needs_login`: only from those of a login, which a refresh may use up.

    False: it makes them of what config names, such as a service account, and may be asked as often as one likes.
    """

    @property
    def needs_login(self) -> bool: ...

    async def refresh(self, tokens: TokenSet | None) -> TokenSet:
        """Newer tokens; whole: what the answer left out (`refresh`, `scopes`, `account`) is that of the old ones.

        `tokens` is None where there are none yet, and only with `needs_login` False. No lock is held meanwhile.
        Raises AuthRejected, AuthUnavailable; has a limit of its own.
        """


class Refused(Struct, frozen=True):
    """The provider refused these tokens: nobody asks it again until there are others."""

    why: str
    at_wall: float


class Stored(Struct, frozen=True, kw_only=True):
    """What a profile's file holds. Each change of the tokens has a greater `generation`, after a logout too.

    `since` is the generation with which a person logged in: that of what a renewal brings is the same.

    `unanswered` says of a request with these tokens, if there was one, why no answer came: the provider may have
    replaced them all the same.
    """

    profile: ProfileId
    generation: int
    tokens: TokenSet
    refused: Refused | None = None
    unanswered: str | None = None
    since: int = 0
    version: int = VERSION


def stored(data: bytes, profile: ProfileId) -> Stored:
    """What a file holds, whatever is in it. Raises Unresolved, which says what to do."""
    fix = f"acp-broker login {profile}"
    try:
        found = _decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Unresolved(f"holds no login, or half of one: {fix}") from None
    if found.version != VERSION:
        raise Unresolved(f"was written by another version of acp-broker; use that one, or: {fix}")
    if found.profile != profile:
        raise Unresolved(f"is the login of another profile: {fix}")
    return found


_decode = msgspec.json.Decoder(Stored).decode
