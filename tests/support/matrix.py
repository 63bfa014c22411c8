"""Fault matrices: a table says what a turn must come to, real processes are played, and the two are compared.

A line of a table is one cell: the phase of the turn, the fault, the commit point, and whether the user cancels at that
instant; then the reply, what was shown, and who was tried.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import processes
from tests.support.broker import BrokerProcess
from tests.support.heard import Turn, shown

# Brokers that run at the same time: each mostly waits, for a limit or for a process to start.
WORKERS = 6


class Outcome(NamedTuple):
    """The reply's stop reason or error code; what was shown, in order; who was tried, and how it failed."""

    reply: str
    words: tuple[str, ...]
    attempts: tuple[str, ...]


class Cell(NamedTuple):
    phase: str
    fault: str
    commit: str
    cancel: bool
    expected: Outcome

    @property
    def name(self) -> str:
        return "-".join([self.phase, self.fault, self.commit, *["cancel"] * self.cancel])


def cells(table: str) -> list[Cell]:
    """The lines of a table: `phase fault commit cancel | reply | words; ... | attempts, ...`; `-` is none."""
    return [_cell(line) for line in table.strip().splitlines() if not line.startswith("#")]


def each(table: str) -> pytest.MarkDecorator:
    """Parametrize a test with the cells of a table."""
    return pytest.mark.parametrize("cell", cells(table), ids=lambda cell: cell.name)


@contextmanager
def played(
    request: pytest.FixtureRequest, folders: pytest.TempPathFactory, play: Callable[[Cell, Path], Outcome]
) -> Iterator[Mapping[Cell, "Future[Outcome]"]]:
    """Play the cells of the module's selected tests, some at a time."""
    mine = [item for item in request.session.items if item.getparent(pytest.Module) is request.node]
    chosen = [item.callspec.params["cell"] for item in mine if "cell" in getattr(item, "fixturenames", ())]
    pool = ThreadPoolExecutor(WORKERS)
    try:
        yield {cell: pool.submit(play, cell, folders.mktemp(cell.name)) for cell in chosen}
    finally:
        pool.shutdown(cancel_futures=True)


def outcome(broker: BrokerProcess, turn: Turn) -> Outcome:
    """What became of the broker's only prompt, once it has left: late words count too."""
    reply = turn.reply
    end = str(reply["error"]["code"]) if "error" in reply else reply["result"]["stopReason"]
    words = [_word(message) for message in broker.heard]
    return Outcome(end, tuple(word for word in words if word), tuple(turn.attempts))


def strike(broker: BrokerProcess, backend: str) -> None:
    """SIGKILL to all agents of a backend; they are dead when this returns, whatever the broker does meanwhile."""
    struck = broker.agents(backend)
    for seen in struck:
        with suppress(ProcessLookupError):
            os.kill(seen.pid, signal.SIGKILL)
    deadline = time.monotonic() + processes.GONE_WITHIN_S
    for seen in struck:
        assert processes.wait_gone(seen, deadline)


def freeze(broker: BrokerProcess, backend: str) -> None:
    """SIGSTOP to all agents of a backend."""
    for seen in broker.agents(backend):
        with suppress(ProcessLookupError):
            os.kill(seen.pid, signal.SIGSTOP)


def _cell(line: str) -> Cell:
    place, reply, words, attempts = (part.strip() for part in line.split("|"))
    phase, fault, commit, cancel = place.split()
    expected = Outcome(reply, _several(words, "; "), _several(attempts, ", "))
    return Cell(phase, fault, commit, cancel == "cancel", expected)


def _several(text: str, between: str) -> tuple[str, ...]:
    return () if text == "-" else tuple(text.split(between))


def _word(message: Mapping[str, object]) -> str | None:
    match message:
        case {"method": "session/update", "params": {"update": update}}:
            return shown(update)
        case {"method": "$/cancel_request"}:
            return "withdrawn"
        case _:
            return None
