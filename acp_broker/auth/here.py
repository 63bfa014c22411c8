"""What can be seen from this process: the machine, its boot, our pid namespace, and who has a pid.

Without /proc (macOS, a sandbox) a boot, a namespace and the start of a process cannot be seen; a pid still can.
"""

import os
import socket
from functools import cache
from hashlib import sha256
from pathlib import Path

from acp_broker.core.ownership import Gone, Process, Running, Zombie

_ZOMBIE = b"ZX"
_MACHINE_ID = Path("/etc/machine-id")


@cache
def host() -> str:
    """This machine: its name, and what tells it from another of that name. Another's restart is none of ours."""
    name = socket.gethostname()
    try:
        machine = _MACHINE_ID.read_bytes().strip()
    except OSError:
        return name
    # machine-id(5): the id itself is nobody's to see.
    return f"{name}/{sha256(machine).hexdigest()[:8]}" if machine else name


@cache
def boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def namespace() -> str:
    # Not kept: a fork may be in another one.
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")  # noqa: PTH115 - not a path
    except OSError:
        return ""


def process(pid: int) -> Process:
    """Who has this pid in our own namespace."""
    try:
        # A container may be left with the /proc of another namespace, where the pid is somebody else's.
        if os.readlink("/proc/self") != str(os.getpid()):  # noqa: PTH115 - not a path
            return _without_proc(pid)
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return _without_proc(pid)
    # proc(5): the name, in parentheses, may hold anything; field 3 follows the last of them.
    field = raw[raw.rindex(b")") + 2 :].split()
    return Zombie() if field[0] in _ZOMBIE else Running(int(field[19]))


def start() -> int | None:
    """When this process was started, as `process` would say."""
    me = process(os.getpid())
    return me.start if isinstance(me, Running) else None


def _without_proc(pid: int) -> Process:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return Gone()
    except PermissionError:
        # Another user's, or one that a sandbox keeps from us: it is there.
        return Running(None)
    return Running(None)
