"""Names and what there is to say of each, in two columns: wrapped on a terminal, else one line each."""

from collections.abc import Sequence

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from acp_broker.cli.terminal import plain

Fact = tuple[str, str | Text]
# Columns of the names, where nothing wraps them.
_NAMES = 11
# For a terminal that cannot show the rest of Unicode.
_PLAIN = str.maketrans({"✓": "+", "✗": "x"})


def facts(rows: Sequence[Fact], console: Console) -> Group:
    """Indented by two columns; a line that is too long for a terminal goes on below its beginning."""
    told = [(name, said if isinstance(said, Text) else Text(plain(said))) for name, said in rows]
    if not console.is_terminal:
        width = max([_NAMES - 1, *(len(name) for name, _ in told)])
        return Group(*(Text().append(f"  {name:<{width}} ", "dim").append_text(said) for name, said in told))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, said in told:
        table.add_row(name, said)
    return Group(Padding(table, (0, 0, 0, 2)))


def mark(console: Console, *, is_good: bool) -> Text:
    """A tick or a cross."""
    sign = "✓" if is_good else "✗"
    shown = sign.translate(_PLAIN) if console.options.ascii_only else sign
    return Text(f"{shown} ", "bold green" if is_good else "bold red")
