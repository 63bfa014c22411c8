"""The four measurements. What is compared takes turns, so that a busy machine is busy for all of it alike."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median, quantiles
from time import perf_counter

from msgspec import Struct

from bench import proc
from bench.peer import Peer
from bench.place import FIRST, FLOOD, Place

# Turns of one peer in a row, before the next peer's: each has a processor's caches to itself for as long.
BLOCK = 25


class Spread(Struct, frozen=True):
    """Seconds: the middle, and what one in a hundred is above."""

    p50: float
    p99: float


class Flow(Struct, frozen=True):
    """Updates per second, and CPU seconds per update of the process that the client talks to."""

    per_s: float
    cpu_s: float | None


class Memory(Struct, frozen=True):
    """MB: the broker after `initialize` and with a session open; its guardian."""

    initialized: float | None
    opened: float | None
    guardian: float | None


def first_output(place: Place, turns: int) -> dict[str, Spread]:
    """From the prompt's first byte written to the first byte of an update read. The first block is not counted."""
    with ExitStack() as stack:
        peers = _opened(place, stack)
        took: dict[str, list[float]] = {name: [] for name in peers}
        for done in range(-BLOCK, turns, BLOCK):
            for name, peer in peers.items():
                block = [peer.prompt(FIRST, lines=2).first_s for _ in range(min(BLOCK, turns - done))]
                took[name] += block if done >= 0 else []
    return {name: Spread(median(times), quantiles(times, n=100)[98]) for name, times in took.items()}


def flow(place: Place, rounds: int) -> dict[str, Flow]:
    """A flood of small updates in one turn, after its first chunk; medians of the rounds."""
    with ExitStack() as stack:
        peers = _opened(place, stack)
        flows: dict[str, list[Flow]] = {name: [] for name in peers}
        for _ in range(rounds):
            for name, peer in peers.items():
                flows[name].append(_flooded(peer, place.flood))
    return {
        name: Flow(median(one.per_s for one in seen), _median_of_known([one.cpu_s for one in seen]))
        for name, seen in flows.items()
    }


def memory(place: Place) -> Memory:
    """Idle, without the agent: PSS, in MB."""
    with place.broker() as broker:
        broker.initialize()
        initialized = proc.memory_mb(broker.pid)
        broker.open(str(place.folder))
        guardian = proc.child(broker.pid, "guardian.py")
        return Memory(initialized, proc.memory_mb(broker.pid), guardian and proc.memory_mb(guardian))


def start(place: Place, starts: int) -> dict[str, float]:
    """Seconds from the start of a process to its answer to `initialize`; medians."""
    ways: dict[str, Callable[[int], float]] = {
        "python": lambda _: _python(place.environ),
        "direct": lambda _: _initialized(place.direct()),
        "learnt": lambda _: _initialized(place.broker()),
        "unlearnt": lambda number: _initialized(place.broker(f"fresh-{number}")),
    }
    for way in ways.values():
        way(-1)
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(starts):
        for name, way in ways.items():
            took[name].append(way(number))
    return {name: median(times) for name, times in took.items()}


def _opened(place: Place, stack: ExitStack) -> dict[str, Peer]:
    peers = {"direct": place.direct(), "splice": place.splice(), "broker": place.broker()}
    for peer in peers.values():
        stack.enter_context(peer)
        peer.initialize()
        peer.open(str(place.folder))
    return peers


def _flooded(peer: Peer, count: int) -> Flow:
    before = proc.cpu_s(peer.pid)
    took = peer.prompt(FLOOD, lines=count + 2)
    after = proc.cpu_s(peer.pid)
    cpu_s = None if before is None or after is None else (after - before) / count
    return Flow(count / (took.all_s - took.first_s), cpu_s)


def _initialized(peer: Peer) -> float:
    with peer:
        return peer.initialize()


def _python(environ: dict[str, str]) -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True, env=environ)
    return perf_counter() - began


def _median_of_known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
