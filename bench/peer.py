"""A client of an ACP agent that is never the bottleneck, with one session."""

from time import perf_counter
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Raw, Struct

from bench.wires import Wire


class _Answer(Struct):
    id: int | None = None
    result: Raw = Raw()


class _Opened(Struct):
    session: str = msgspec.field(name="sessionId")


class Took(Struct, frozen=True):
    """Seconds from the moment the prompt is about to be written: to the first message that comes back, to the last."""

    first_s: float
    all_s: float


class Peer:
    """Use it with `with`: the wire is closed on the way out. `pids` are the processes between client and agent."""

    def __init__(self, wire: Wire, pids: tuple[int, ...]) -> None:
        self.pids = pids
        self.session = ""
        self.wire = wire
        self._last_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wire.close()

    def initialize(self) -> None:
        capabilities = {"fs": {"readTextFile": True, "writeTextFile": True}, "terminal": True}
        self.ask("initialize", {"protocolVersion": 1, "clientCapabilities": capabilities})

    def open(self, cwd: str) -> None:
        opened = self.ask("session/new", {"cwd": cwd, "mcpServers": []})
        self.session = msgspec.json.decode(opened, type=_Opened).session

    def prompt(self, text: str, messages: int) -> Took:
        """Run one turn that is answered with so many messages."""
        request = self._prompt(text)
        began = perf_counter()
        self.wire.send(request)
        left = messages
        while left == messages:
            left -= self.wire.count()
        first = perf_counter()
        while left > 0:
            left -= self.wire.count()
        return Took(first - began, perf_counter() - began)

    def begin(self, text: str) -> None:
        """Send a prompt; what comes back is read from the wire."""
        self.wire.send(self._prompt(text))

    def ask(self, method: str, params: object) -> Raw:
        """The result of a request; whatever comes before it is passed over."""
        self.wire.send(self._request(method, params))
        while True:
            for message in self.wire.listen():
                answer = msgspec.json.decode(message, type=_Answer)
                if answer.id == self._last_id:
                    assert answer.result, message
                    return answer.result

    def _prompt(self, text: str) -> bytes:
        prompt = [{"type": "text", "text": text}]
        return self._request("session/prompt", {"sessionId": self.session, "prompt": prompt})

    def _request(self, method: str, params: object) -> bytes:
        self._last_id += 1
        return msgspec.json.encode({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
