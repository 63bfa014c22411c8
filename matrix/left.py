"""Processes that were started for a cell, found by the marker in their environment."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio

from matrix.place import MARKER

# What the end of a cell may take: some agents answer SIGTERM late, and the kernel takes its time with half a gigabyte.
GRACE_S = 2.0


async def left_over(mark: str) -> tuple[str, ...]:
    """The commands of those which are not gone after a grace. Linux only: elsewhere none is seen."""
    with anyio.move_on_after(GRACE_S):
        while _carrying(mark):  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.1)
    return tuple(_command(pid) for pid in _carrying(mark))


def end_all(mark: str) -> None:
    """Kill them."""
    for pid in _carrying(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _carrying(mark: str) -> list[int]:
    wanted = f"{MARKER}={mark}".encode()
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if wanted in _environ(path) and _lives(path)]


def _environ(path: Path) -> list[bytes]:
    try:
        return (path / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _lives(path: Path) -> bool:
    """A zombie can never act again."""
    try:
        stat = (path / "stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] not in (b"Z", b"X")


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return "?"
