"""The measurements as one table: each way to the agent, the broker beside the direct one, and the targets."""

from collections.abc import Sequence

from msgspec import Struct

from bench.measures import Flow, Memory, Spread

HEAD = ("", "direct", "splice", "broker", "ratio", "target", "")

ADDED_MS = 0.15
PER_S = 200_000
MEMORY_MB = 50
LEARNT_MS = 150


class Row(Struct, frozen=True):
    what: str
    direct: str = ""
    splice: str = ""
    broker: str = ""
    ratio: str = ""
    target: str = ""
    verdict: str = ""


def first_output(spread: dict[str, Spread]) -> list[Row]:
    p50 = {name: one.p50 * 1000 for name, one in spread.items()}
    p99 = {name: one.p99 * 1000 for name, one in spread.items()}
    added = p50["broker"] - p50["direct"]
    return [
        Row("first output, p50 ms", *_ways(p50, "{:.3f}"), _ratio(p50)),
        Row("  p50 added to direct", *_added(p50), target=f"< +{ADDED_MS}", verdict=_verdict(added < ADDED_MS)),
        Row("first output, p99 ms", *_ways(p99, "{:.3f}"), _ratio(p99)),
        Row("  p99 added to direct", *_added(p99)),
    ]


def flow(flows: dict[str, Flow]) -> list[Row]:
    per_s = {name: one.per_s for name, one in flows.items()}
    cpu = {name: one.cpu_s * 1e6 for name, one in flows.items() if one.cpu_s is not None}
    is_met = per_s["broker"] >= PER_S
    rows = [Row("updates per second", *_ways(per_s, "{:,.0f}"), _ratio(per_s), f"> {PER_S:,}", _verdict(is_met))]
    return [*rows, Row("CPU per update, us", *_ways(cpu, "{:.2f}"), _ratio(cpu))] if cpu else rows


def memory(idle: Memory) -> list[Row]:
    if idle.initialized is None or idle.opened is None:
        return []
    is_met = idle.opened + (idle.guardian or 0) < MEMORY_MB
    return [
        Row("memory, initialized, MB", broker=f"{idle.initialized:.1f}"),
        Row("memory, session open, MB", broker=f"{idle.opened:.1f}", target=f"< {MEMORY_MB}", verdict=_verdict(is_met)),
        Row("  its guardian, MB", broker=f"{idle.guardian:.1f}" if idle.guardian is not None else "none"),
    ]


def start(took: dict[str, float]) -> list[Row]:
    ms = {name: f"{s * 1000:.0f}" for name, s in took.items()}
    ratio = f"{took['learnt'] / took['direct']:.1f} x"
    is_met = took["learnt"] * 1000 < LEARNT_MS
    return [
        Row("start to initialize, ms", ms["direct"], "", ms["learnt"], ratio, f"< {LEARNT_MS}", _verdict(is_met)),
        Row("  nothing learnt yet", "", "", ms["unlearnt"]),
        Row("  Python alone, for scale", ms["python"]),
    ]


def text(rows: Sequence[Row]) -> str:
    """The rows as columns, the first to the left, the others to the right."""
    cells = [HEAD, *(tuple(getattr(row, field) for field in Row.__struct_fields__) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _ways(values: dict[str, float], shape: str) -> tuple[str, str, str]:
    return shape.format(values["direct"]), shape.format(values["splice"]), shape.format(values["broker"])


def _added(values: dict[str, float]) -> tuple[str, str, str]:
    return "", f"{values['splice'] - values['direct']:+.3f}", f"{values['broker'] - values['direct']:+.3f}"


def _ratio(values: dict[str, float]) -> str:
    return f"{values['broker'] / values['direct']:.2f} x" if values["direct"] else ""


def _verdict(is_met: bool) -> str:  # noqa: FBT001 - the one thing it tells
    return "met" if is_met else "missed"
