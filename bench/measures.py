"""The measurements. What is compared takes turns, so that a busy machine is busy for all of it alike."""

import subprocess
import sys
from collections.abc import Callable, Sequence
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
    """Updates per second, and CPU seconds per update of the processes between client and agent."""

    per_s: float
    cpu_s: float | None


class Memory(Struct, frozen=True):
    """MB: the broker after `initialize` and with a session open; its guardian."""

    initialized: float | None
    opened: float | None
    guardian: float | None


class Idle(Struct, frozen=True):
    """KB per session: attended by its client; closed after a turn."""

    attended: float | None
    closed: float | None


def first_output(place: Place, turns: int) -> dict[str, Spread]:
    """From the prompt's first byte written to the first update read. The first block is not counted."""
    with ExitStack() as stack:
        peers = _opened(place, stack)
        took: dict[str, list[float]] = {name: [] for name in peers}
        for done in range(-BLOCK, turns, BLOCK):
            for name, peer in peers.items():
                block = [peer.prompt(FIRST, messages=2).first_s for _ in range(min(BLOCK, turns - done))]
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
    return {name: median_flow(seen) for name, seen in flows.items()}


def memory(place: Place) -> Memory:
    """Idle, without the agent: PSS, in MB."""
    with place.broker() as broker:
        (pid,) = broker.pids
        broker.initialize()
        initialized = proc.memory_mb(pid)
        broker.open(str(place.folder))
        guardian = proc.child(pid, "guardian.py")
        return Memory(initialized, proc.memory_mb(pid), guardian and proc.memory_mb(guardian))


def idle(place: Place, sessions: int) -> Idle:
    """KB that the daemon holds for a session on top of so many, without its agent: PSS."""
    return Idle(_each(place, "agentless.json", sessions, _attend), _each(place, "many.json", sessions, _close))


def start(place: Place, starts: int) -> dict[str, float]:
    """Seconds from the start of a process to its answer to `initialize`; medians."""
    with place.daemon() as daemon:
        ways: dict[str, Callable[[int], float]] = {
            "python": lambda _: _python(place.environ),
            "direct": lambda _: initialized(place.direct),
            "stdio": lambda _: initialized(place.broker),
            "unlearnt": lambda number: initialized(lambda: place.broker(f"fresh-{number}")),
            "relay": lambda _: initialized(lambda: place.relay(daemon)),
        }
        for way in ways.values():
            way(-1)
        took: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(starts):
            for name, way in ways.items():
                took[name].append(way(number))
    return {name: median(times) for name, times in took.items()}


def _opened(place: Place, stack: ExitStack) -> dict[str, Peer]:
    daemon = stack.enter_context(place.daemon())
    peers = {
        "direct": place.direct(),
        "splice": place.splice(),
        "stdio": place.broker(),
        "relay": place.relay(daemon),
        "websocket": place.websocket(daemon),
    }
    for peer in peers.values():
        stack.enter_context(peer)
        peer.initialize()
        peer.open(str(place.folder))
    return peers


def _flooded(peer: Peer, count: int) -> Flow:
    before = proc.cpu_s(*peer.pids)
    took = peer.prompt(FLOOD, messages=count + 2)
    after = proc.cpu_s(*peer.pids)
    cpu_s = None if before is None or after is None else (after - before) / count
    return Flow(count / (took.all_s - took.first_s), cpu_s)


def _each(place: Place, config: str, sessions: int, live: Callable[[Place, Peer], None]) -> float | None:
    with place.daemon(config) as daemon, place.websocket(daemon) as peer:
        peer.initialize()
        for _ in range(sessions // 20):
            live(place, peer)
        before = proc.memory_mb(daemon.pid)
        for _ in range(sessions):
            live(place, peer)
        after = proc.memory_mb(daemon.pid)
    return None if before is None or after is None else (after - before) * 1024 / sessions


def _attend(place: Place, peer: Peer) -> None:
    """Open a session whose agent is not there, and stay."""
    peer.open(str(place.folder))


def _close(place: Place, peer: Peer) -> None:
    """Open a session, run a turn, and close it: its agent goes, it can be loaded again."""
    peer.open(str(place.folder))
    peer.prompt(FIRST, messages=2)
    peer.ask("session/close", {"sessionId": peer.session})


def initialized(way: Callable[[], Peer]) -> float:
    """Seconds from the start of a way to its answer to `initialize`."""
    began = perf_counter()
    with way() as peer:
        peer.initialize()
        return perf_counter() - began


def _python(environ: dict[str, str]) -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True, env=environ)
    return perf_counter() - began


def median_flow(flows: Sequence[Flow]) -> Flow:
    return Flow(median(one.per_s for one in flows), _median_of_known([one.cpu_s for one in flows]))


def _median_of_known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
