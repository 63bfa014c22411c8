"""A WebSocket connection after its handshake, as a Channel: each text message is a line.

The sans-I/O core of `websockets` parses and judges what the peer sends. What we send is text frames of our own
making, never compressed (RFC 7692, section 6, leaves that to the sender): on one machine compressing costs more than
the bytes it saves.
"""

import asyncio
from collections.abc import Callable

from anyio import Event
from websockets.frames import CloseCode, Frame
from websockets.protocol import SEND_EOF, State

from acp_broker.clock import Clock, Timer
from acp_broker.edge.channel import LAST_WORDS_S, OnLines
from acp_broker.edge.frames import Messages, text_frames
from acp_broker.edge.gate import Admitted
from acp_broker.edge.link import Link
from acp_broker.edge.patience import Patience
from acp_broker.edge.peers import PeerLimits
from acp_broker.edge.throttle import Throttle, weight

# A peer that was silent for so long is asked for a sign of life; after GONE_S without one its connection is dead.
PING_S = 30.0
GONE_S = 60.0
# So much is handed over at once; then others have their turn.
MOST_AT_ONCE = 256
# And so much is unpacked: of what is compressed, a few bytes may be a megabyte.
MOST_BYTES_AT_ONCE = 1024 * 1024
# Parsed at once: no more tiny messages than about MOST_AT_ONCE.
PIECE_BYTES = 2048
THROTTLED_EVERY_S = 60.0
# RFC 6455, section 5.5: a control frame holds 125 bytes, two of a close frame are its code.
REASON_BYTES = 123

Log = Callable[..., None]


