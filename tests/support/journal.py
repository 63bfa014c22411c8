"""One line per step of a turn: what golden lines, scenarios and logs are compared as.

Trying 1 opening --TimeUp 2--> Stopping 1 (next spare after silent)  DropHeld, Withdraw 1, Stop 1 politely, Arm 3 at 9
"""

from collections.abc import Sequence
from typing import assert_never

from acp_broker.core.names import Candidate
from acp_broker.core.turnrules import Miss
from acp_broker.core.turnwords import (
    Accepted,
    Arm,
    AskCancel,
    CancelAsked,
    Cancelled,
    Cancelling,
    Command,
    Committed,
    Disarm,
    Doubted,
    Doubting,
    DropHeld,
    Ended,
    Event,
    Failed,
    Finished,
    Hold,
    Kill,
    Next,
    Noted,
    Reached,
    Refusal,
    Refuse,
    Relay,
    RelayHeld,
    Reply,
    Spoke,
    Start,
    State,
    Stop,
    Stopped,
    Stopping,
    Then,
    TimeUp,
    Trying,
    Waiting,
    Withdraw,
)


def show(before: State, event: Event, after: State, commands: Sequence[Command]) -> str:
    """The step in one line; `-` where nothing is to be done."""
    doing = ", ".join(map(show_command, commands)) or "-"
    return f"{show_state(before)} --{show_event(event)}--> {show_state(after)}  {doing}"


def show_state(state: State) -> str:
    match state:
        case Waiting():
            return "Waiting"
        case Trying():
            return f"Trying {state.attempt} {state.phase}"
        case Committed():
            return f"Committed {state.attempt}" + ("" if state.silent_since is None else " silent")
        case Doubting() | Cancelling():
            return f"{type(state).__name__} {state.attempt}"
        case Stopping():
            killed = " killed" if state.timer.at is None else ""
            return f"Stopping {state.attempt}{killed} ({_show_then(state.then)})"
        case Ended():
            return f"Ended {state.attempt}" + ("" if state.serving is None else " serving")
        case _:
            assert_never(state)


def show_event(event: Event) -> str:
    match event:
        case Accepted() | CancelAsked():
            return type(event).__name__
        case Reached(attempt, phase):
            return f"Reached {attempt} {phase}"
        case Noted(attempt) | Doubted(attempt) | Spoke(attempt) | Stopped(attempt):
            return f"{type(event).__name__} {attempt}"
        case Finished(attempt, stop_reason):
            return f"Finished {attempt} {stop_reason}"
        case Failed(attempt, failure):
            return f"Failed {attempt} {failure.kind.value}"
        case TimeUp(serial):
            return f"TimeUp {serial}"
        case _:
            assert_never(event)


def show_command(command: Command) -> str:
    match command:
        case Disarm() | Hold() | RelayHeld() | DropHeld() | Relay():
            return type(command).__name__
        case Kill(attempt) | AskCancel(attempt) | Withdraw(attempt):
            return f"{type(command).__name__} {attempt}"
        case Start(attempt, candidate):
            return f"Start {attempt} {show_candidate(candidate)}"
        case Stop(attempt, politely):
            return f"Stop {attempt} {'politely' if politely else 'at once'}"
        case Arm(serial, at):
            return f"Arm {serial} at {round(at, 3):g}"
        case Reply(stop_reason):
            return f"Reply {stop_reason}"
        case Refuse(misses, committed):
            return f"Refuse{' committed' if committed else ''} ({_show_misses(misses)})"
        case _:
            assert_never(command)


def show_candidate(candidate: Candidate) -> str:
    profile = "" if candidate.profile is None else f"/{candidate.profile}"
    model = "" if candidate.model is None else f":{candidate.model}"
    return f"{candidate.backend}{profile}{model}"


def _show_then(then: Then) -> str:
    match then:
        case Next(candidate, run):
            return f"next {show_candidate(candidate)} after {_show_last(run.misses)}"
        case Refusal(misses, committed):
            return f"refuse{' committed' if committed else ''} after {_show_last(misses)}"
        case Cancelled(committed):
            return "cancelled committed" if committed else "cancelled"
        case _:
            assert_never(then)


def _show_last(misses: Sequence[Miss]) -> str:
    return misses[-1].failure.kind.value if misses else "nobody"


def _show_misses(misses: Sequence[Miss]) -> str:
    return " | ".join(f"{show_candidate(miss.candidate)}: {miss.failure.kind.value}" for miss in misses) or "nobody"
