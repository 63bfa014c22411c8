"""`python -m backends.scripted --script FILE|JSON [--memory FILE]`: a script as an ACP agent on stdio."""

import argparse
import os
import sys
from pathlib import Path

from msgspec import DecodeError

from backends.scripted.agent import Agent
from backends.scripted.memory import Memory
from backends.scripted.script import Script, parse


def main() -> None:
    options = _parser().parse_args()
    try:
        script = _script(options.script)
        memory = None if options.memory is None else Memory(Path(options.memory))
    except (OSError, DecodeError) as unreadable:
        sys.exit(f"backends.scripted: the script or the memory cannot be read: {unreadable}")
    Agent(script, memory).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m backends.scripted", description="A scripted ACP agent on stdio.")
    parser.add_argument(
        "--script",
        default=os.environ.get("ACP_SCRIPT"),
        metavar="FILE|JSON",
        help="what to play; else $ACP_SCRIPT, else it echoes",
    )
    parser.add_argument("--memory", metavar="FILE", help="where sessions are kept for load and resume by a new process")
    return parser


def _script(source: str | None) -> Script:
    if source is None:
        return Script()
    return parse(source if source.lstrip().startswith("{") else Path(source).read_bytes())


main()
