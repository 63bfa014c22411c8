"""The smallest event loop that a stdio agent needs: lines in, bytes out, timers, SIGTERM. One thread, no asyncio.

Writing blocks, as it does in most agents: a client that does not read stops the whole process.
"""

import heapq
import os
import select
import signal
import time
from collections.abc import Callable

_CHUNK_BYTES = 65536


class Alarm:
    """A callback for a time; `cancel` forgets it."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def ring(self) -> None:
        if self._callback is not None:
            self._callback()


class Loop:
    """Runs until the process exits: only a callback ends it."""

    def __init__(self, on_line: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._on_line = on_line
        self._on_end = on_end
        self._rest = bytearray()
        self._stdin: int | None = 0
        self._stdout: int | None = 1
        self._signals: dict[int, Callable[[], None]] = {}
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._serial = 0

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(callback)
        self._serial += 1
        heapq.heappush(self._alarms, (time.monotonic() + seconds, self._serial, alarm))
        return alarm

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Call back, from the loop, each time that signal arrives."""
        self._signals[number] = callback
        signal.signal(number, lambda *_: None)

    def write(self, data: bytes) -> None:
        """Write all of it; what nobody reads any more is dropped."""
        view = memoryview(data)
        while view and self._stdout is not None:
            try:
                view = view[os.write(self._stdout, view) :]
            except BlockingIOError:
                select.select([], [self._stdout], [])
            except BrokenPipeError:
                self.close_stdout()

    def close_stdout(self) -> None:
        if self._stdout is not None:
            os.close(self._stdout)
            self._stdout = None

    def run_forever(self) -> None:
        wakeups, wake = os.pipe()
        for end in (wakeups, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake)
        while True:
            readable = [wakeups] if self._stdin is None else [wakeups, self._stdin]
            ready, _, _ = select.select(readable, [], [], self._seconds_left())
            if wakeups in ready:
                self._heed(os.read(wakeups, _CHUNK_BYTES))
            if self._stdin in ready:
                self._read()
            self._ring()

    def _seconds_left(self) -> float | None:
        return max(0.0, self._alarms[0][0] - time.monotonic()) if self._alarms else None

    def _ring(self) -> None:
        # Only what is due now: a callback that asks for another turn at once must not keep stdin waiting.
        now = time.monotonic()
        due = []
        while self._alarms and self._alarms[0][0] <= now:
            due.append(heapq.heappop(self._alarms)[2])
        for alarm in due:
            alarm.ring()

    def _heed(self, signals: bytes) -> None:
        for number in signals:
            self._signals[number]()

    def _read(self) -> None:
        chunk = os.read(0, _CHUNK_BYTES)
        self._rest += chunk
        if b"\n" in chunk:
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                self._on_line(bytes(line))
        if not chunk:
            self._stdin = None
            self._on_end()
