"""Turns as text: reads what `journal` shows, and plays scenario files.

A scenario is made of blocks, with an empty line between them: prose (`# ...`), orders, `----`, and what the machine
answered to each event:

    # The primary crashes; nobody notices.
    rules primary spare/work commit_point=submitted idle=300 spare.first_output=60

    0 Accepted
    1.5 Failed 1 crashed
    ----
    Waiting --Accepted--> Trying 1 leasing  Start 1 primary, Arm 1 at 10
    ...

An order is the turn's stopwatch in seconds, then the event. `python -m tests.support.turn_script FILE...` writes the
answers anew. Only commit a change if you understand what caused it and it is desired.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import msgspec

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, Candidate, CommitPoint, Phase, ProfileId, StopReason
from acp_broker.core.turn import Impossible, step
from acp_broker.core.turnrules import Limits, Rules
from acp_broker.core.turnwords import (
    Accepted,
    CancelAsked,
    Doubted,
    Event,
    Failed,
    Finished,
    Noted,
    Reached,
    Spoke,
    State,
    Stopped,
    TimeUp,
    Waiting,
)
from tests.support.journal import show, show_candidate, show_event, show_state


def played(script: str) -> str:
    """The scenario with the machine's present answers."""
    rules = Rules(())
    state: State = Waiting()
    blocks = []
    for block in script.strip().split("\n\n"):
        orders = block.partition("\n----")[0]
        answers = []
        for line in orders.splitlines():
            if line.split()[0] == "rules":
                rules, state = parse_rules(line), Waiting()
            elif not line.startswith("#"):
                now, _, event = line.partition(" ")
                state, answer = _answer(rules, state, parse_event(event), float(now))
                answers.append(answer)
        blocks.append("\n".join([orders, "----", *answers] if answers else [orders]))
    return "\n\n".join(blocks) + "\n"


def script_of(rules: Rules, records: Iterable[tuple[float, Event]]) -> str:
    """A scenario of these events, ready to be pasted into a file; events keep their kind, not their text."""
    orders = [f"{now:g} {show_event(event)}" for now, event in records]
    return played("\n".join([show_rules(rules), "", *orders]))


def _answer(rules: Rules, state: State, event: Event, now: float) -> tuple[State, str]:
    try:
        after, commands = step(rules, state, event, now)
    except Impossible as error:
        return state, f"{show_state(state)} --{show_event(event)}--> impossible: {error}"
    return after, show(state, event, after, commands)


def parse_rules(line: str) -> Rules:
    """`rules primary spare/work:model commit_point=submitted empty_is_success idle=300 spare.idle=off`."""
    words = line.split()[1:]
    limits, own = Limits(), dict[BackendId, Limits]()
    commit_point: CommitPoint = "first_output"
    for name, value in (word.split("=") for word in words if "=" in word):
        if name == "commit_point":
            commit_point = msgspec.convert(value, CommitPoint)
            continue
        number = None if value == "off" else float(value)
        backend, dot, limit = name.rpartition(".")
        if dot:
            own[BackendId(backend)] = msgspec.structs.replace(own.get(BackendId(backend), limits), **{limit: number})
        else:
            limits = msgspec.structs.replace(limits, **{name: number})
    names = [word for word in words if "=" not in word and word != "empty_is_success"]
    return Rules(tuple(map(parse_candidate, names)), commit_point, limits, "empty_is_success" in words, own)


def show_rules(rules: Rules) -> str:
    words = ["rules", *map(show_candidate, rules.candidates)]
    if rules.commit_point != Rules(()).commit_point:
        words.append(f"commit_point={rules.commit_point}")
    if rules.empty_is_success:
        words.append("empty_is_success")
    words += _show_limits("", rules.limits, Limits())
    for backend, limits in rules.own_limits.items():
        words += _show_limits(f"{backend}.", limits, rules.limits)
    return " ".join(words)


def _show_limits(prefix: str, limits: Limits, usual: Limits) -> list[str]:
    values = [(name, getattr(limits, name)) for name in limits.__struct_fields__]
    changed = [(name, value) for name, value in values if value != getattr(usual, name)]
    return [f"{prefix}{name}={'off' if value is None else f'{value:g}'}" for name, value in changed]


def parse_candidate(text: str) -> Candidate:
    name, _, model = text.partition(":")
    backend, _, profile = name.partition("/")
    return Candidate(BackendId(backend), ProfileId(profile) if profile else None, model or None)


def parse_event(text: str) -> Event:
    match text.split():
        case ["Accepted"]:
            return Accepted()
        case ["CancelAsked"]:
            return CancelAsked()
        case ["TimeUp", serial]:
            return TimeUp(int(serial))
        case ["Reached", attempt, phase] if phase in get_args(Phase):
            return Reached(int(attempt), msgspec.convert(phase, Phase))
        case ["Noted", attempt]:
            return Noted(int(attempt))
        case ["Doubted", attempt]:
            return Doubted(int(attempt))
        case ["Spoke", attempt]:
            return Spoke(int(attempt))
        case ["Stopped", attempt]:
            return Stopped(int(attempt))
        case ["Finished", attempt, reason] if reason in get_args(StopReason):
            return Finished(int(attempt), msgspec.convert(reason, StopReason))
        case ["Failed", attempt, kind]:
            return Failed(int(attempt), Failure(FailureKind(kind), kind))
        case _:
            raise ValueError(f"no event reads like this: {text!r}")


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        file.write_text(played(file.read_text()))
