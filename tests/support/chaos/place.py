"""A fault server as a process of its own, which can be killed and frozen: its port and its words outlive it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import msgspec

from tests.support.provider import Seen

# How many words an answer has, and how many thoughts come before them where there are any.
WORDS, THOUGHTS = 9, 4
_LIMIT_S = 10.0


class Asked(NamedTuple):
    """A request to a model, and the answer that was meant for it: `label` is in each of its words."""

    label: str
    seen: Seen

    @property
    def body(self) -> dict:
        return msgspec.json.decode(self.seen.body)

    @property
    def backend(self) -> str:
        """Whose request it is, by its model; the Gemini API has that in the path."""
        model = self.body.get("model") or self.seen.path.rpartition("/")[2].partition(":")[0]
        return model.removesuffix("-model")


def whole(label: str) -> str:
    """All that is said to the request with this label."""
    return " ".join(f"{label}.{number}" for number in range(WORDS))


def thoughts(label: str) -> str:
    return " ".join(f"{label}.t{number}" for number in range(THOUGHTS))


class Place:
    """Use as a context manager. `name` is one letter."""

    def __init__(self, folder: Path, name: str, *, thinks: bool) -> None:
        self.folder, self.name, self.thinks = folder, name, thinks
        self.port = 0
        self.fault, self.key = "good", ""
        self._life = 0
        self._control = ""
        self._process: subprocess.Popen[str]

    def __enter__(self) -> "Place":
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self) -> None:
        """The next life of it, with the fault and the key of the one before."""
        self._life += 1
        label = f"{self.name}{self._life}n$N"
        options = {"--port": self.port, "--says": whole(label), "--between": 0.01, "--keep": self._kept(self._life)}
        if self.thinks:
            options["--thinks"] = thoughts(label)
        words = [str(word) for option in options.items() for word in option]
        command = [sys.executable, "-m", "tests.support.provider", *words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        url, self._control = (self._process.stdout.readline().split()[-1] for _ in range(2))
        self.port = int(url.rpartition(":")[2])
        self.set(fault=self.fault, key=self.key)

    def set(self, **told: str) -> None:
        for name, value in told.items():
            setattr(self, name, value)
            with urlopen(HttpRequest(f"{self._control}/__{name}", value.encode(), method="PUT"), timeout=_LIMIT_S):
                pass

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def pid(self) -> int:
        return self._process.pid

    def asked(self) -> Iterator[Asked]:
        """Every request to a model so far, of all its lives."""
        for life in range(1, self._life + 1):
            kept = self._kept(life)
            lines = kept.read_bytes().splitlines(keepends=True) if kept.exists() else []
            for number, line in enumerate(lines, 1):
                seen = msgspec.json.decode(line, type=Seen) if line.endswith(b"\n") else None
                if seen is not None and seen.api not in ("models", "tokens", "other"):
                    yield Asked(f"{self.name}{life}n{number}", seen)

    def connections(self) -> int:
        """How many are established at its port (proc(5), /proc/net/tcp: state 01)."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(int(row[1].rpartition(":")[2], 16) == self.port and row[3] == "01" for row in rows)

    def _kept(self, life: int) -> Path:
        return self.folder / f"asked-{self.name}-{life}.jsonl"
