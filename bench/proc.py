"""What Linux says of a process. Elsewhere there is no /proc, and nothing to say: None."""

import os
from pathlib import Path


def cpu_s(*pids: int) -> float | None:
    """CPU time of processes so far, user and system, in ticks of 10 ms as a rule."""
    known = [_cpu_s(pid) for pid in pids]
    return sum(one for one in known if one is not None) if None not in known else None


def _cpu_s(pid: int) -> float | None:
    stat = _read(pid, "stat")
    if stat is None:
        return None
    # proc(5): utime and stime are fields 14 and 15; the name before field 3 may hold anything.
    field = stat[stat.rindex(")") + 2 :].split()
    return (int(field[11]) + int(field[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float | None:
    """Its proportional share of memory (PSS), in MB of 2**20 bytes."""
    rollup = _read(pid, "smaps_rollup")
    if rollup is None:
        return None
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


def child(pid: int, word: str) -> int | None:
    """The child with this word in its command line."""
    children = _read(pid, f"task/{pid}/children") or ""
    return next((int(one) for one in children.split() if word in (_read(int(one), "cmdline") or "")), None)


def _read(pid: int, name: str) -> str | None:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return None
