"""`scripts/matrix [--agents a,b] [--faults x,y] ...`: run the cells, print them, and write the tables. See --help."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence

import anyio

from matrix import result, table
from matrix.agents import AGENTS
from matrix.cell import Limits
from matrix.faults import FAULTS
from matrix.run import Order, Outcome, run

# Light, quick, and without a word of their own in a healthy turn.
FALLBACKS = ("goose", "gemini")
BY_NAME = {agent.name: agent for agent in AGENTS}


class Options(argparse.Namespace):
    agents: tuple[str, ...]
    faults: tuple[str, ...]
    ways: tuple[str, ...]
    direct_limit: float
    first_output: float
    idle: float
    jobs: int
    record: bool
    table: bool


def main() -> int:
    options = _options()
    order = Order(
        agents=tuple(BY_NAME[name] for name in options.agents),
        fallbacks=tuple(BY_NAME[name] for name in FALLBACKS),
        faults=options.faults,
        ways=("record",) if options.record else options.ways,
        limits=Limits(options.direct_limit, options.first_output, options.idle),
        jobs=options.jobs,
    )
    if options.table:
        table.write(table.page(AGENTS, result.kept(), order.limits))
        return 0
    outcome = anyio.run(_until_told, order)
    if outcome is None:
        return 130
    bad = [one for one in outcome.results if one.problem]
    sys.stdout.write(
        "".join(f"{one.line}\n" for one in bad) + f"{len(outcome.results)} cells, {len(bad)} not as promised\n"
    )
    return 1 if bad else 0


async def _until_told(order: Order) -> Outcome | None:
    """As `run`; None once it is interrupted, when all that it started is gone."""
    outcome: Outcome | None = None
    async with anyio.create_task_group() as tasks:

        async def interrupted() -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    tasks.cancel_scope.cancel()

        tasks.start_soon(interrupted)
        outcome = await run(order)
        tasks.cancel_scope.cancel()
    return outcome


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="scripts/matrix", description="Real agents whose provider fails: alone, and behind the broker."
    )
    ways, names = ("direct", "broker"), tuple(BY_NAME)
    parser.add_argument("--agents", type=_some_of(names), default=names, help=f"default: all of {', '.join(names)}")
    parser.add_argument("--faults", type=_some_of(FAULTS), default=FAULTS, help=f"default: all of {', '.join(FAULTS)}")
    parser.add_argument("--ways", type=_some_of(ways), default=ways, help="default: direct,broker")
    parser.add_argument("--direct-limit", type=float, default=60.0, help="seconds after which an agent alone is cut")
    parser.add_argument("--first-output", type=float, default=20.0, help="the broker's limit, in seconds")
    parser.add_argument("--idle", type=float, default=20.0, help="the same, after the first output")
    parser.add_argument("--jobs", type=int, default=4, help="cells at a time")
    parser.add_argument("--record", action="store_true", help="only write the agents' traffic to tests/transcripts")
    parser.add_argument("--table", action="store_true", help="only write docs/matrix.md, from the latest of every cell")
    return parser.parse_args(namespace=Options())


def _some_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def split(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no {name!r}; known: {', '.join(known)}")
        return chosen

    return split


sys.exit(main())
