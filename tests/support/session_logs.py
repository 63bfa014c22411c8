"""Session logs of real runs, played again by the turn machine alone."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from acp_broker.core.turnrules import Rules
from acp_broker.core.turnwords import Command, Event
from acp_broker.store.reading import read_records
from tests.support.replay import replay


class Played(NamedTuple):
    """One turn of a log: the rules it had, what happened when, and what was commanded."""

    rules: Rules
    events: list[tuple[float, Event]]
    commands: list[tuple[Command, ...]]


def turns_in(path: Path) -> dict[str, Played]:
    """Every turn of a session's log, by its id, in order."""
    turns: dict[str, Played] = {}
    for record in read_records(path):
        match record.record:
            case "accepted":
                turns[record.turn] = Played(msgspec.json.decode(record.rules, type=Rules), [], [])
            case "step":
                turn = turns[record.turn]
                turn.events.append((record.now, msgspec.json.decode(record.event, type=Event)))
                turn.commands.append(msgspec.json.decode(record.commands, type=tuple[Command, ...]))
    return turns


def check_logs(home: Path) -> int:
    """Play every turn of a state folder again: same rules, same events, same times give the recorded commands.

    Returns how many steps were compared.
    """
    compared = 0
    for path in sorted((home / "sessions").glob("*.jsonl")):
        for turn, played in turns_in(path).items():
            again = [commands for _, commands in replay(played.rules, played.events)]
            assert played.commands == again, f"{path.name}, turn {turn}: the log does not replay"
            compared += len(again)
    return compared
