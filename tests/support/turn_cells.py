"""Golden lines of the turn table: `state --event--> state  commands`, one or more for every cell.

The file has `rules ...` and `at SECONDS` lines; the lines below them are under these rules, at this time. What the
text of a state does not say is always the same: the attempts before have crashed, the phase began at 10, the timer has
serial 7 and rings at 20, the chain began at 0. `python -m tests.support.turn_cells FILE...` writes the answers anew.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Candidate, Phase
from acp_broker.core.turn import Impossible, step
from acp_broker.core.turnrules import Miss, Rules, Run
from acp_broker.core.turnwords import (
    Cancelled,
    Cancelling,
    Committed,
    Doubting,
    Ended,
    Event,
    Next,
    Refusal,
    State,
    Stopping,
    Then,
    Timer,
    Trying,
    Waiting,
)
from tests.support.journal import show, show_event, show_state
from tests.support.turn_script import parse_event, parse_rules

SERIAL = 7
ARMED = Timer(SERIAL, 20.0)


class Case(Struct, frozen=True):
    """One golden line."""

    rules: Rules
    state: State
    event: Event
    now: float
    line: str

    @property
    def cell(self) -> tuple[type[State], type[Event]]:
        return type(self.state), type(self.event)

    def answer(self) -> str:
        """The line as the machine says it now."""
        try:
            after, commands = step(self.rules, self.state, self.event, self.now)
        except Impossible:
            return f"{show_state(self.state)} --{show_event(self.event)}--> impossible"
        return show(self.state, self.event, after, commands)


def cases(text: str) -> Iterator[Case]:
    rules, now = Rules(()), 0.0
    for line in text.splitlines():
        if line.split()[:1] == ["rules"]:
            rules = parse_rules(line)
        elif line.startswith("at "):
            now = float(line.removeprefix("at "))
        elif _is_case(line):
            state, _, event = line.partition("-->")[0].partition(" --")
            yield Case(rules, parse_state(state, rules), parse_event(event), now, line)


def parse_state(text: str, rules: Rules) -> State:
    """The state that reads like this. `rules` tell the candidates, by attempt, and whether words have an idle limit."""
    words = text.replace("(", "").replace(")", "").split()
    if words == ["Waiting"]:
        return Waiting()
    attempt = int(words[1])
    if words[0] == "Ended":
        return Ended(attempt, attempt if "serving" in words else None)
    candidate, run = rules.candidates[attempt - 1], run_before(rules, attempt)
    match words[0], words[2:]:
        case "Trying", [phase]:
            return Trying(attempt, candidate, run, ARMED, msgspec.convert(phase, Phase), since=10.0)
        case "Doubting", []:
            return Doubting(attempt, candidate, run, ARMED)
        case "Committed", []:
            timer = Timer(SERIAL) if rules.limits_of(candidate).idle is None else ARMED
            return Committed(attempt, candidate, run.misses, timer)
        case "Committed", ["silent"]:
            timer = Timer(SERIAL) if rules.limits_of(candidate).first_output is None else ARMED
            return Committed(attempt, candidate, run.misses, timer, silent_since=10.0)
        case "Cancelling", []:
            return Cancelling(attempt, candidate, ARMED)
        case "Stopping", ["killed", *then]:
            return Stopping(attempt, _then(then, rules, attempt), Timer(SERIAL))
        case "Stopping", then:
            return Stopping(attempt, _then(then, rules, attempt), ARMED)
        case _:
            raise ValueError(f"no state reads like this: {text!r}")


def run_before(rules: Rules, attempt: int) -> Run:
    return Run(tuple(map(_crash, range(1, attempt), rules.candidates)), rules.limits.chain)


def _crash(attempt: int, candidate: Candidate) -> Miss:
    return Miss(attempt, candidate, Failure(FailureKind.CRASHED, "crashed"))


def _then(words: list[str], rules: Rules, attempt: int) -> Then:
    run = run_before(rules, attempt + 1)
    match words:
        case ["next", _, "after", "crashed"]:
            return Next(rules.candidates[attempt], run)
        case ["refuse", *rest] if rest[-2:] == ["after", "crashed"]:
            return Refusal(run.misses, rest[0] == "committed")
        case ["cancelled", *rest]:
            return Cancelled(rest == ["committed"])
        case _:
            raise ValueError(f"nothing comes next that reads like this: {words}")


def answered(text: str) -> str:
    """The whole text with the machine's present answers."""
    found = cases(text)
    return "\n".join(next(found).answer() if _is_case(line) else line for line in text.splitlines()) + "\n"


def _is_case(line: str) -> bool:
    return "-->" in line and not line.startswith("#")


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        file.write_text(answered(file.read_text()))
