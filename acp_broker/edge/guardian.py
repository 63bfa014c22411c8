"""Who belongs to a child, how all of it is ended, and the small process that does so when the broker is killed.

A child of ours starts a session and carries a marker in its environment. To it belongs, and may be killed:

    its session     every process in it, whatever its group; only setsid() leaves a session
    descendants     as long as their parents live, wherever they went
    the marked      whoever inherited the marker: setsid() and a double fork do not shake it off

A process is known by pid *and* start time and signalled through a pidfd, so a recycled pid is never hit. All of it is
frozen before any of it is killed: what is stopped cannot fork, and nobody loses a parent before he was seen.

Not found: a process that left the session and replaced its environment, once its parents are dead. Nor one that forks
and exits faster than we look. One under another user is found by session and parents, but may not be ours to kill.
Without /proc (macOS) only process groups are ended.

Run as a script (`python -I -S guardian.py MARKER`) this file is the guardian. It imports only the standard library and
must never signal anything but what the rules above find.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

VARIABLE = "ACP_BROKER_CHILD"
HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 - pathlib would triple the guardian's start

# SIGKILL works at once unless the kernel itself is stuck (a dead network disk); then waiting longer is no use.
END_LIMIT_S = 5.0
# A child between fork and exec still has the broker's environment: so one look that finds nothing proves nothing.
QUIET_LOOKS = 3
LOOK_EVERY_S = 0.1
GIVE_UP_S = 30.0

IsOurs = Callable[[str], bool]


class Seen(NamedTuple):
    """A process as /proc showed it. `start` is in clock ticks since boot; with the pid it names one process for good.

    `has_environment` is False while an exec is under way, and for a process whose memory we may not read.
    """

    pid: int
    start: int
    parent: int
    session: int
    is_dead: bool
    has_environment: bool


class Ended(NamedTuple):
    """`gone` can never act again; `left` could not be killed."""

    gone: list[Seen]
    left: list[Seen]


Find = Callable[[], list[Seen]]


def look(pid: int) -> Seen | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - as above
            raw = file.readall()
    except OSError:
        return None
    # proc(5): the name, in parentheses, may hold anything; field 3 follows the last of them.
    field = raw[raw.rindex(b")") + 2 :].split()
    return Seen(pid, int(field[19]), int(field[1]), int(field[3]), field[0] in b"ZX", field[48] != b"0")


def everyone() -> dict[int, Seen]:
    """Every process that /proc shows us; takes milliseconds, so not for the event loop."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - as above
    return {seen.pid: seen for seen in map(look, pids) if seen}


def environment(pid: int) -> list[bytes]:
    """The NAME=value entries a process of our own user was started with; nothing of anybody else's."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - as above
            return file.readall().split(b"\0") if os.fstat(file.fileno()).st_uid == os.geteuid() else []
    except OSError:
        return []


def marker_of(pid: int) -> str:
    name = f"{VARIABLE}=".encode()
    return next(
        (entry[len(name) :].decode(errors="replace") for entry in environment(pid) if entry.startswith(name)), ""
    )


def kin(people: Mapping[int, Seen], roots: Mapping[int, int], is_ours: IsOurs) -> list[Seen]:
    """Everything that belongs to the roots (pid to start time; a root may be dead) or whose marker is ours.

    Never this process itself, and nobody only because this process is his parent.
    """
    me = os.getpid()
    found = {pid for pid, start in roots.items() if pid not in people or people[pid].start == start}
    found |= {pid for pid in people if is_ours(marker_of(pid))}
    found.discard(me)
    fresh = found
    while fresh:
        fresh = {
            seen.pid
            for seen in people.values()
            if seen.pid not in found and seen.pid != me and (seen.parent in found or seen.session in found)
        }
        found |= fresh
    return [people[pid] for pid in found if pid in people]


def kill(find: Find, limit_s: float) -> list[Seen]:
    """Freeze all that `find` finds until it finds nobody new, then kill it; returns whom, dead or not yet."""
    deadline = time.monotonic() + limit_s
    known: dict[tuple[int, int], Seen] = {}
    while fresh := [seen for seen in find() if seen[:2] not in known]:
        for seen in fresh:
            known[seen[:2]] = seen
            send(seen, signal.SIGSTOP)
        if time.monotonic() > deadline:  # it forks faster than we look; what is left is killed unfrozen
            break
    for seen in known.values():
        send(seen, signal.SIGKILL)
    return list(known.values())


def end(find: Find, limit_s: float = END_LIMIT_S) -> Ended:
    """Kill all that `find` finds and wait until it is dead."""
    deadline = time.monotonic() + limit_s
    ended = Ended([], [])
    for seen in kill(find, limit_s):
        may_kill = send(seen, signal.SIGKILL)
        (ended.gone if is_gone_by(seen, deadline if may_kill else 0) else ended.left).append(seen)
    return ended


def ask(find: Find, grace_s: float) -> None:
    """Send SIGTERM to all that is found and give it some time to leave; returns as soon as it has."""
    deadline = time.monotonic() + grace_s
    asked = find()
    for seen in asked:
        send(seen, signal.SIGTERM)
    for seen in asked:
        is_gone_by(seen, deadline)


def send(seen: Seen, number: int) -> bool:
    """Signal exactly this process, if it still is; False when we may not."""
    try:
        handle = _handle(seen)
        if handle is None:
            os.kill(seen.pid, number)
            return True
        try:
            signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


def is_gone_by(seen: Seen, deadline: float) -> bool:
    """Wait until the process is dead, at most until `deadline` (monotonic); a zombie is dead."""
    try:
        handle = _handle(seen)
    except ProcessLookupError:
        return True
    if handle is None:
        while _is_still(seen) and time.monotonic() < deadline:
            time.sleep(0.005)
        return not _is_still(seen)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(max(0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(handle)


def _handle(seen: Seen) -> int | None:
    """A pidfd of exactly this process, None where there are none. Raises ProcessLookupError when it is gone."""
    try:
        handle = os.pidfd_open(seen.pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):  # an old kernel, a Python built on one, or a sandbox that forbids it
        handle = None
    # The handle pins the process; if it has the start time that was judged, it is the one that was judged.
    now = look(seen.pid)
    if now is None or now.start != seen.start:
        if handle is not None:
            os.close(handle)
        raise ProcessLookupError
    return handle


def _is_still(seen: Seen) -> bool:
    now = look(seen.pid)
    return now is not None and now.start == seen.start and not now.is_dead


def main(marker: str) -> None:
    """Wait until the broker is dead, which closes our stdin; then end what belongs to it.

    A line is `+PID START` for a child that began and `-PID START` for one that was ended.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    told: dict[int, int] = {}
    for line in sys.stdin.buffer:
        pid, start = map(int, line[1:].split())
        if line.startswith(b"+"):
            told[pid] = start
        else:
            told.pop(pid, None)
    if HAS_PROC:
        _end_quietly(lambda: kin(everyone(), told, lambda mark: mark.startswith(f"{marker}.")))
    else:
        end_groups(told)


def end_groups(leaders: Mapping[int, int]) -> None:
    """SIGKILL to these process groups: all that can be done without /proc."""
    for pid in leaders:
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
            continue


def _end_quietly(find: Find) -> None:
    quiet, deadline = 0, time.monotonic() + GIVE_UP_S
    while quiet < QUIET_LOOKS and time.monotonic() < deadline:
        ended = end(find)
        quiet = quiet + 1 if all(seen.is_dead for seen in ended.gone + ended.left) else 0
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    main(sys.argv[1])
