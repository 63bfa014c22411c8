"""What a state folder full of sessions costs: the start, the list, and the next prompt in a very long session."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec
from msgspec import Struct

from acp_broker.store import records
from bench.measures import initialized
from bench.peer import Peer
from bench.place import FIRST, Place

STATE = "stored"
# One update of the long session.
WORDS = "word " * 40
PROMPTS = 100
LISTS = 3


class Stored(Struct, frozen=True):
    """Seconds. `start` with this folder, `first_list` without an index, `next_list` with one; `resume` of the long
    session, and the first output in it and in a new one."""

    start: float
    first_list: float
    next_list: float
    resume: float
    long: float
    new: float


def stored(place: Place, sessions: int, megabytes: int, starts: int) -> Stored:
    long = _fill(place.folder / STATE / "sessions", str(place.folder), sessions, megabytes)
    initialized(lambda: place.broker(STATE))  # learns the agent
    start = median(initialized(lambda: place.broker(STATE)) for _ in range(starts))
    with place.broker(STATE) as peer:
        peer.initialize()
        first_list = _asked(peer, "session/list", {})
        next_list = median(_asked(peer, "session/list", {}) for _ in range(LISTS))
        resume = _asked(peer, "session/resume", {"sessionId": long, "cwd": str(place.folder), "mcpServers": []})
        peer.session = long
        in_long = _first_output(peer)
        peer.open(str(place.folder))
        return Stored(start, first_list, next_list, resume, in_long, _first_output(peer))


def _first_output(peer: Peer) -> float:
    peer.prompt(FIRST, messages=2)  # waits for the agent
    return median(peer.prompt(FIRST, messages=2).first_s for _ in range(PROMPTS))


def _asked(peer: Peer, method: str, params: object) -> float:
    began = perf_counter()
    peer.ask(method, params)
    return perf_counter() - began


def _fill(folder: Path, cwd: str, sessions: int, megabytes: int) -> str:
    """Write so many short logs and one long one; the name of that."""
    folder.mkdir(parents=True, mode=0o700)
    names = [f"acpb-{number:024x}" for number in range(sessions + 1)]
    for name in names:
        (folder / f"{name}.jsonl").write_bytes(b"".join(_turn(name, cwd, updates=3)))
    update = b"".join(_turn(names[0], cwd, updates=5000))
    with (folder / f"{names[0]}.jsonl").open("ab") as file:
        for _ in range(megabytes * 1_000_000 // len(update) + 1):
            file.write(update)
    return names[0]


def _turn(name: str, cwd: str, updates: int) -> Iterator[bytes]:
    yield records.line("opened", format=records.FORMAT, at=1.0, session=name, cwd=cwd)
    yield records.line("accepted", turn="t", at=1.0, prompt=[{"type": "text", "text": "hello"}], rest={}, rules={})
    content = {"type": "text", "text": WORDS}
    update = {"sessionUpdate": "agent_message_chunk", "messageId": "m", "content": content}
    shown = msgspec.json.encode({"sessionId": name, "update": update})
    for _ in range(updates):
        yield records.step_line("t", 0.0, b"{}", b"[]", [shown])
    frame = {"jsonrpc": "2.0", "id": 1, "result": {"stopReason": "end_turn"}}
    yield records.line("answer", to=1, turn="t", at=1.0, frame=frame)
