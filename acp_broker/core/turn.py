"""The turn machine: what happens next in a turn. It decides everything and does nothing.

A turn is one prompt on its way to one answer. The machine is told facts (events), one at a time, each with what the
turn's stopwatch shows, and says what is to be done (commands). The runner does it, in order, before the next fact.
Same rules, state, event and now: same answer; the log of a turn's events is the turn, and can be played again.

    Waiting --Accepted--> Trying --Doubted--> Doubting      nothing is shown, another candidate may follow
                          ^   |                  |
                          |   | Spoke            | Spoke, or the doubt's time is up
                          |   v                  |
                          |  Committed <---------'          its words are shown, nobody else is tried
                          |
                          |  from any of these three:
                          |    CancelAsked ---> Cancelling  it is asked to end, nobody else is tried
                          |  from any of these four:
                          |    Finished -----------------------------------------------------.
                          |    Failed, or its time is up ---> Stopping                        |
                          |                                      | it must be gone first      |
                          |                                      | Stopped                    v
                          '---------- the next candidate --------+------ nobody else -----> Ended

The laws, which the tests prove over every sequence of events:

1. One attempt is alive at most. The next starts only when `Stopped` says that nothing of the last can act any more.
2. Nothing is shown before the commit point, nobody else is started after it, or after a cancel. All words that are
   shown come from one attempt.
3. A turn ends with exactly one `Reply` or `Refuse`, and that is the last command of its step.
4. There is one timer. Serials only grow; a timer that rings with another serial was replaced, and says nothing.

The machine never holds words: `Hold`, `RelayHeld` and `DropHeld` speak of the runner's list. Impossible pairs raise;
late but legal ones change nothing.
"""

from collections.abc import Callable
from typing import Never, TypeAlias

from acp_broker.core.turncells import (
    begin,
    believe,
    call_off,
    cancel,
    cancel_late,
    cancel_next,
    commit,
    doubt,
    fail,
    fail_late,
    finish,
    finish_held,
    finish_unseen,
    force_stop,
    hold,
    idle_out,
    kill,
    let_end,
    move_on,
    reach,
    relay,
    relay_last,
    relay_late,
    stop_failed,
    time_out,
)
from acp_broker.core.turnrules import Rules, Seconds
from acp_broker.core.turnwords import (
    Accepted,
    CancelAsked,
    Cancelling,
    Committed,
    Doubted,
    Doubting,
    Ended,
    Event,
    Failed,
    Finished,
    Noted,
    Reached,
    Spoke,
    State,
    Step,
    Stopped,
    Stopping,
    TimeUp,
    Trying,
    Waiting,
)


class Impossible(Exception):  # noqa: N818 - what it says is not that something failed but that it cannot be
    """The runner told an event that cannot come in this state: a fault of ours. The turn is unchanged."""


def step(rules: Rules, state: State, event: Event, now: Seconds) -> Step:
    """Answer one event: the new state, and the commands to perform in order before the next event.

    `now` is what the turn's stopwatch shows. An event that changes nothing gives back the same state object. Raises
    Impossible.
    """
    if event.attempt is None:
        if isinstance(event, TimeUp) and not _rings(state, event.serial):
            return state, ()
    elif event.attempt < state.attempt:
        # The attempt number fences the past: late words of an older attempt say nothing, whatever the state.
        return state, ()
    elif event.attempt > state.attempt:
        raise Impossible(f"{type(event).__name__} of attempt {event.attempt}, but the last is {state.attempt}")
    return TABLE[type(state), type(event)](rules, state, event, now)  # type: ignore[arg-type]  # the key is their types


def _rings(state: State, serial: int) -> bool:
    """Whether the timer of `serial` is the armed one, or the table must say what a timer means here."""
    return isinstance(state, Waiting | Ended) or (state.timer.at is not None and state.timer.serial == serial)


def drop(_rules: Rules, state: State, _event: Event, _now: Seconds) -> Step:
    """Late but legal: it changes nothing and shows nothing."""
    return state, ()


def impossible(_rules: Rules, state: State, event: Event, _now: Seconds) -> Step:
    raise Impossible(f"{type(event).__name__} cannot come in {type(state).__name__}")


# Each cell takes the state and the event of its own place in the table; what they have in common is Never.
Cell: TypeAlias = Callable[[Rules, Never, Never, Seconds], Step]

# fmt: off
STATES: tuple[type[State], ...] = (
                 Waiting,     Trying,         Doubting,     Committed,    Cancelling,   Stopping,     Ended)
_ROWS: dict[type[Event], tuple[Cell, ...]] = {
    Accepted:   (begin,       impossible,     impossible,   impossible,   impossible,   impossible,   impossible),
    Reached:    (impossible,  reach,          reach,        drop,         drop,         drop,         drop),
    Noted:      (impossible,  hold,           hold,         relay,        relay_last,   drop,         relay_late),
    Doubted:    (impossible,  doubt,          hold,         relay,        relay_last,   drop,         drop),
    Spoke:      (impossible,  commit,         commit,       relay,        relay_last,   drop,         drop),
    Finished:   (impossible,  finish_unseen,  finish_held,  finish,       let_end,      drop,         drop),
    Failed:     (impossible,  fail,           fail,         fail_late,    stop_failed,  drop,         drop),
    TimeUp:     (impossible,  time_out,       believe,      idle_out,     force_stop,   kill,         drop),
    CancelAsked:(call_off,    cancel,         cancel,       cancel_late,  drop,         cancel_next,  drop),
    Stopped:    (impossible,  impossible,     impossible,   impossible,   impossible,   move_on,      drop),
}
# fmt: on
TABLE: dict[tuple[type[State], type[Event]], Cell] = {
    (state, event): cell for event, row in _ROWS.items() for state, cell in zip(STATES, row, strict=True)
}
