"""`scripts/bench [OPTION N ...]`: measure, and print the table. `--help` lists the options."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from bench import measures, provider_table, stored, table
from bench.place import Place
from bench.provided import provided
from tests.support import litellm

# A quiet machine takes a third of it: past it something hangs, and whoever waits should be told.
LIMIT_S = 360


def main() -> None:
    options = _options()
    if options.litellm:
        litellm.install()
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(LIMIT_S)
    with tempfile.TemporaryDirectory(prefix="acp-broker-bench-") as folder:
        place = Place(Path(folder), options.flood)
        place.prepare()
        rows = [
            *table.first_output(measures.first_output(place, options.turns)),
            *table.flow(measures.flow(place, options.rounds)),
            *table.memory(measures.memory(place)),
            *table.idle(measures.idle(place, options.sessions)),
            *table.start(measures.start(place, options.starts)),
            *table.stored(stored.stored(place, options.stored, options.megabytes, min(options.starts, 5))),
        ]
        took = provided(place, options.turns, options.rounds, options.starts, has_litellm=options.litellm)
    sys.stdout.write(table.text(rows) + "\n\n" + table.text(provider_table.rows(took), provider_table.WAYS) + "\n")


class Options(argparse.Namespace):
    turns: int
    flood: int
    rounds: int
    starts: int
    sessions: int
    stored: int
    megabytes: int
    litellm: bool


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="What the broker costs beside a direct connection."
    )
    parser.add_argument("--turns", type=int, default=500, help="turns for the time to first output (at least 2)")
    parser.add_argument("--flood", type=int, default=300_000, help="updates in one flood")
    parser.add_argument("--rounds", type=int, default=3, help="floods for each way to the agent")
    parser.add_argument("--starts", type=int, default=15, help="process starts of each sort")
    parser.add_argument("--sessions", type=int, default=2000, help="sessions that are opened, prompted and closed")
    parser.add_argument("--stored", type=int, default=10_000, help="sessions on the disk")
    parser.add_argument("--megabytes", type=int, default=100, help="of the log of one of them")
    parser.add_argument("--litellm", action="store_true", help="measure the LiteLLM proxy too; installs it, once")
    return parser.parse_args(namespace=Options())


def _hangs(_number: int, _frame: object) -> None:
    raise TimeoutError(f"not measured within {LIMIT_S} s")


main()
