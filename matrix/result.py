"""What a cell of the matrix came to, and the folder that remembers it from one run to the next."""

from pathlib import Path

import msgspec
from msgspec import Struct

from matrix.install import ROOT

RUNS = ROOT / "runs"


class Result(Struct, frozen=True):
    """One way of one cell: `direct` or `broker`.

    `tries`: requests of the turn that the primary's provider saw. `problem` is empty where all is as promised; an agent
    alone promises nothing.
    """

    agent: str
    fault: str
    way: str
    code: str
    took_s: float
    tries: int
    is_cut: bool = False
    problem: str = ""

    @property
    def line(self) -> str:
        said = f"NOT AS PROMISED: {self.problem}" if self.problem else self.code
        return f"{self.agent:11} {self.fault:14} {self.way:7} {said}, {self.took_s:.1f} s, {self.tries} tries"


def keep(result: Result) -> None:
    _file(result).write_bytes(msgspec.json.encode(result))


def kept() -> list[Result]:
    """The latest result of every cell that was ever run here."""
    return [msgspec.json.decode(path.read_bytes(), type=Result) for path in sorted(RUNS.glob("*/*/*.json"))]


def folder(agent: str, fault: str) -> Path:
    path = RUNS / agent / fault
    path.mkdir(parents=True, exist_ok=True)
    return path


def _file(result: Result) -> Path:
    return folder(result.agent, result.fault) / f"{result.way}.json"
