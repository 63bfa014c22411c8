"""The fault matrix: the primary is killed, or hangs, at every phase of a turn, under both commit points, alone and
with the user's cancel arriving at the same instant. Every broker and every agent is a real process.

    kill   SIGKILL; with a cancel the broker is stopped meanwhile, so that both happen to it at one instant
    hang   silence for ever, but a cancel is heeded
    deaf   silence for ever, cancels too
    frozen SIGSTOP: it cannot even read, and SIGTERM waits with the rest

While a request of the primary's is open (permission, reading) all clocks stand still: it cannot be said to hang.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess, agent, chain
from tests.support.heard import Turn
from tests.support.matrix import Cell, Outcome, each, freeze, outcome, played, strike

TABLE = """
# phase     fault  commit       cancel | reply     | shown                                   | tried
initialize  kill   first_output -      | end_turn  | say spare                               | primary crashed, spare
initialize  kill   first_output cancel | cancelled | -                                       | primary
initialize  kill   submitted    -      | end_turn  | say spare                               | primary crashed, spare
initialize  kill   submitted    cancel | cancelled | -                                       | primary
new         kill   first_output -      | end_turn  | say spare                               | primary crashed, spare
new         kill   first_output cancel | cancelled | -                                       | primary
new         kill   submitted    -      | end_turn  | say spare                               | primary crashed, spare
new         kill   submitted    cancel | cancelled | -                                       | primary
submitted   kill   first_output -      | end_turn  | say spare                               | primary crashed, spare
submitted   kill   first_output cancel | cancelled | -                                       | primary
submitted   kill   submitted    -      | -33002    | -                                       | primary crashed
submitted   kill   submitted    cancel | cancelled | -                                       | primary
notes       kill   first_output -      | end_turn  | say spare                               | primary crashed, spare
notes       kill   first_output cancel | cancelled | usage; commands; mode                   | primary
notes       kill   submitted    -      | -33002    | usage; commands; mode                   | primary crashed
notes       kill   submitted    cancel | cancelled | usage; commands; mode                   | primary
thought     kill   first_output -      | -33002    | think hm                                | primary crashed
thought     kill   first_output cancel | cancelled | think hm                                | primary
thought     kill   submitted    -      | -33002    | think hm                                | primary crashed
thought     kill   submitted    cancel | cancelled | think hm                                | primary
doubt       kill   first_output -      | end_turn  | say spare                               | primary crashed, spare
doubt       kill   first_output cancel | cancelled | say API Error: 529 Overloaded           | primary
doubt       kill   submitted    -      | -33002    | say API Error: 529 Overloaded           | primary crashed
doubt       kill   submitted    cancel | cancelled | say API Error: 529 Overloaded           | primary
message     kill   first_output -      | -33002    | say half                                | primary crashed
message     kill   first_output cancel | cancelled | say half                                | primary
message     kill   submitted    -      | -33002    | say half                                | primary crashed
message     kill   submitted    cancel | cancelled | say half                                | primary
tool        kill   first_output -      | -33002    | tool call-1 pending; tool call-1 failed | primary crashed
tool        kill   first_output cancel | cancelled | tool call-1 pending; tool call-1 failed | primary
tool        kill   submitted    -      | -33002    | tool call-1 pending; tool call-1 failed | primary crashed
tool        kill   submitted    cancel | cancelled | tool call-1 pending; tool call-1 failed | primary
permission  kill   first_output -      | -33002    | withdrawn                               | primary crashed
permission  kill   first_output cancel | cancelled | withdrawn                               | primary
permission  kill   submitted    -      | -33002    | withdrawn                               | primary crashed
permission  kill   submitted    cancel | cancelled | withdrawn                               | primary
reading     kill   first_output -      | end_turn  | withdrawn; say spare                    | primary crashed, spare
reading     kill   first_output cancel | cancelled | withdrawn                               | primary
reading     kill   submitted    -      | -33002    | withdrawn                               | primary crashed
reading     kill   submitted    cancel | cancelled | withdrawn                               | primary
late        kill   first_output -      | end_turn  | say done                                | primary
late        kill   first_output cancel | end_turn  | say done                                | primary
late        kill   submitted    -      | end_turn  | say done                                | primary
late        kill   submitted    cancel | end_turn  | say done                                | primary
#
initialize  hang   first_output -      | end_turn  | say spare                               | primary silent, spare
initialize  hang   first_output cancel | cancelled | -                                       | primary
initialize  hang   submitted    -      | end_turn  | say spare                               | primary silent, spare
initialize  hang   submitted    cancel | cancelled | -                                       | primary
new         hang   first_output -      | end_turn  | say spare                               | primary silent, spare
new         hang   first_output cancel | cancelled | -                                       | primary
new         hang   submitted    -      | end_turn  | say spare                               | primary silent, spare
new         hang   submitted    cancel | cancelled | -                                       | primary
submitted   hang   first_output -      | end_turn  | say spare                               | primary silent, spare
submitted   hang   first_output cancel | cancelled | -                                       | primary
submitted   hang   submitted    -      | -33002    | -                                       | primary silent
submitted   hang   submitted    cancel | cancelled | -                                       | primary
notes       hang   first_output -      | end_turn  | say spare                               | primary silent, spare
notes       hang   first_output cancel | cancelled | usage; commands; mode                   | primary
notes       hang   submitted    -      | -33002    | usage; commands; mode                   | primary silent
notes       hang   submitted    cancel | cancelled | usage; commands; mode                   | primary
thought     hang   first_output -      | -33002    | think hm                                | primary silent
thought     hang   first_output cancel | cancelled | think hm                                | primary
thought     hang   submitted    -      | -33002    | think hm                                | primary silent
thought     hang   submitted    cancel | cancelled | think hm                                | primary
doubt       hang   first_output -      | -33002    | say API Error: 529 Overloaded           | primary silent
doubt       hang   first_output cancel | cancelled | say API Error: 529 Overloaded           | primary
doubt       hang   submitted    -      | -33002    | say API Error: 529 Overloaded           | primary silent
doubt       hang   submitted    cancel | cancelled | say API Error: 529 Overloaded           | primary
message     hang   first_output -      | -33002    | say half                                | primary silent
message     hang   first_output cancel | cancelled | say half                                | primary
message     hang   submitted    -      | -33002    | say half                                | primary silent
message     hang   submitted    cancel | cancelled | say half                                | primary
tool        hang   first_output -      | -33002    | tool call-1 pending; tool call-1 failed | primary silent
tool        hang   first_output cancel | cancelled | tool call-1 pending; tool call-1 failed | primary
tool        hang   submitted    -      | -33002    | tool call-1 pending; tool call-1 failed | primary silent
tool        hang   submitted    cancel | cancelled | tool call-1 pending; tool call-1 failed | primary
permission  hang   first_output cancel | cancelled | withdrawn                               | primary
permission  hang   submitted    cancel | cancelled | withdrawn                               | primary
reading     hang   first_output cancel | cancelled | withdrawn                               | primary
reading     hang   submitted    cancel | cancelled | withdrawn                               | primary
#
submitted   deaf   first_output -      | end_turn  | say spare                               | primary silent, spare
submitted   deaf   first_output cancel | cancelled | -                                       | primary
submitted   deaf   submitted    -      | -33002    | -                                       | primary silent
submitted   deaf   submitted    cancel | cancelled | -                                       | primary
message     deaf   first_output -      | -33002    | say half                                | primary silent
message     deaf   first_output cancel | cancelled | say half                                | primary
message     deaf   submitted    -      | -33002    | say half                                | primary silent
message     deaf   submitted    cancel | cancelled | say half                                | primary
permission  deaf   first_output cancel | cancelled | withdrawn                               | primary
permission  deaf   submitted    cancel | cancelled | withdrawn                               | primary
reading     deaf   first_output cancel | cancelled | withdrawn                               | primary
reading     deaf   submitted    cancel | cancelled | withdrawn                               | primary
#
initialize  frozen first_output -      | end_turn  | say spare                               | primary silent, spare
initialize  frozen first_output cancel | cancelled | -                                       | primary
new         frozen first_output -      | end_turn  | say spare                               | primary silent, spare
new         frozen first_output cancel | cancelled | -                                       | primary
submitted   frozen first_output -      | end_turn  | say spare                               | primary silent, spare
submitted   frozen first_output cancel | cancelled | -                                       | primary
submitted   frozen submitted    -      | -33002    | -                                       | primary silent
submitted   frozen submitted    cancel | cancelled | -                                       | primary
message     frozen first_output -      | -33002    | say half                                | primary silent
message     frozen first_output cancel | cancelled | say half                                | primary
message     frozen submitted    -      | -33002    | say half                                | primary silent
message     frozen submitted    cancel | cancelled | say half                                | primary
"""
AT = {"do": "ext", "method": "_at"}
# What the primary does before the fault. In the first two the fault comes before the answer to that request.
BEFORE: Mapping[str, list[dict]] = {
    "initialize": [],
    "new": [],
    "submitted": [],
    "notes": [
        {"do": "usage", "used": 1, "size": 9},
        {"do": "commands", "availableCommands": [{"name": "plan", "description": "Plans"}]},
        {"do": "update", "update": {"sessionUpdate": "current_mode_update", "currentModeId": "code"}},
    ],
    "thought": [{"do": "think", "text": "hm"}],
    "doubt": [{"do": "say", "text": "API Error: 529 Overloaded"}],
    "message": [{"do": "say", "text": "half"}],
    "tool": [{"do": "toolCall", "toolCallId": "call-1", "title": "Look", "status": "pending"}],
    "permission": [{"do": "askPermission"}],
    "reading": [{"do": "readFile", "path": "notes.txt"}],
    "late": [{"do": "say", "text": "done"}],
}
# What shows the driver that the primary is there.
SIGNS = {"permission": "session/request_permission", "reading": "fs/read_text_file"}
OPENING = ("initialize", "new")
# Only what a hang runs into is short, and only where nothing else can: a loaded machine must not change the outcome.
HANGS: Mapping[str, dict[str, int]] = {
    "initialize": {"startingMs": 300},
    "new": {"openingMs": 300},
    "submitted": {"firstOutputMs": 900},
    "notes": {"firstOutputMs": 900},
    "doubt": {"idleMs": 300},
    "thought": {"idleMs": 300},
    "message": {"idleMs": 300},
    "tool": {"idleMs": 300},
}


def primary(cell: Cell) -> dict:
    deaf = [{"do": "ignoreCancel"}] if cell.fault == "deaf" else []
    there = [] if cell.phase in SIGNS else [AT]
    steps = [*BEFORE[cell.phase], *there, {"do": "stall"}]
    limits = HANGS.get(cell.phase, {}) if cell.fault != "kill" and not cell.cancel else {}
    match cell.phase:
        case "initialize" | "new":
            script = {cell.phase: steps}
        case "late":
            script = {"turns": [[*BEFORE["late"], {"do": "lateUpdates", "steps": [AT, {"do": "stall"}]}]]}
        case _:
            script = {"turns": [[*deaf, *steps]]}
    return agent(script, limits={"cancellingMs": 300, **limits})


def play(cell: Cell, folder: Path) -> Outcome:
    limits = {"learnMs": 1, "sessionNewMs": 1} if cell.phase in OPENING else {}
    if cell.phase == "doubt" and cell.fault == "kill":
        limits = {"doubtMs": 20_000}
    spare = {"turns": [[{"do": "say", "text": "spare"}]]}
    config = chain(primary=primary(cell), spare=spare, acp={"commitPoint": cell.commit}, limits=limits)
    with BrokerProcess(folder, config) as broker:
        turn = _turn(cell, broker)
        is_spare_started = bool(broker.agents("spare"))
    assert is_spare_started == ("spare" in turn.attempts)
    return outcome(broker, turn)


def _turn(cell: Cell, broker: BrokerProcess) -> Turn:
    """Prompt, let the fault and the cancel happen once the primary is where the cell says, and hear the reply."""
    session = broker.open()
    turn: Turn | None = None
    if cell.phase in OPENING:
        broker.until_at()
    request = broker.start(session)
    if cell.phase in OPENING:
        broker.call("session/list")  # answered in order: the prompt waits for the opening by now
    elif cell.phase == "late":
        turn = broker.until_reply(request)
        broker.until_at()
    elif cell.fault in ("kill", "frozen") or cell.cancel:
        if cell.phase in SIGNS:
            broker.until_method(SIGNS[cell.phase])
        else:
            broker.until_at()
    if cell.cancel:
        broker.pause()
    if cell.fault == "kill":
        strike(broker, "primary")
    if cell.fault == "frozen":
        freeze(broker, "primary")
    if cell.cancel:
        broker.cancel(session)
        broker.resume()
    return turn or broker.until_reply(request)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Cell, "Future[Outcome]"]]:
    with played(request, tmp_path_factory, play) as futures:
        yield futures


@each(TABLE)
def test_a_turn_comes_to_what_the_design_promises(cell: Cell, outcomes: Mapping[Cell, "Future[Outcome]"]) -> None:
    """Who answers, what is shown and how the turn ends, by when the primary fails."""
    assert cell.expected == outcomes[cell].result()
