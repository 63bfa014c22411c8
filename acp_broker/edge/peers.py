"""What the clients of a listening socket may cost, each of them and together."""

from collections.abc import Callable

from msgspec import Struct

from acp_broker.wire.framing import MAX_LINE_BYTES


class PeerLimits(Struct, frozen=True):
    """Of one client. What passes `messages_per_s` waits unread; so does everything while it has not taken
    `queued_bytes`; one that takes nothing for `stalled_s` is cut off."""

    max_message_bytes: int = MAX_LINE_BYTES
    queued_bytes: int = 8 * 1024 * 1024
    stalled_s: float = 30.0
    messages_per_s: int = 2_000


class Seats:
    """How many clients there are at once, whichever way they came; `most` is asked each time: config may change."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self.taken = 0

    def take(self) -> bool:
        """Whether there was one left."""
        if self.taken >= self._most():
            return False
        self.taken += 1
        return True

    def leave(self) -> None:
        self.taken -= 1
