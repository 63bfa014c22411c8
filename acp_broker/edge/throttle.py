"""How fast a client may speak, and whether it still takes what it is told: arithmetic on a time that is passed in."""

# A client that was quiet may send so many seconds' worth at once: an editor that comes back has much to ask.
BURST_S = 3.0
# So many bytes count as one message more: a few that are as long as they may be are as much work as a flood, and so
# are requests for what is long.
WEIGHT_BYTES = 16 * 1024


def weight(count: int, size: int) -> int:
    """What `count` messages of `size` bytes together count for in a Throttle."""
    return count + size // WEIGHT_BYTES


class Throttle:
    """A token bucket, kept as the one moment at which everything taken so far is paid for."""

    def __init__(self, burst_s: float = BURST_S) -> None:
        self._burst_s = burst_s
        self._paid_at = float("-inf")

    def take(self, count: int, per_s: float, now: float) -> float:
        """Count `count` messages that were read; returns for how many seconds no more may be read, mostly 0."""
        self._paid_at = max(self._paid_at, now - self._burst_s) + count / per_s
        return max(0.0, self._paid_at - now)

    def wait(self, now: float) -> float:
        """For how many seconds from now on nothing may be read."""
        return max(0.0, self._paid_at - now)


class Progress:
    """Since when a peer has taken nothing; `taken` is the number of bytes that it took since the connection began."""

    def __init__(self, taken: int, now: float) -> None:
        self._taken = taken
        self._since = now

    def idle_s(self, taken: int, now: float) -> float:
        if taken != self._taken:
            self._taken, self._since = taken, now
        return now - self._since
