"""What the broker costs before a provider without an agent, beside other ways to the same provider."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median, quantiles

from msgspec import Struct

from bench import proc
from bench.asking import Asker, Httpx, Post, Raw, Turn
from bench.measures import BLOCK, Flow, Spread, median_flow
from bench.peer import Peer
from bench.place import PROVIDER, Place
from bench.responder import RUN
from tests.support import litellm

# Streams that start together.
CROWD = 50
# Some 25 MB.
_MOST_FLOOD = 100_000


class Provided(Struct, frozen=True):
    """By way. `failed` are seconds that a failover adds, by fault."""

    one: Mapping[str, Spread]
    crowd: Mapping[str, Spread]
    streams: Mapping[str, Flow]
    flood: Mapping[str, Flow]
    failed: Mapping[str, float]


def provided(place: Place, turns: int, rounds: int, starts: int, *, has_litellm: bool) -> Provided:
    with ExitStack() as stack:
        words = min(place.flood, _MOST_FLOOD)
        port, _ = stack.enter_context(_listening("bench.responder", str(words)))
        place.provide(port, port)
        ways = _ways(place, stack, port)
        if has_litellm:
            ways["litellm"] = _litellm(place, stack, port)
        many = {name: way for name, way in ways.items() if name != "stdio"}
        fast = {name: way for name, way in many.items() if name != "litellm"}
        one = _first_output(ways, turns)
        crowd = _crowds(many, rounds)
        streams = _flows(many, rounds, "run", CROWD, CROWD * RUN)
        flood = _flows(fast, rounds, "flood", 1, words)
        failed = {"503": _failover(ways["websocket"], turns)}
    return Provided(one, crowd, streams, flood, {**failed, "refused": _refused(place, starts)})


def _litellm(place: Place, stack: ExitStack, port: int) -> Asker:
    params = {"model": "openai/drill-model", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "none"}
    proxy = stack.enter_context(litellm.litellm(place.folder, {"drill-model": params}))
    url = f"{proxy.url}/v1/chat/completions"
    return _warm(stack, Raw([Post(url, litellm.KEY) for _ in range(CROWD)], (proxy.pid,)))


def _ways(place: Place, stack: ExitStack, port: int) -> dict[str, Asker]:
    through, through_pid = stack.enter_context(_listening("bench.passthrough", str(port)))
    daemon = stack.enter_context(place.daemon(PROVIDER))
    ways: dict[str, Asker] = {
        "socket": Raw([Post(_chat(port)) for _ in range(CROWD)]),
        "httpx2": Httpx(_chat(port)),
        "pass-through": Raw([Post(_chat(through)) for _ in range(CROWD)], (through_pid,)),
        "stdio": Raw([_turn(place, place.broker("providers", PROVIDER))]),
        "websocket": Raw([_turn(place, place.websocket(daemon)) for _ in range(CROWD)], (daemon.pid,)),
    }
    return {name: _warm(stack, way) for name, way in ways.items()}


def _warm(stack: ExitStack, way: Asker) -> Asker:
    stack.callback(way.close)
    way.fresh()
    way.ask("first", CROWD)
    return way


def _turn(place: Place, peer: Peer) -> Turn:
    peer.initialize()
    return Turn(peer, str(place.folder))


def _first_output(ways: Mapping[str, Asker], turns: int) -> dict[str, Spread]:
    """Each block in a conversation of its own, whose first turn is not counted."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for done in range(-BLOCK, turns, BLOCK):
        for name, way in ways.items():
            way.fresh()
            way.ask("first")
            block = [way.ask("first").firsts[0] for _ in range(min(BLOCK, turns - done))]
            took[name] += block if done >= 0 else []
    return {name: _spread(times) for name, times in took.items()}


def _crowds(ways: Mapping[str, Asker], rounds: int) -> dict[str, Spread]:
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way.fresh()
            way.ask("first", CROWD)
            took[name].extend(way.ask("paced", CROWD).firsts)
    return {name: _spread(firsts) for name, firsts in took.items()}


def _flows(ways: Mapping[str, Asker], rounds: int, show: str, count: int, words: int) -> dict[str, Flow]:
    flows: dict[str, list[Flow]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way.fresh()
            way.ask("first", count)
            before = proc.cpu_s(*way.pids)
            took = way.ask(show, count)
            after = proc.cpu_s(*way.pids)
            cpu_s = None if before is None or after is None or not way.pids else (after - before) / words
            flows[name].append(Flow(words / took.all_s, cpu_s))
    return {name: median_flow(flow) for name, flow in flows.items()}


def _failover(way: Asker, turns: int) -> float:
    """What a turn takes longer whose primary answers with 503, than one that it answers itself."""
    took: dict[str, list[float]] = {"first": [], "fail": []}
    for number in range(turns):
        if number % BLOCK == 0:
            way.fresh()
            for show in took:
                way.ask(show)
        for show, times in took.items():
            times.extend(way.ask(show).firsts)
    return median(took["fail"]) - median(took["first"])


def _refused(place: Place, starts: int) -> float:
    """What a turn takes longer whose primary has gone, than the next ones, which leave it alone."""
    added: list[float] = []
    with _listening("bench.responder") as (spare, _):
        for number in range(starts):
            with _listening("bench.responder") as (primary, _):
                place.provide(primary, spare)
                way = Raw([_turn(place, place.broker(f"failing-{number}", PROVIDER))])
                way.fresh()
                for show in ("first", "fail") * 5:
                    way.ask(show)
            refused = way.ask("first").firsts[0]
            added.append(refused - median(way.ask("first").firsts[0] for _ in range(9)))
            way.close()
    return median(added)


def _spread(times: list[float]) -> Spread:
    return Spread(median(times), quantiles(times, n=100)[98])


@contextmanager
def _listening(module: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """A program of this folder that prints its port: that, and its pid."""
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


def _chat(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1/chat/completions"
