"""The descriptors that we were started with. Each command loads this as it starts: nothing but the standard library.

After `claim`, nothing else in the process can reach the frontend: whatever prints goes to stderr.
"""

import os
import sys


def ensure() -> None:
    """Open what of fd 0, 1 and 2 was closed, as /dev/null: else the next file that is opened would take its place."""
    for fd in (0, 1, 2):
        _ensure_open(fd)
    if sys.stdout is None:  # Python found fd 1 closed when it started
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def claim() -> tuple[int, int]:
    """Take fd 0 and fd 1 for the protocol; return the descriptors to read and write.

    Afterwards fd 0 is /dev/null and fd 1 is stderr, for us and for every child that would inherit them.
    """
    ensure()
    read_fd, write_fd = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return read_fd, write_fd


def _ensure_open(fd: int) -> None:
    # Started with a closed descriptor (`0<&-`), the next file we open would silently become stdin or stdout.
    try:
        os.fstat(fd)
    except OSError:
        lowest = os.open(os.devnull, os.O_RDWR)
        assert lowest == fd, "POSIX: open returns the lowest descriptor that is free"
        os.set_inheritable(fd, True)  # noqa: FBT003 - it takes no keyword
