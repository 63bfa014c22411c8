"""A turn's log plays the same turn again."""

import msgspec

from acp_broker.core.turn import step
from acp_broker.core.turnwords import Command, Event, State, Waiting
from tests.support.replay import replay
from tests.support.turn_script import parse_event, parse_rules

RULES = parse_rules("rules primary/work spare:large last idle=300")
LOG = [
    (now, parse_event(event))
    for now, event in (
        (0.0, "Accepted"),
        (0.5, "Reached 1 submitted"),
        (1.0, "Noted 1"),
        (1.5, "Doubted 1"),
        (1.6, "Failed 1 rate_limited"),
        (2.1, "TimeUp 4"),
        (2.2, "Stopped 1"),
        (3.0, "Finished 2 end_turn"),
        (3.1, "Stopped 2"),
        (4.0, "Spoke 3"),
        (5.0, "CancelAsked"),
        (6.0, "Finished 3 end_turn"),
        (6.5, "Noted 3"),
    )
]


def test_a_log_replays_step_by_step() -> None:
    """What the machine answered then is what it answers now: nothing but rules, events and the stopwatch decides."""
    state: State = Waiting()
    expected = []
    for now, event in LOG:
        state, commands = step(RULES, state, event, now)
        expected.append((state, commands))

    assert expected == replay(RULES, LOG)


def test_a_log_survives_being_written_and_read() -> None:
    """Events are records of the session's log; a turn read from disk is the turn that was played."""
    written = msgspec.json.encode(LOG)

    assert replay(RULES, LOG) == replay(RULES, msgspec.json.decode(written, type=list[tuple[float, Event]]))


def test_answers_survive_being_written_and_read() -> None:
    """States and commands are records too, told apart by their tags."""
    answers = replay(RULES, LOG)
    shape = list[tuple[State, tuple[Command, ...]]]

    assert answers == msgspec.json.decode(msgspec.json.encode(answers), type=shape)


def test_a_record_is_readable() -> None:
    """The log is read by people: each value is tagged with its own name."""
    expected = b'{"type":"Reached","attempt":1,"phase":"submitted"}'
    assert expected == msgspec.json.encode(LOG[1][1])