class WebSocketChannel:
    """Begins with the 101 that `admitted` holds; `rest` is what came behind the request already."""

    def __init__(
        self,
        link: Link,
        admitted: Admitted,
        rest: bytes,
        limits: Callable[[], PeerLimits],
        clock: Clock,
        log: Log,
    ) -> None:
        self._guest = admitted.guest
        self._link = link
        self._core = admitted.core
        self._limits = limits
        self._clock = clock
        self._log = log
        self._messages = Messages()
        self._unread = rest
        self._on_lines: OnLines | None = None
        self._ended = Event()
        self._farewell: tuple[CloseCode, str] = (CloseCode.GOING_AWAY, "")
        self._throttle = Throttle()
        self._next: Timer | None = None
        # Whoever is handed the lines wants no more for now.
        self._is_paused = False
        self._patience = Patience(limits, clock, lambda: link.taken, self._cut_off)
        self._heard_at = clock.now()
        self._throttled_at = float("-inf")
        self._has_logged_binary = False
        self._timers: dict[Callable[[], None], Timer] = {}
        link.when_drained(self._drained)
        self._flush()
        self._after(PING_S, self._beat)

    @property
    def pending(self) -> int:
        return self._link.pending

    def write(self, data: bytes) -> None:
        if self._core.state is State.OPEN:
            self._send(text_frames(data))

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._link.when_drained(callback)

    def close(self, why: str) -> None:
        """The peer is told when `finish` is called: until then it is still sent what is written."""
        self.end(CloseCode.GOING_AWAY, why)

    def end(self, code: CloseCode, why: str) -> None:
        """Like `close`, with another close code (RFC 6455, section 7.4.1)."""
        if not self._ended.is_set():
            self._farewell = code, why
            self._end()

    def pause(self) -> None:
        self._is_paused = True
        self._link.pause()

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
        self._on_lines = on_lines
        self._link.listen(self._received, self._end)
        self._work()
        try:
            await self._ended.wait()
        finally:
            self._end()

    async def finish(self) -> None:
        """Close, as the protocol wants it; whoever does not answer in LAST_WORDS_S is cut off."""
        self._end()
        self._unread = b""
        if self._core.state is State.OPEN:
            code, why = self._farewell
            self._core.send_close(code, why.encode()[:REASON_BYTES].decode(errors="ignore"))
            self._flush()
        # RFC 6455, section 7.1.1, lets the peer answer with its own close frame first; nobody needs to parse it.
        self._link.finish()
        self._link.discard()
        self._after(LAST_WORDS_S, self._link.abort)
        try:
            await self._link.gone.wait()
        finally:
            self._link.abort()
            self._patience.end()
            for timer in self._timers.values():
                timer.cancel()

    # --- what the peer sends

    def _received(self, data: bytes) -> None:
        self._heard_at = self._clock.now()
        self._unread += data
        if self._next is None:
            self._work()

    def _work(self) -> None:
        """Hand over the next messages; read on once all are handed over, and while the peer keeps to its limits."""
        self._next = None
        if self._ended.is_set() or self._on_lines is None or self._is_paused:
            return
        limits = self._limits()
        if self._link.pending > limits.queued_bytes:
            self._link.pause()  # until it is drained
            return
        lines, cost = self._some_lines()
        now = self._clock.now()
        wait = self._throttle.take(cost, limits.messages_per_s, now)
        if lines:
            self._on_lines(lines)
        if self._core.state is not State.OPEN:
            self._broke_off()
            return
        if wait > 0:
            self._wait(wait, now, limits.messages_per_s)
        elif self._unread or self._link.pending > limits.queued_bytes:
            self._link.pause()
            self._next = asyncio.get_running_loop().call_soon(self._work)
        elif not self._is_paused:
            self._link.resume()

    def _some_lines(self) -> tuple[list[bytes], int]:
        """The next messages, and the weight of the frames that they were read from: each of these is work, also a
        control frame, and one that nobody is handed."""
        lines: list[bytes] = []
        count = size = at = 0
        core, unread = self._core, self._unread
        while at < len(unread) and core.state is State.OPEN and count < MOST_AT_ONCE and size < MOST_BYTES_AT_ONCE:
            core.receive_data(unread[at : at + PIECE_BYTES])
            at += PIECE_BYTES
            for frame in core.events_received():
                count += 1
                assert isinstance(frame, Frame), "a server gets one Request, and that was before"
                size += len(frame.data)
                try:
                    line = self._messages.add(frame)
                except UnicodeDecodeError as error:
                    core.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
                    break
                if line is not None:
                    lines.append(line)
        self._unread = unread[at:]
        self._flush()
        if self._messages.had_binary and not self._has_logged_binary:
            self._has_logged_binary = True
            self._say("websocket_binary_ignored")
        return lines, weight(count, size)

    # --- what the peer is sent

    def _send(self, data: bytes) -> None:
        link = self._link
        link.write(data)
        if link.pending and not self._patience.is_on:
            self._patience.begin()

    def _flush(self) -> None:
        """Send what the core wants to say: pongs, close frames, the end of the stream."""
        writes = self._core.data_to_send()
        if not writes:
            return
        data = b"".join(writes)
        if data:
            self._send(data)
        if writes[-1] == SEND_EOF:
            self._link.finish()

    def _drained(self) -> None:
        self._patience.end()
        if self._next is None and not self._link.is_listening:
            self._work()

    def _cut_off(self, idle_s: float) -> None:
        self._say("frontend_stalled", pending=self._link.pending, seconds=round(idle_s, 3))
        self._link.abort()

    # --- the end

    def _beat(self) -> None:
        if not self._link.is_listening or self._link.pending:
            # It could not be heard; or it has not come to our ping yet, and `_patience` sees whether it takes anything.
            self._heard_at = self._clock.now()
        silent_s = self._clock.now() - self._heard_at
        if silent_s >= GONE_S:
            self._say("frontend_lost", why=f"nothing heard of it for {silent_s:.0f} s")
            self._link.abort()
            return
        if silent_s >= PING_S and self._core.state is State.OPEN:
            self._core.send_ping(b"")
            self._flush()
        self._after(PING_S, self._beat)

    def _broke_off(self) -> None:
        sent = self._core.close_sent
        if self._core.close_rcvd is None and sent is not None:
            self._say("websocket_broken", code=int(sent.code), why=sent.reason)
        self._end()

    def _end(self) -> None:
        self._on_lines = None
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if not self._ended.is_set():
            self._link.pause()
            self._ended.set()

    def _wait(self, wait_s: float, now: float, per_s: int) -> None:
        self._link.pause()
        if self._next is not None:
            self._next.cancel()
        self._next = self._clock.call_at(now + wait_s, self._work)
        if now - self._throttled_at >= THROTTLED_EVERY_S:
            self._throttled_at = now
            self._say("frontend_throttled", messages_per_s=per_s)

    def _say(self, event: str, **fields: str | float) -> None:
        self._log(event, address=self._guest.address, connection=self._guest.connection, **fields)

    def _after(self, seconds: float, callback: Callable[[], None]) -> None:
        if callback in self._timers:
            self._timers[callback].cancel()
        self._timers[callback] = self._clock.call_at(self._clock.now() + seconds, callback)
