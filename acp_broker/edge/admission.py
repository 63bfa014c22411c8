"""Who may open a connection: pure decisions about what a handshake says, on a time that is passed in.

A browser lets any web page open a WebSocket to any address, this machine's own included, and send it the page's
Origin. So a token is not enough: an Origin must be known; and the Host must be ours, as a page's own name may be made
to resolve to this machine (DNS rebinding).
"""

import hmac
import math
from collections.abc import Collection, Sequence
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from msgspec import Struct

from acp_broker.edge.throttle import Throttle

# Of one address: so many wrong tokens at once, and one more each WRONG_EVERY_S.
WRONG_AT_ONCE = 10
WRONG_EVERY_S = 6.0
# Addresses that are remembered; the one that was wrong longest ago is forgotten first.
MOST_ADDRESSES = 1024

OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
BEARER = "bearer"


class Refusal(Struct, frozen=True):
    """`why` is for our log and for the peer; it holds nothing that the peer sent."""

    status: int
    why: str
    retry_after_s: int | None = None


class Admission:
    """Remembers who gave wrong tokens.

    A right token is let in whatever else came from its address: others may share it (all of this machine do, and all
    behind one router), and must not be able to lock its owner out. Nothing is lost by that: what makes guessing
    hopeless is the token's length; the limit keeps the guesses from costing much.
    """

    def __init__(self) -> None:
        self._wrong: dict[str, Throttle] = {}

    def token(self, offered: Sequence[str], token: str, address: str, now: float) -> Refusal | None:
        if token and any(_is_same(one, token) for one in offered):
            return None
        wait = self._count(_neighbourhood(address), now)
        if wait > 0:
            return Refusal(429, "too many wrong tokens from this address", math.ceil(wait))
        return Refusal(401, "wrong token" if offered else "no token")

    def _count(self, address: str, now: float) -> float:
        """One more wrong token; returns for how long the address had better be silent."""
        wrong = self._wrong.pop(address, None)
        if wrong is None:
            wrong = Throttle(burst_s=(WRONG_AT_ONCE - 1) * WRONG_EVERY_S)
            while len(self._wrong) >= MOST_ADDRESSES:
                del self._wrong[next(iter(self._wrong))]
        self._wrong[address] = wrong
        wait = wrong.wait(now)
        if wait == 0:
            wrong.take(1, 1 / WRONG_EVERY_S, now)
        return wait


def host(asked: Sequence[str], own: str, more: Collection[str]) -> Refusal | None:
    """All values of the Host header. `own` is the host that we listen on, `more` are config's; any port will do."""
    if len(asked) != 1:
        return Refusal(403, "not exactly one Host header")
    known = OWN_HOSTS | {_bracketed(name.lower()) for name in (own, *more)}
    name = asked[0].strip().lower()
    if name in known or _without_port(name) in known:
        return None
    return Refusal(403, "unknown Host; add it to frontends.websocket.hosts if it is yours")


def origin(asked: Sequence[str], known: Collection[str]) -> Refusal | None:
    """All values of the Origin header: programs send none, browsers always do."""
    if not asked or (len(asked) == 1 and _normal(asked[0]) in {_normal(one) for one in known}):
        return None
    return Refusal(403, "unknown Origin; add it to frontends.websocket.origins if you trust that site")


def _is_same(offered: str, token: str) -> bool:
    return hmac.compare_digest(offered.encode(errors="surrogatepass"), token.encode(errors="surrogatepass"))


def _neighbourhood(address: str) -> str:
    """An IPv6 host has a whole /64 of addresses to choose from (RFC 4291, section 2.5.1)."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(int(ip) >> 64) if isinstance(ip, IPv6Address) and ip.ipv4_mapped is None else address


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") and _is_ipv6(name) else name


def _is_ipv6(name: str) -> bool:
    try:
        return isinstance(ip_address(name), IPv6Address)
    except ValueError:
        return False


def _without_port(asked: str) -> str:
    name, colon, port = asked.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else asked


def _normal(origin: str) -> str:
    """Scheme and host compare without regard to case (RFC 6454, section 4); `null` and nonsense stay as they are."""
    try:
        parts = urlsplit(origin.strip())
    except ValueError:
        return origin
    return f"{parts.scheme}://{parts.netloc.lower()}" if parts.netloc else origin
