"""Markers: which broker a process belongs to, and the left-overs of brokers that are dead.

A marker is `boot.namespace.pid.start.nonce.serial`: all that it takes to judge the broker without asking anybody. A
process is swept only when the broker that its marker names is provably dead: same boot, same pid namespace, and the pid
gone, a zombie, or started at another time. Everything else is left alone.
"""

import os
from pathlib import Path
from typing import NamedTuple

from acp_broker.edge import guardian
from acp_broker.edge.guardian import Seen


class Origin(NamedTuple):
    """The broker in a marker. A pid and a start time mean something only within one boot and one pid namespace."""

    boot: str
    namespace: str
    pid: int
    start: int


def origin() -> Origin:
    """This process, as its children's markers name it. Without /proc nothing is swept and the pid is all there is."""
    here = guardian.look(os.getpid())
    if here is None:
        return Origin("-", "-", os.getpid(), 0)
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")  # noqa: PTH115 - not a path
    except OSError:  # a sandbox that hides them; what it shows us are processes of this boot and namespace
        boot = namespace = "-"
    return Origin(boot, namespace, here.pid, here.start)


def new_marker(here: Origin) -> str:
    """A marker without its serial: the nonce keeps two households of one process apart."""
    return ".".join([*map(str, here), os.urandom(4).hex()])


def read(marker: str) -> Origin | None:
    match marker.split("."):
        case [boot, namespace, pid, start, _nonce, _serial] if pid.isdecimal() and start.isdecimal():
            return Origin(boot, namespace, int(pid), int(start))
        case _:
            return None


def is_dead(broker: Origin, here: Origin) -> bool:
    """Whether that broker is provably dead; False when it cannot be judged from here."""
    if (broker.boot, broker.namespace) != (here.boot, here.namespace):
        return False
    seen = guardian.look(broker.pid)
    if seen is not None:
        return seen.is_dead or seen.start != broker.start
    try:
        os.kill(broker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # mounted with hidepid, /proc shows no processes of other users
        return False
    return False


def sweep() -> list[str]:
    """End what dead brokers of our own user left behind; say what it was, a line each. Not for the event loop."""
    if not guardian.HAS_PROC:
        return []
    here = origin()

    def is_orphaned(marker: str) -> bool:
        broker = read(marker)
        return broker is not None and is_dead(broker, here)

    def find() -> list[Seen]:
        return guardian.kin(guardian.everyone(), {}, is_orphaned)

    names = {seen[:2]: f"{seen.pid} ({_name(seen.pid)})" for seen in find() if not seen.is_dead}
    ended = guardian.end(find)
    return [names.get(seen[:2], str(seen.pid)) for seen in ended.gone if not seen.is_dead]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "gone"
