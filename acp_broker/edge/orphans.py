"""Orphans of our children: on Linux they become our children instead of init's, and their zombies ours to bury.

We may not wait for just any child: asyncio, subprocess or a program that embeds us waits for its own. So a zombie is
taken only if it is in another session than ours, is not a child of the household, and nobody else took it between two
looks, which are REAP_EVERY_S apart.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from acp_broker.edge import guardian

# A zombie costs a slot in the process table and nothing else.
REAP_EVERY_S = 30.0
# <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37


class Adoption:
    """While it is open, this process is the subreaper of its descendants. Does nothing on macOS."""

    def __init__(self, is_own: Callable[[int], bool]) -> None:
        self._is_own = is_own
        self._unclaimed: set[tuple[int, int]] = set()
        self._was_subreaper = _set_subreaper(is_on=True)
        self._timer = asyncio.get_running_loop().call_later(REAP_EVERY_S, self._tick)

    def close(self) -> None:
        self._timer.cancel()
        _set_subreaper(is_on=self._was_subreaper)

    def bury(self) -> None:
        """Reap the zombies that were there at the last call too; takes microseconds."""
        session = os.getsid(0)
        zombies = {
            seen[:2]
            for seen in map(guardian.look, _children())
            if seen and seen.is_dead and seen.session != session and not self._is_own(seen.pid)
        }
        for pid, _ in zombies & self._unclaimed:
            reap(pid)
        self._unclaimed = zombies

    def _tick(self) -> None:
        self.bury()
        self._timer = asyncio.get_running_loop().call_later(REAP_EVERY_S, self._tick)


def reap(pid: int) -> None:
    """Bury a dead child of ours; does nothing for a process that is somebody else's, or alive."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return


def _children() -> Iterator[int]:
    """Our living and dead children, whichever thread started them; none where the kernel does not list them."""
    for children in Path("/proc/self/task").glob("*/children"):
        try:
            pids = children.read_text().split()
        except OSError:  # the thread has just ended
            continue
        yield from map(int, pids)


def _set_subreaper(*, is_on: bool) -> bool:
    """Returns what it was before. Also after SIGKILL to us nothing has to be undone: it ends with the process."""
    if sys.platform != "linux":
        return False
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    was_on = ctypes.c_int()
    none = ctypes.c_ulong()
    prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(was_on), none, none, none)
    prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(is_on), none, none, none)
    return bool(was_on.value)
