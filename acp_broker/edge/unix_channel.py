"""A connected unix socket as a Channel: lines both ways, within what one client may cost (edge/peers.py)."""

import asyncio
import os
import socket
from collections.abc import Callable

from acp_broker.clock import Clock, Timer
from acp_broker.edge.channel import OnLines
from acp_broker.edge.handed import Handed
from acp_broker.edge.patience import Patience
from acp_broker.edge.peers import PeerLimits
from acp_broker.edge.pipes import OwnPipe, Reader, Writer
from acp_broker.edge.throttle import Throttle, weight

# So much is handed over at once; then others have their turn.
MOST_AT_ONCE = 256
THROTTLED_EVERY_S = 60.0

Log = Callable[..., None]


class UnixChannel:
    """The socket is ours alone from now on; `name` is what the log calls the peer.

    After `take` the peer's lines come from elsewhere, and the socket says no more than that it has left.
    """

    def __init__(
        self, sock: socket.socket, name: str, limits: Callable[[], PeerLimits], clock: Clock, log: Log
    ) -> None:
        sock.setblocking(False)  # noqa: FBT003 - it takes no keyword
        self._socket = sock
        self._name = name
        self._limits = limits
        self._clock = clock
        self._log = log
        self._reader = Reader(sock.fileno(), limits().max_message_bytes)
        # A descriptor of its own: the writer closes it as soon as nobody listens, while we may still be listening.
        self._writer = Writer(OwnPipe(os.dup(sock.fileno())))
        self._writer.when_drained(self._drained)
        self._written = 0
        self._on_lines: OnLines | None = None
        self._is_closed = False
        self._unread: list[bytes] = []
        self._throttle = Throttle()
        self._throttled_at = float("-inf")
        self._next: Timer | None = None
        # Whoever is handed the lines wants no more for now.
        self._is_paused = False
        self._handed: Handed | None = None
        self._patience = Patience(limits, clock, lambda: self._written - self._writer.pending, self._cut_off)

    def take(self, handed: Handed) -> None:
        """Before `run`, and with nothing left to write."""
        self._writer.close()
        self._handed = handed
        self._reader = Reader(handed.fd, self._limits().max_message_bytes, handed.read)
        self._writer = Writer(handed.sink)
        self._writer.when_drained(self._drained)

    @property
    def pending(self) -> int:
        return self._writer.pending

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._writer.write(data)
        if self._writer.pending and not self._patience.is_on:
            self._patience.begin()

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._writer.when_drained(callback)

    def close(self, why: str) -> None:  # noqa: ARG002 - a socket carries no reason
        """End `run` as if the peer had closed its side."""
        self._stop_reading()

    def pause(self) -> None:
        self._is_paused = True
        self._reader.pause()

    def resume(self) -> None:
        self._is_paused = False
        if self._next is None:
            self._work()

    def charge(self, size: int) -> float:
        now, per_s = self._clock.now(), self._limits().messages_per_s
        wait_s = self._throttle.take(weight(0, size), per_s, now)
        if wait_s > 0 and self._on_lines is not None:
            self._wait(wait_s, now, per_s)
        return wait_s

    async def run(self, on_lines: OnLines) -> None:
        if self._is_closed:
            return
        self._on_lines = on_lines
        if self._handed is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._heard_of)
        try:
            await self._reader.run(self._received)
        finally:
            self._stop_reading()

    async def drained(self) -> None:
        """Wait until the peer has taken everything, or is gone, or takes nothing for LAST_WORDS_S."""
        await self._writer.drained()

    def release(self) -> None:
        """Give up what is pending, and the connection."""
        self._stop_reading()
        self._patience.end()
        self._writer.close()
        if self._handed is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._handed.close()
            self._handed = None
        self._socket.close()

    # --- what the peer sends

    def _received(self, lines: list[bytes]) -> None:
        self._unread += lines
        if self._next is None:
            self._work()

    def _work(self) -> None:
        """Hand over the next lines; read on once all are handed over, and while the peer keeps to its limits."""
        self._next = None
        if self._on_lines is None or self._is_paused:
            return
        limits = self._limits()
        if self._writer.pending > limits.queued_bytes:
            self._reader.pause()  # until it is drained
            return
        lines, self._unread = self._unread[:MOST_AT_ONCE], self._unread[MOST_AT_ONCE:]
        now = self._clock.now()
        wait_s = self._throttle.take(weight(len(lines), sum(map(len, lines))), limits.messages_per_s, now)
        if lines:
            self._on_lines(lines)
        if wait_s > 0:
            self._wait(wait_s, now, limits.messages_per_s)
        elif self._unread or self._writer.pending > limits.queued_bytes:
            self._reader.pause()
            self._next = asyncio.get_running_loop().call_soon(self._work)
        elif not self._is_paused:
            self._reader.resume()

    def _heard_of(self) -> None:
        """A relay whose pipes were taken has nothing to say: it leaves, or its editor has asked it to."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._stop_reading()

    def _stop_reading(self) -> None:
        self._is_closed = True
        self._on_lines = None
        self._unread = []
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._reader.stop()

    def _wait(self, wait_s: float, now: float, per_s: int) -> None:
        self._reader.pause()
        if self._next is not None:
            self._next.cancel()
        self._next = self._clock.call_at(now + wait_s, self._work)
        if now - self._throttled_at >= THROTTLED_EVERY_S:
            self._throttled_at = now
            self._log("frontend_throttled", frontend=self._name, messages_per_s=per_s)

    # --- what the peer takes

    def _drained(self) -> None:
        self._patience.end()
        if self._next is None and self._reader.is_paused:
            self._work()

    def _cut_off(self, idle_s: float) -> None:
        self._log("frontend_stalled", frontend=self._name, pending=self._writer.pending, seconds=round(idle_s, 3))
        self._stop_reading()
        self._writer.close()
