"""`python -m tests.support.chaos.under FOLDER COMMAND ...`: a broker whose disk can be full, and whose clock can jump.

COMMAND is how it is started otherwise. While FOLDER/full exists nothing is written to its files, as with ENOSPC; its
clock is ahead by the seconds in FOLDER/ahead.
"""

import errno
import os
import stat
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from acp_broker.cli.main import main
from acp_broker.clock import SystemClock

LOOKS_EVERY_S = 0.02


class _Machine:
    def __init__(self, folder: Path) -> None:
        self._full, self._file = folder / "full", folder / "ahead"
        self._ahead = 0.0
        self._write = os.write
        os.write = self.write
        SystemClock.now = lambda _: time.monotonic() + self._ahead
        SystemClock.wall = lambda _: time.time() + self._ahead
        call_at = SystemClock.call_at
        SystemClock.call_at = lambda clock, when, callback: call_at(clock, when - self._ahead, callback)
        self.look()
        threading.Thread(target=self._keep_looking, daemon=True).start()

    def write(self, fd: int, data: bytes) -> int:
        if self._full.exists() and stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data)

    def look(self) -> None:
        with suppress(OSError, ValueError):
            self._ahead = float(self._file.read_text())

    def _keep_looking(self) -> None:
        while True:
            threading.Event().wait(LOOKS_EVERY_S)
            self.look()


if __name__ == "__main__":
    _Machine(Path(sys.argv[1]))
    # Behind `python -m acp_broker.cli.main`.
    sys.argv = ["acp-broker", *sys.argv[5:]]
    sys.exit(main())
