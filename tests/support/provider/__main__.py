"""`python -m tests.support.provider [--fault NAME] [--says WORDS] ...`: serve until SIGINT or SIGTERM."""

import argparse
import signal
import sys
from functools import partial
from pathlib import Path

import anyio
from msgspec.json import encode

from tests.support.provider import control, faults
from tests.support.provider.playing import Pace
from tests.support.provider.seen import Seen
from tests.support.provider.server import provider


def main() -> None:
    options = _options()
    anyio.run(partial(_serve, options))


async def _serve(options: argparse.Namespace) -> None:
    pace = Pace(options.between)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with provider(options.says, options.fault, only=options.only, pace=pace, port=options.port) as server:
            server.thinks, server.command, server.path = options.thinks, options.command, options.path
            if options.log:
                server.watch = _log
            if options.keep:
                server.watch = partial(_keep, options.keep)
            sys.stdout.write(f"{server.url}\ncontrol {server.control_url}\n")
            sys.stdout.flush()
            await anext(aiter(signals))


def _log(seen: Seen) -> None:
    sys.stderr.write(encode(seen.brief).decode() + "\n")


def _keep(file: Path, seen: Seen) -> None:
    with file.open("ab") as kept:
        kept.write(encode(seen) + b"\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.support.provider",
        description="A fault server that speaks the wire formats of the model providers, on loopback.",
        epilog=f"{faults.__doc__}\n{control.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--fault", type=_name, default="good", help="how it fails; see below")
    parser.add_argument("--only", choices=["all", "main"], default="all", help="main: requests that offer tools")
    parser.add_argument("--says", default="A healthy provider says these words.", help="what the model answers")
    parser.add_argument("--thinks", default="", help="what it reasons before")
    parser.add_argument("--command", default="echo drill", help="what tool-shell runs")
    parser.add_argument("--path", default="drill.txt", help="the file that tool-write writes")
    parser.add_argument("--between", type=float, default=0.01, help="seconds from one token to the next")
    parser.add_argument("--log", action="store_true", help="a line on stderr for each request")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="each request, whole, as a line of this file")
    return parser.parse_args()


def _name(name: str) -> str:
    try:
        return faults.named(name).name
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from wrong


if __name__ == "__main__":
    main()
