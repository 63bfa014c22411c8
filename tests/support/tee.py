"""Stands between a client and the command of its agent, and keeps the messages of both directions in a file.

    python -m tests.support.tee FILE COMMAND ...

Each line of the file is `> MESSAGE` (from the client) or `< MESSAGE`.
"""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def main() -> int:
    lock = threading.Lock()
    with Path(sys.argv[1]).open("ab", buffering=0) as kept:
        agent = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def pass_on(source: BinaryIO, target: BinaryIO, mark: bytes) -> None:
            for line in iter(source.readline, b""):
                with lock:
                    kept.write(mark + line)
                with suppress(BrokenPipeError, ValueError):
                    target.write(line)
                    target.flush()
            with suppress(OSError, ValueError):
                target.close()

        threading.Thread(target=pass_on, args=(sys.stdin.buffer, agent.stdin, b"> "), daemon=True).start()
        pass_on(agent.stdout, sys.stdout.buffer, b"< ")
        return agent.wait()


if __name__ == "__main__":
    sys.exit(main())
