"""A turn as a person may watch it: the records of its session log, one row each, in three lanes.

time      editor                     acp-broker                 agents
0.41 s                               asks spare --->            spare
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Raw, Struct
from rich.console import Console
from rich.text import Text

from acp_broker.core.turnwords import Command, Doubted, Event, Failed, Reached, Refuse, Start
from acp_broker.errors import RpcError
from acp_broker.store import records
from acp_broker.wire import jsonrpc

# Wide enough for the demo's words; the last lane is as wide as what stands in it. All fits 80 columns.
EDITOR, BROKER = 20, 24
# For a terminal that cannot show the rest of Unicode.
_PLAIN = str.maketrans({"─": "-", "▶": ">", "◀": "<", "✓": "+", "✗": "x", "│": "|"})

_event = msgspec.json.Decoder(Event).decode
_commands = msgspec.json.Decoder(list[Command]).decode


class Row(Struct, frozen=True):
    """What happens at once, lane by lane. `is_bad`: it is a failure, or what follows from one."""

    editor: str = ""
    broker: str = ""
    agents: str = ""
    is_bad: bool = False


class _Content(Struct, frozen=True):
    text: str = ""


class _Update(Struct, frozen=True):
    content: _Content = _Content()


class _Params(Struct, frozen=True):
    update: _Update


class Tail:
    """Reads a log that is being written, from where it stopped the last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def fresh(self) -> Iterator[records.Record]:
        """The whole records that were added since."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return map(records.read, whole.splitlines())


class Timeline:
    """Prints the rows of a turn as they come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._now = 0.0
        self._names: dict[int, str] = {}
        self._who = ""

    def head(self) -> None:
        self.say(f"{'':8}{'editor':{EDITOR}}{'acp-broker':{BROKER}}agents", "dim")

    def tell(self, record: records.Record) -> None:
        if isinstance(record.now, float):
            self._now = record.now
        for row in self._rows(record):
            self._row(row)

    def say(self, text: str, style: str = "") -> None:
        """A line that is in no lane; on a terminal it is wrapped between words."""
        self._print(Text(text, style), is_wrapped=self._console.is_terminal)

    def _rows(self, record: records.Record) -> Iterator[Row]:
        match record.record:
            case "accepted" if isinstance(record.prompt, Raw):
                blocks = msgspec.json.decode(record.prompt, type=list[_Content])
                self._now = 0.0
                yield Row(_to(f'"{"".join(block.text for block in blocks)}"', EDITOR))
            case "step" if isinstance(record.event, Raw) and isinstance(record.commands, Raw):
                yield from self._of_event(_event(record.event))
                for command in _commands(record.commands):
                    yield from self._of_command(command)
                yield from self._of_words(record)
            case "answer" if isinstance(record.frame, Raw):
                yield _of_answer(jsonrpc.read(bytes(record.frame)))

    def _of_event(self, event: Event) -> Iterator[Row]:
        match event:
            case Reached(attempt, "submitted"):
                yield Row(agents=f"{self._names[attempt]} has the prompt")
            case Doubted(attempt):
                yield Row(broker="held back: a failure?", agents=f"{self._names[attempt]} speaks")
            case Failed(attempt, failure):
                yield Row(agents=f"{self._names[attempt]} ✗ {failure.text}", is_bad=True)

    def _of_command(self, command: Command) -> Iterator[Row]:
        match command:
            case Start(attempt, candidate):
                self._names[attempt] = self._who = candidate.backend
                yield Row(broker=_to("asks" if attempt == 1 else "nothing shown: asks", BROKER), agents=self._who)
            case Refuse(committed=True):
                yield Row(broker="asks nobody else", is_bad=True)
            case Refuse():
                yield Row(broker="nobody is left", is_bad=True)

    def _of_words(self, record: records.Record) -> Iterator[Row]:
        for params in record.updates or ():
            text = msgspec.json.decode(params, type=_Params).update.content.text
            if text:
                yield Row(f'"{text}" ◀'.ljust(EDITOR, "─"), f"{'':─<{BROKER - 1}}", self._who)

    def _row(self, row: Row) -> None:
        bad = "red" if row.is_bad else ""
        line = Text().append(f"{self._now:.2f} s  ", "dim")
        line.append(f"{row.editor:{EDITOR}}", bad or "bold")
        line.append(f"{row.broker:{BROKER}}", bad or "cyan")
        line.append(row.agents, bad)
        self._print(line, is_wrapped=False)

    def _print(self, line: Text, *, is_wrapped: bool) -> None:
        if self._console.options.ascii_only:
            line.plain = line.plain.translate(_PLAIN)
        line.rstrip()
        self._console.print(line, soft_wrap=not is_wrapped)


def _to(text: str, lane: int) -> str:
    """The text, and an arrow from it to the next lane."""
    return f"{text} ".ljust(lane - 2, "─") + "▶ "


def _of_answer(answer: jsonrpc.Message) -> Row:
    match answer:
        case jsonrpc.Response(_, RpcError() as error):
            return Row(editor=f"error {error.code} ◀──", is_bad=True)
        case _:
            return Row(editor="end of turn ◀──")
