"""The floor: a process that starts an agent and copies bytes both ways, and does nothing else.

python -m bench.splice COMMAND...
"""

import os
import select
import subprocess
import sys

# What a pipe holds; a larger buffer costs more than the read itself.
READ_BYTES = 64 * 1024


def main() -> None:
    with subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        ways = {0: agent.stdin.fileno(), agent.stdout.fileno(): 1}
        poll = select.poll()
        for source in ways:
            poll.register(source, select.POLLIN)
        while all(_copy(source, ways[source]) for source, _ in poll.poll()):
            continue
        agent.stdin.close()


def _copy(source: int, sink: int) -> bool:
    """Pass on one read; whether there may be more."""
    chunk = os.read(source, READ_BYTES)
    left = memoryview(chunk)
    while left:
        left = left[os.write(sink, left) :]
    return bool(chunk)


main()
