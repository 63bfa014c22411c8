"""One connection to a peer, as the rest of the house sees it: lines in, lines out, nothing waits.

A read is handed over as one batch, synchronously, from the event loop's own callback: what the peer sends costs no
task hop. A write goes straight to the system; what does not fit is kept and written when there is room.
"""

from collections.abc import Callable
from typing import Protocol

OnLines = Callable[[list[bytes]], None]
# How long our last words wait for a peer that takes nothing of them.
LAST_WORDS_S = 2.0


class Channel(Protocol):
    """`pending` is the number of bytes written here that the system has not taken yet."""

    @property
    def pending(self) -> int: ...

    def write(self, data: bytes) -> None:
        """Send whole lines, in order, without waiting; dropped once the peer is gone."""

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call back each time `pending` falls to zero after it was more."""

    def pause(self) -> None:
        """Read nothing more, and see no end, until `resume`: what the peer sends waits with it."""

    def resume(self) -> None: ...

    def charge(self, size: int) -> float:
        """Count so many bytes of work as if the peer had sent them; how many seconds it had better wait: mostly 0."""

    def close(self, why: str) -> None:
        """End `run` as if the peer had closed its side; it is told why where the transport has words for it."""

    async def run(self, on_lines: OnLines) -> None:
        """Hand over what arrives, one call per read, until the peer is gone; a lost peer raises nothing."""
