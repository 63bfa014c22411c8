"""The measurements before a provider as a table: what each way adds to asking it directly, and the targets."""

from bench.provided import Provided
from bench.table import Row, shaped, target

WAYS = ("socket", "httpx2", "pass-through", "stdio", "websocket", "litellm")

ADDED_MS, ADDED_P99_MS = 0.6, 2.0
CROWD_MS = 8.0
PER_S = 40_000
FAILOVER_MS = 1.0
# Whom they are for.
_OURS = "websocket"


def rows(took: Provided) -> list[Row]:
    return [*_first_output(took), *_crowd(took), *_flow(took), *_failed(took)]


def _first_output(took: Provided) -> list[Row]:
    p50 = {name: one.p50 * 1000 for name, one in took.one.items()}
    p99 = {name: one.p99 * 1000 for name, one in took.one.items()}
    return [
        Row("first output, p50 ms", shaped("{:.3f}", p50)),
        Row("  added to a socket", shaped("{:+.3f}", _added(p50, "socket"))),
        Row("  added to httpx2", shaped("{:+.3f}", _added(p50, "httpx2"))),
        _ours("< +{}", ADDED_MS, is_met=_added(p50, "httpx2")[_OURS] < ADDED_MS),
        Row("first output, p99 ms", shaped("{:.3f}", p99)),
        Row("  added to httpx2", shaped("{:+.3f}", _added(p99, "httpx2"))),
        _ours("< +{}", ADDED_P99_MS, is_met=_added(p99, "httpx2")[_OURS] < ADDED_P99_MS),
    ]


def _crowd(took: Provided) -> list[Row]:
    return [
        Row("50 paced streams, p50 ms", shaped("{:.1f}", {name: one.p50 * 1000 for name, one in took.crowd.items()})),
        _ours("< {}", CROWD_MS, is_met=took.crowd[_OURS].p50 * 1000 < CROWD_MS),
        Row("50 paced streams, p99 ms", shaped("{:.1f}", {name: one.p99 * 1000 for name, one in took.crowd.items()})),
    ]


def _flow(took: Provided) -> list[Row]:
    found: list[Row] = []
    for what, flows in (("chunks per second, 50 streams", took.streams), ("chunks per second, a flood", took.flood)):
        cpu = {name: one.cpu_s * 1e6 for name, one in flows.items() if one.cpu_s is not None}
        found += [
            Row(what, shaped("{:,.0f}", {name: one.per_s for name, one in flows.items()})),
            _ours("> {:,}", PER_S, is_met=flows[_OURS].per_s > PER_S),
            Row("  CPU per chunk, us", shaped("{:.1f}", cpu)),
        ]
    return found


def _failed(took: Provided) -> list[Row]:
    added = {name: seconds * 1000 for name, seconds in took.failed.items()}
    ways = {"503": "websocket", "refused": "stdio"}
    return [
        Row("failover adds, p50 ms", {}),
        *(Row(f"  {name}", {ways[name]: f"{ms:+.3f}"}) for name, ms in added.items()),
        target(
            "< +{}", dict.fromkeys(ways.values(), FAILOVER_MS), {ways[n]: ms < FAILOVER_MS for n, ms in added.items()}
        ),
    ]


def _added(values: dict[str, float], to: str) -> dict[str, float]:
    less = ("socket", "httpx2")
    return {name: value - values[to] for name, value in values.items() if name not in less}


def _ours(shape: str, limit: float, *, is_met: bool) -> Row:
    return target(shape, {_OURS: limit}, {_OURS: is_met})
