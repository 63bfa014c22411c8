"""An agent that says again what a real one once said, as tests/transcripts has it: a child in memory, by a test clock.

Each line comes as long after the client's message before it as it did then. A cancel ends what was still to come.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio

from acp_broker.broker.runtime import Runtime
from acp_broker.clock import Clock, Timer
from acp_broker.contract import Child
from acp_broker.core.names import BackendId, Candidate
from acp_broker.core.turnrules import Limits
from backends import acp

FOLDER = Path(__file__).parents[1] / "transcripts"
PROMPT = "session/prompt"


class Line(NamedTuple):
    """`after_ms`: since the client's message before it."""

    after_ms: int
    said: dict | str


class Transcript(NamedTuple):
    """One turn of a real agent that failed, and healthy ones before it.

    `cues`, by the client's method: what the agent said each time, until the client's next message.
    """

    agent: str
    command: Sequence[str]
    fault: str
    # What its model had said when the provider failed, as far as the agent passed it on.
    words: Sequence[str]
    cues: Mapping[str, Sequence[Sequence[Line]]]

    @property
    def healthy(self) -> int:
        return len(self.cues[PROMPT]) - 1


def read(path: Path) -> Transcript:
    head, *lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    cues: dict[str, list[list[Line]]] = {}
    cue: list[Line] = []
    since = 0
    for line in lines:
        if line["by"] == "client" and "method" in line["said"]:
            cue, since = [], line["at"]
            cues.setdefault(line["said"]["method"], []).append(cue)
        elif line["by"] == "agent":
            cue.append(Line(line["at"] - since, line.get("said", line.get("odd"))))
    return Transcript(head["agent"], head["command"], head["fault"], head["words"], cues)


def runtime(transcript: Transcript, clock: Clock, limits: Limits) -> Runtime:
    """The backend of that agent, as config.json would describe it."""
    settings = acp.AcpConfig(command=tuple(transcript.command))

    async def spawn(*_: object, **__: object) -> Child:
        return Recorded(transcript, clock)

    return Runtime(
        candidate=Candidate(BackendId(transcript.agent)),
        kind="acp",
        fingerprint=transcript.agent,
        environment=lambda *_: {},
        open=partial(acp.open, settings),
        check=lambda _: None,
        spawn=spawn,
        limits=limits,
        is_followed=True,
    )


class Recorded:
    """contract.Child."""

    pid = 0

    def __init__(self, transcript: Transcript, clock: Clock) -> None:
        self.returncode: int | None = None
        self._cues = {method: list(cues) for method, cues in transcript.cues.items()}
        self._clock = clock
        self._on_lines: Callable[[list[bytes]], None] = lambda _: None
        self._coming: list[Timer] = []
        self._over = anyio.Event()
        # The ids of this conversation, by those of the recorded one.
        self._ids: dict[object, object] = {}

    def write(self, data: bytes) -> None:
        for line in data.splitlines():
            message = json.loads(line)
            if "method" in message:
                self._hear(message)

    async def run(self, on_lines: Callable[[list[bytes]], None]) -> None:
        self._on_lines = on_lines
        await self._over.wait()

    def stderr_tail(self) -> str:
        return ""

    async def wait(self) -> int:
        await self._over.wait()
        return self.returncode or 0

    def kill(self) -> None:
        self._hush()
        self.returncode = -9
        self._over.set()

    async def stop(self, *, eof_grace_s: float, term_grace_s: float) -> None:
        self.kill()

    def _hear(self, message: dict) -> None:
        if message["method"] == "session/cancel":
            self._hush()
        else:
            # Requests were numbered from 0 then, in this very order.
            self._ids[len(self._ids)] = message["id"]
        now = self._clock.now()
        self._coming = [
            self._clock.call_at(now + line.after_ms / 1000, partial(self._say, line.said))
            for line in self._cued(message["method"])
        ]

    def _cued(self, method: str) -> Sequence[Line]:
        cues = self._cues.get(method)
        return cues.pop(0) if cues else ()

    def _say(self, said: dict | str) -> None:
        if isinstance(said, dict) and "method" not in said:
            said = {**said, "id": self._ids.get(said["id"], said["id"])}
        self._on_lines([said.encode() if isinstance(said, str) else json.dumps(said).encode()])

    def _hush(self) -> None:
        for timer in self._coming:
            timer.cancel()
