"""The fault server as a process of its own: for what outlives one test, and for what is killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import msgspec


@contextmanager
def served(says: str, port: int = 0, between: float = 0.002) -> Iterator[tuple[str, str, subprocess.Popen]]:
    """Its URL, that of its control, and the process; so many seconds lie between two words."""
    command = [
        sys.executable,
        "-m",
        "tests.support.provider",
        "--says",
        says,
        "--between",
        str(between),
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url, control = (process.stdout.readline().split()[-1] for _ in range(2))
            yield url, control, process
        finally:
            process.kill()


def fails(control: str, fault: str) -> None:
    with urlopen(Request(f"{control}/__fault", fault.encode(), method="PUT")):
        pass


def asked_of(control: str) -> int:
    """How many requests it has seen."""
    with urlopen(f"{control}/__requests") as answer:
        return len(msgspec.json.decode(answer.read()))
