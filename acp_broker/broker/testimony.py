"""What a runtime's answer to a prompt says of its turn, beside the stop reason: the tokens it counted, and how it went.

An answer is read once: most say nothing but their stop reason.
"""

from msgspec import Raw, Struct

from acp_broker.wire.jsonrpc import members_of

_NULL = Raw(b"null")
_TRUE = Raw(b"true")


class Testimony(Struct, frozen=True):
    """`counts` are raw JSON: the members of `usage`, then those of gemini's `_meta.quota.token_count`.

    `says_failed`: it calls the turn failed in a `_meta` of its own, such as `{"hermes": {"failed": true}}`.
    """

    counts: tuple[bytes, ...] = ()
    says_failed: bool = False

    @property
    def has_usage(self) -> bool:
        """A witness that a model was asked. Null and zeros say no."""
        return any(map(_is_some, self.counts))

    @property
    def says_unused(self) -> bool:
        """Whether it says that the turn used nothing at all."""
        return any(map(_is_number, self.counts)) and not self.has_usage

    @property
    def usage(self) -> bytes:
        """What the turn used, to compare it with another's; b"" where it says nothing."""
        return b",".join(self.counts)


_SILENT = Testimony()


def witnessed(answer: Raw) -> Testimony:
    """What an answer says, of whatever shape it is."""
    members = members_of(answer)
    usage, meta = members.get("usage", _NULL), members.get("_meta", _NULL)
    if usage == meta == _NULL:
        return _SILENT
    counts, says_failed = list(map(bytes, members_of(usage).values())), False
    for name, own in members_of(meta).items():
        told = members_of(own)
        says_failed |= told.get("failed") == _TRUE
        if name == "quota":
            counts += map(bytes, members_of(told.get("token_count", _NULL)).values())
    return Testimony(tuple(counts), says_failed)


def _is_number(count: bytes) -> bool:
    return count[:1].isdigit()


def _is_some(count: bytes) -> bool:
    return _is_number(count) and count.strip(b"0.") != b""
