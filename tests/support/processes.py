"""Processes as /proc shows them: found by what their environment says, watched until they are gone."""

import os
import select
import time
from pathlib import Path
from typing import NamedTuple

# Long enough for a loaded machine; nothing is measured by it.
GONE_WITHIN_S = 10.0


class Seen(NamedTuple):
    """A process that lives; with its start time a pid names one process for good."""

    pid: int
    start: int
    parent: int
    command: str


def look(pid: int) -> Seen | None:
    """That process, or None for one that is gone; a zombie is gone: it can never act again."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    # proc(5): the name, in parentheses, may hold anything; field 3 follows the last of them.
    field = raw[raw.rindex(b")") + 2 :].split()
    if field[0] in b"ZX":
        return None
    return Seen(pid, int(field[19]), int(field[1]), command.replace(b"\0", b" ").decode(errors="replace").strip())


def carrying(*entries: str) -> list[Seen]:
    """Every process that was started with one of these in its environment, each `NAME=value`; the oldest first."""
    wanted = {entry.encode() for entry in entries}
    return sorted((seen for seen in _all() if wanted & _environment(seen.pid)), key=lambda seen: seen.start)


def guardians_of(broker: Seen) -> list[Seen]:
    """The guardian of a broker, which may be dead: its marker names the broker's pid and start time."""
    middle = f".{broker.pid}.{broker.start}.".encode()
    return [
        seen
        for seen in _all()
        if any(entry.startswith(b"ACP_BROKER_GUARDIAN=") and middle in entry for entry in _environment(seen.pid))
    ]


def wait_gone(seen: Seen, deadline: float) -> bool:
    """Wait until it is dead, at most until `deadline` (monotonic)."""
    try:
        handle = os.pidfd_open(seen.pid)
    except ProcessLookupError:
        return True
    try:
        now = look(seen.pid)
        if now is None or now.start != seen.start:
            return True
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(handle)


def still_there(*entries: str, broker: Seen | None = None, within_s: float = GONE_WITHIN_S) -> list[Seen]:
    """Who carries one of these entries, or guards `broker`, and is not gone within that time. To be asserted empty."""
    deadline = time.monotonic() + within_s
    while True:
        found = carrying(*entries) + (guardians_of(broker) if broker is not None else [])
        if not found or not all(wait_gone(seen, deadline) for seen in found):
            return found


def _all() -> list[Seen]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [seen for seen in map(look, pids) if seen is not None and seen.pid != os.getpid()]


def _environment(pid: int) -> frozenset[bytes]:
    try:
        return frozenset(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return frozenset()


def memory_kb(pid: int) -> int:
    """Its proportional share of memory (PSS)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
