"""What is on its way to a person's terminal, or to what stands in its place."""

import re
import sys
from typing import TextIO

from rich.console import Console

# What a terminal would obey: the words of agents and clients are shown, not carried out.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Columns: wider than any table of ours.
_UNBOUNDED = 10_000


def plain(text: str) -> str:
    """The text without what a terminal would obey."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def table_console(stream: TextIO | None = None) -> Console:
    """For tables on stdout, or on this stream. In a file, a pipe or a chat a row is one line, however long: that is
    where `grep` looks for it."""
    width = None if (stream or sys.stdout).isatty() else _UNBOUNDED
    return Console(file=stream, emoji=False, highlight=False, markup=False, width=width)
