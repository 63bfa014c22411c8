"""The measurements as one table: each way to the agent, what it adds to the direct one, and the targets."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from bench.measures import Flow, Idle, Memory, Spread
from bench.stored import Stored

WAYS = ("direct", "splice", "stdio", "relay", "websocket")

ADDED_MS = {"stdio": 0.15, "relay": 0.2, "websocket": 0.4}
PER_S = {"stdio": 200_000, "websocket": 60_000}
MEMORY_MB = 50
IDLE_KB = 32
START_MS = {"stdio": 150, "relay": 60}


class Row(Struct, frozen=True):
    """A cell for each way that has something to say."""

    what: str
    cells: Mapping[str, str]


def first_output(spread: Mapping[str, Spread]) -> list[Row]:
    p50 = {name: one.p50 * 1000 for name, one in spread.items()}
    p99 = {name: one.p99 * 1000 for name, one in spread.items()}
    added = _added(p50)
    return [
        Row("first output, p50 ms", shaped("{:.3f}", p50)),
        Row("  added to direct", shaped("{:+.3f}", added)),
        target("< +{}", ADDED_MS, {name: added[name] < most for name, most in ADDED_MS.items()}),
        Row("first output, p99 ms", shaped("{:.3f}", p99)),
        Row("  added to direct", shaped("{:+.3f}", _added(p99))),
    ]


def flow(flows: Mapping[str, Flow]) -> list[Row]:
    per_s = {name: one.per_s for name, one in flows.items()}
    cpu = {name: one.cpu_s * 1e6 for name, one in flows.items() if one.cpu_s is not None}
    ratio = {name: value / per_s["direct"] for name, value in per_s.items() if name != "direct"}
    rows = [
        Row("updates per second", shaped("{:,.0f}", per_s)),
        Row("  times direct", shaped("{:.2f}", ratio)),
        target("> {:,}", PER_S, {name: per_s[name] > least for name, least in PER_S.items()}),
    ]
    return [*rows, Row("CPU per update, us", shaped("{:.2f}", cpu))] if cpu else rows


def memory(idle: Memory) -> list[Row]:
    if idle.initialized is None or idle.opened is None:
        return []
    is_met = idle.opened + (idle.guardian or 0) < MEMORY_MB
    return [
        Row("memory, initialized, MB", {"stdio": f"{idle.initialized:.1f}"}),
        Row("memory, session open, MB", {"stdio": f"{idle.opened:.1f}"}),
        Row("  its guardian, MB", {"stdio": f"{idle.guardian:.1f}" if idle.guardian is not None else "none"}),
        target("< {}", {"stdio": MEMORY_MB}, {"stdio": is_met}),
    ]


def idle(kb: Idle) -> list[Row]:
    if kb.attended is None or kb.closed is None:
        return []
    return [
        Row("memory per idle session, KB", {"websocket": f"{kb.attended:.1f}"}),
        target("< {}", {"websocket": IDLE_KB}, {"websocket": kb.attended < IDLE_KB}),
        Row("  closed after a turn", {"websocket": f"{kb.closed:.1f}"}),
    ]


def start(took: Mapping[str, float]) -> list[Row]:
    ms = {name: s * 1000 for name, s in took.items()}
    return [
        Row("start to initialize, ms", shaped("{:.0f}", {name: ms[name] for name in ("direct", "stdio", "relay")})),
        target("< {}", START_MS, {name: ms[name] < most for name, most in START_MS.items()}),
        Row("  nothing learnt yet", shaped("{:.0f}", {"stdio": ms["unlearnt"]})),
        Row("  Python alone, for scale", shaped("{:.0f}", {"direct": ms["python"]})),
    ]


def stored(took: Stored) -> list[Row]:
    ms = {name: f"{value * 1000:.2f}" for name, value in msgspec.structs.asdict(took).items()}
    return [
        Row("full folder, start, ms", {"stdio": ms["start"]}),
        Row("  first list, ms", {"stdio": ms["first_list"]}),
        Row("  next list, ms", {"stdio": ms["next_list"]}),
        Row("  resume a long session, ms", {"stdio": ms["resume"]}),
        Row("  first output there, ms", {"stdio": ms["long"]}),
        Row("  first output in a new one, ms", {"stdio": ms["new"]}),
    ]


def text(rows: Sequence[Row], ways: Sequence[str] = WAYS) -> str:
    """The rows as columns, the first to the left, the others to the right."""
    cells = [("", *ways), *((row.what, *(row.cells.get(way, "") for way in ways)) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(ways) + 1)]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _added(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value - values["direct"] for name, value in values.items() if name != "direct"}


def shaped(shape: str, values: Mapping[str, float]) -> dict[str, str]:
    return {name: shape.format(value) for name, value in values.items()}


def target(shape: str, limits: Mapping[str, float], is_met: Mapping[str, bool]) -> Row:
    verdicts = {True: "met", False: "missed"}
    return Row("  target", {name: f"{shape.format(limit)} {verdicts[is_met[name]]}" for name, limit in limits.items()})
