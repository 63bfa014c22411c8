"""The words of the turn machine: its states, events and commands. Nothing here decides.

Every value is frozen and tagged with its own name: `msgspec.json.encode` makes a readable log record of it, and
decoding through `State`, `Event` or `Command` gives the same value back. States are participles, events are past
facts, commands are orders.
"""

from typing import ClassVar, TypeAlias

from msgspec import Struct

from acp_broker.core.failures import Failure
from acp_broker.core.names import Candidate, Phase, StopReason
from acp_broker.core.turnrules import Miss, Run, Seconds

# --- states


class Timer(Struct, frozen=True):
    """The one timer: the latest serial given out, and when it rings. `at` None: it is not armed."""

    serial: int = 0
    at: Seconds | None = None


class Waiting(Struct, frozen=True, tag=True):
    """Not accepted yet."""

    # No attempt has started: every attempt number is from the future.
    attempt: ClassVar[int] = 0


class Trying(Struct, frozen=True, tag=True):
    """An attempt runs and nothing of it was shown. `since`: when `phase` began."""

    attempt: int
    candidate: Candidate
    run: Run
    timer: Timer
    phase: Phase
    since: Seconds


class Doubting(Struct, frozen=True, tag=True):
    """Its first words look like a failure; they are held until the next event, or the timer, settles it."""

    attempt: int
    candidate: Candidate
    run: Run
    timer: Timer


class Committed(Struct, frozen=True, tag=True):
    """Its words are relayed; nobody else will be tried. The timer is armed only where `idle` is set.

    `silent_since`: when it was submitted, under that commit point, and nothing was said since; the timer is then the
    limit of its first word.
    """

    attempt: int
    candidate: Candidate
    misses: tuple[Miss, ...]
    timer: Timer
    silent_since: Seconds | None = None


class Cancelling(Struct, frozen=True, tag=True):
    """The attempt was asked to stop; its last words are still relayed."""

    attempt: int
    candidate: Candidate
    timer: Timer


Live: TypeAlias = Trying | Doubting | Committed | Cancelling


class Next(Struct, frozen=True, tag=True):
    """Once the attempt has stopped, start this candidate."""

    candidate: Candidate
    run: Run


class Refusal(Struct, frozen=True, tag=True):
    """Once the attempt has stopped, refuse. `committed`: its words were relayed."""

    misses: tuple[Miss, ...]
    committed: bool


class Cancelled(Struct, frozen=True, tag=True):
    """Once the attempt has stopped, reply `cancelled`. `committed`: its words were relayed."""

    committed: bool


Then: TypeAlias = Next | Refusal | Cancelled


class Stopping(Struct, frozen=True, tag=True):
    """The attempt must be gone before anything else happens. The timer is not armed once it is being killed."""

    attempt: int
    then: Then
    timer: Timer


class Ended(Struct, frozen=True, tag=True):
    """Answered. `attempt`: the last one, 0 for none. `serving`: the one whose late notes still reach the session."""

    attempt: int = 0
    serving: int | None = None


State: TypeAlias = Waiting | Trying | Doubting | Committed | Cancelling | Stopping | Ended


# --- events. `attempt` is None where the event is the turn's own.


class Accepted(Struct, frozen=True, tag=True):
    """The prompt is written to the session's log; the turn may begin."""

    attempt: ClassVar[None] = None


class Reached(Struct, frozen=True, tag=True):
    """The attempt is now in `phase`. `submitted` comes before the first byte of the prompt is written."""

    attempt: int
    phase: Phase


class Noted(Struct, frozen=True, tag=True):
    """It sent an update that shows nothing by itself."""

    attempt: int


class Doubted(Struct, frozen=True, tag=True):
    """It sent words that look like its provider's failure."""

    attempt: int


class Spoke(Struct, frozen=True, tag=True):
    """It sent something that a person sees, or that acts."""

    attempt: int


class Finished(Struct, frozen=True, tag=True):
    """It ended the turn by itself; nothing of it runs any more."""

    attempt: int
    stop_reason: StopReason


class Failed(Struct, frozen=True, tag=True):
    """It failed; parts of it may still run."""

    attempt: int
    failure: Failure


class TimeUp(Struct, frozen=True, tag=True):
    """The timer of this serial rang."""

    attempt: ClassVar[None] = None
    serial: int


class CancelAsked(Struct, frozen=True, tag=True):
    """The frontend cancelled the turn."""

    attempt: ClassVar[None] = None


class Stopped(Struct, frozen=True, tag=True):
    """Nothing of the attempt can act any more; comes only after `Stop`."""

    attempt: int


Event: TypeAlias = Accepted | Reached | Noted | Doubted | Spoke | Finished | Failed | TimeUp | CancelAsked | Stopped


# --- commands


class Start(Struct, frozen=True, tag=True):
    """Start this attempt on this candidate."""

    attempt: int
    candidate: Candidate


class Stop(Struct, frozen=True, tag=True):
    """Close the attempt's voice and cancel it; `Stopped` must follow. Not politely: kill at once."""

    attempt: int
    politely: bool


class Kill(Struct, frozen=True, tag=True):
    """The polite stop took too long."""

    attempt: int


class Arm(Struct, frozen=True, tag=True):
    """Tell `TimeUp(serial)` once the stopwatch shows `at`; replaces any earlier timer."""

    serial: int
    at: Seconds


class Disarm(Struct, frozen=True, tag=True):
    """Forget the timer."""


class Hold(Struct, frozen=True, tag=True):
    """Keep the words of this event."""


class RelayHeld(Struct, frozen=True, tag=True):
    """Show what is held, in order; it may be nothing."""


class DropHeld(Struct, frozen=True, tag=True):
    """Forget what is held."""


class Relay(Struct, frozen=True, tag=True):
    """Show the words of this event."""


class AskCancel(Struct, frozen=True, tag=True):
    """Ask the attempt to end by itself."""

    attempt: int


class Withdraw(Struct, frozen=True, tag=True):
    """End the requests of the attempt that are open, on both sides."""

    attempt: int


class Reply(Struct, frozen=True, tag=True):
    """Answer the prompt: the turn ended."""

    stop_reason: StopReason


class Refuse(Struct, frozen=True, tag=True):
    """Answer the prompt with an error that tells the misses. `committed`: words of the last one were shown."""

    misses: tuple[Miss, ...]
    committed: bool


Command: TypeAlias = (
    Start | Stop | Kill | Arm | Disarm | Hold | RelayHeld | DropHeld | Relay | AskCancel | Withdraw | Reply | Refuse
)

# What the machine answers to an event.
Step: TypeAlias = tuple[State, tuple[Command, ...]]
