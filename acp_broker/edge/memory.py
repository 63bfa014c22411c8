"""A Channel within this process: what `ask` and `demo` speak to the broker through."""

from collections.abc import Callable

from anyio import Event

from acp_broker.edge.channel import OnLines


class MemoryChannel:
    """The broker's end of a connection; `say` and `close` are the frontend's, `on_lines` hears the broker."""

    def __init__(self, on_lines: OnLines) -> None:
        self._hears = on_lines
        self._to_broker: list[bytes] = []
        self._deliver: OnLines | None = None
        self._closed = Event()

    @property
    def pending(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        # Not splitlines: raw JSON may hold a carriage return between two tokens.
        self._hears([line for line in data.split(b"\n") if line])

    def when_drained(self, callback: Callable[[], None]) -> None:
        """It is always drained."""

    def pause(self) -> None:
        """What its frontend says next is in our memory, whoever keeps it."""

    def resume(self) -> None:
        """As `pause`."""

    def charge(self, size: int) -> float:  # noqa: ARG002 - nobody else waits for what this client costs
        return 0.0

    async def run(self, on_lines: OnLines) -> None:
        self._deliver = on_lines
        waiting, self._to_broker = self._to_broker, []
        if waiting:
            on_lines(waiting)
        await self._closed.wait()

    def say(self, data: bytes) -> None:
        """Send one line to the broker."""
        if self._deliver is None:
            self._to_broker.append(data)
        else:
            self._deliver([data])

    def close(self, why: str = "") -> None:  # noqa: ARG002 - its frontend closes it
        """The frontend leaves."""
        self._closed.set()
